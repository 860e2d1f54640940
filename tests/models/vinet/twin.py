"""VINet written down as plainly as it goes, on tensors under its authors' names: slow, and for comparison only.

Every source of every step is encoded anew and aligned on its own; correlations are 81 products; convolutions over
stacked frames are 3-d; the 512 variant computes the full scale's flow and throws it away.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

Memory = tuple[Tensor, Tensor]
GAIN = {"flownet": 1.0, "masknet": 2.0, "convlstm": 2.0}


def rule_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights that anyone can make again: noise seeded by each parameter's name, scaled so that nothing dies."""
    tensors = {}
    for name, shape in shapes.items():
        noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        gain = next((value for start, value in GAIN.items() if name.startswith(start)), 5.0)
        scale = (gain / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.05
        tensors[name] = torch.from_numpy((noise * scale).astype(np.float32))
    return tensors


class TwinVINet:
    """One step of VINet at a time.

    Args:
        tensors: by the authors' names.
        double_size: the 512 variant.
    """

    def __init__(self, tensors: Mapping[str, Tensor], *, double_size: bool) -> None:
        self.p, self.double_size = tensors, double_size

    def step(
        self,
        target: tuple[Tensor, Tensor],
        neighbours: Sequence[tuple[Tensor, Tensor]],
        previous: tuple[Tensor, Tensor] | None,
        memory: Memory | None,
    ) -> tuple[Tensor, Memory, Tensor]:
        """One step.

        Args:
            target, neighbours: frames (B, 3, H, W), blue first, [-1, 1], zero in the hole; holes (B, 1, H, W).
            previous: the previous output in the same form and what its mask channel says.
            memory: hidden and cell of the step before.

        Returns:
            the frame (B, 3, H, W), the memory, the flows (S, B, 2, h, w) at half scale.
        """
        own = self._encode("encoder1", *target)
        sources = [self._encode("encoder2", *source) for source in (*neighbours, previous or target)]
        flows: list[Tensor | None] = [None] * len(sources)
        composed = []
        for level, suffix in enumerate(("", "_64", "_128")):
            aligned = []
            for i, source in enumerate(sources):
                flows[i] = self._flow(suffix, own[level], source[level], flows[i])
                aligned.append(_sample(source[level], flows[i], "zeros"))
            stack = torch.stack(aligned, dim=2)
            merged = self._gated(f"st_agg{suffix}.stAgg.conv", stack).squeeze(2)
            trust = self._trust(suffix, own[level], merged)
            composed.append((1 - trust) * own[level] + trust * merged)
        memory = self._remember(self._bottleneck(torch.cat([own[0], composed[0]], dim=1)), memory)
        raw = self._decode(memory[0], composed, own[3].shape[-2:], target[0].shape[-2:])
        if previous is not None:
            raw = self._with_previous(raw, own[3], sources[-1][3], previous[0], flows[-1])
        return raw, memory, torch.stack([flow for flow in flows if flow is not None])

    def _gated(self, name: str, x: Tensor, *, slope: float = 0.0, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = self.p[f"{name}.weight"]
        if weight.dim() == 5:
            around, spread = (0, dilation, dilation), (1, dilation, dilation)
            y = F.conv3d(x, weight, padding=around, dilation=spread)
        else:
            y = F.conv2d(x, weight, stride=stride, padding=dilation, dilation=dilation)
        phi, gate = y.chunk(2, dim=1)
        return F.leaky_relu(phi, slope) * torch.sigmoid(gate)

    def _leaky(self, name: str, x: Tensor, dilation: int = 1) -> Tensor:
        return F.leaky_relu(self._conv(name, x, dilation), 0.1)

    def _conv(self, name: str, x: Tensor, dilation: int = 1) -> Tensor:
        return F.conv2d(x, self.p[f"{name}.weight"], self.p[f"{name}.bias"], padding=dilation, dilation=dilation)

    def _encode(self, name: str, frame: Tensor, hole: Tensor) -> list[Tensor]:
        x = torch.cat([frame, torch.ones_like(hole), hole], dim=1)
        full = self._gated(f"{name}.ec0.conv", x, stride=2 if self.double_size else 1)
        half = self._gated(f"{name}.ec1.conv", full, stride=2)
        half = self._gated(f"{name}.ec2.conv", half)
        quarter = self._gated(f"{name}.ec3_1.conv", half, stride=2)
        quarter = self._gated(f"{name}.ec3_2.conv", quarter)
        eighth = self._gated(f"{name}.ec4_1.conv", quarter, stride=2)
        for layer in ("ec4", "ec5"):
            eighth = self._gated(f"{name}.{layer}.conv", eighth)
        return [eighth, quarter, half, full]

    def _flow(self, suffix: str, target: Tensor, source: Tensor, coarser: Tensor | None) -> Tensor:
        name = f"flownet{suffix}.flow_estimator"
        if coarser is None:
            return self._flow_network(name, [target, slow_correlation(target, source, 4)])
        raised = F.interpolate(coarser, size=target.shape[-2:], mode="bilinear") * 2
        warped = _sample(source, raised, "zeros")
        return self._flow_network(name, [target, slow_correlation(target, warped, 4), raised]) + raised

    def _flow_network(self, name: str, parts: list[Tensor]) -> Tensor:
        x = torch.cat(parts, dim=1)
        for i in range(5):
            x = self._leaky(f"{name}.convs.{i}.0", x)
        coarse = self._conv(f"{name}.conv1", x)
        fine = torch.cat([x, coarse], dim=1)
        for i, dilation in enumerate((1, 2, 4, 8, 16, 1, 1)):
            fine = self._leaky(f"{name}.convs_fine.convs.{i}.0", fine, dilation)
        return coarse + fine

    def _trust(self, suffix: str, target: Tensor, aligned: Tensor) -> Tensor:
        x = self._leaky(f"masknet{suffix}.convs.0.0", (target - aligned).abs())
        x = self._leaky(f"masknet{suffix}.convs.1.0", x)
        return torch.sigmoid(self._conv(f"masknet{suffix}.convs.2", x))

    def _bottleneck(self, x: Tensor) -> Tensor:
        for i, dilation in enumerate((1, 2, 4, 8)):
            x = self._gated(f"bottleneck.bt{i}.conv", x, dilation=dilation)
        return x

    def _remember(self, x: Tensor, memory: Memory | None) -> Memory:
        hidden, cell = memory or (torch.zeros_like(x), torch.zeros_like(x))
        gates = self._conv("convlstm.Gates", torch.cat([x, hidden], dim=1))
        n = x.shape[1]
        admit, keep, show = (torch.sigmoid(gates[:, i * n : (i + 1) * n]) for i in range(3))
        cell = keep * cell + admit * torch.tanh(gates[:, 3 * n :])
        return show * torch.tanh(cell), cell

    def _decode(self, x: Tensor, composed: list[Tensor], full: torch.Size, frame: torch.Size) -> Tensor:
        def gated(name: str, x: Tensor, dilation: int = 1) -> Tensor:
            return self._gated(f"decoder.{name}.conv", x, dilation=dilation)

        def up(name: str, x: Tensor, size: torch.Size) -> Tensor:
            raised = F.interpolate(x, size=(1, *size), mode="trilinear")
            return self._gated(f"decoder.{name}.conv.1", raised, slope=0.2)

        x = up("dc1_1", gated("dc1", gated("dc0", x.unsqueeze(2))), composed[1].shape[-2:])
        x = gated("dc2_1", torch.cat([x, composed[1].unsqueeze(2)], dim=1))
        for i, dilation in enumerate((2, 4, 8), start=1):
            x = gated(f"dc2_bt{i}", x, dilation)
        x = up("dc2_2", x, composed[2].shape[-2:])
        x = gated("dc3_2", gated("dc3_1", torch.cat([x, composed[2].unsqueeze(2)], dim=1)))
        x = up("dc4", x, full)
        if self.double_size:
            x = F.interpolate(x, size=(1, *frame), mode="trilinear")
        return F.conv3d(gated("dc5", x), self.p["decoder.dc6.weight"], padding=(0, 1, 1)).squeeze(2)

    def _with_previous(
        self, raw: Tensor, full: Tensor, previous_full: Tensor, previous: Tensor, flow: Tensor | None
    ) -> Tensor:
        assert flow is not None
        raised = F.interpolate(flow, size=full.shape[-2:], mode="bilinear") * 2
        aligned = _sample(previous_full, raised, "border")
        refined = raised + self._flow_network(
            "flownet_256.flow_estimator", [full, slow_correlation(full, aligned, 4), raised]
        )
        trust = self._trust("_256", full, aligned)
        if self.double_size:
            trust = F.interpolate(trust, size=raw.shape[-2:], mode="nearest")
            refined = F.interpolate(flow, size=raw.shape[-2:], mode="bilinear") * 4
        return (1 - trust) * raw + trust * _sample(previous, refined, "border")


def slow_correlation(target: Tensor, source: Tensor, reach: int) -> Tensor:
    """The mean product for each displacement, one after the other."""
    height, width = target.shape[-2:]
    padded = F.pad(source, (reach,) * 4)
    shifts = [(dy, dx) for dy in range(2 * reach + 1) for dx in range(2 * reach + 1)]
    products = [(target * padded[..., dy : dy + height, dx : dx + width]).mean(dim=1) for dy, dx in shifts]
    return torch.stack(products, dim=1)


def _sample(image: Tensor, flow: Tensor | None, border: str) -> Tensor:
    assert flow is not None
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    grid = torch.stack((x + flow[:, 0] * 2 / (width - 1), y + flow[:, 1] * 2 / (height - 1)), dim=-1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode=border, align_corners=True)
