"""Make painter_small.npz: what a small painter network makes of a picture, computed by a plain twin.

    python -m tests.golden.make_painter_small

The twin agrees with the code that trained the shipped weights to 1e-5. Weights follow `rule_weights`; the picture is
smooth noise. Needs to be run again only if the sizes below change.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from tests.models.vinet.twin import rule_weights
from vidfill.models.cleanplate.network import PainterNetwork, PainterSizes

PATH = Path(__file__).parent / "painter_small.npz"
SIZES = PainterSizes(widths=(6, 8, 12, 16), blocks=(1, 2, 2), n_middle=4, head=4)


def small_tensors() -> dict[str, Tensor]:
    """Weights made by rule, scaled so that residual branches neither vanish nor explode."""
    ruled = rule_weights({name: tuple(tensor.shape) for name, tensor in PainterNetwork(SIZES).state_dict().items()})
    return {
        name: 1 + tensor if name.endswith("gain") else tensor * 0.4 if tensor.dim() > 1 else tensor
        for name, tensor in ruled.items()
    }


def picture() -> tuple[Tensor, Tensor]:
    """(1, 3, 48, 64) in [0, 1], and a hole (1, 1, 48, 64) that touches the border."""
    noise = torch.from_numpy(np.random.RandomState(1).standard_normal((1, 3, 6, 8)).astype(np.float32))
    hole = torch.zeros(1, 1, 48, 64)
    hole[..., 12:48, 20:44] = 1
    return (F.interpolate(noise, size=(48, 64), mode="bicubic") * 0.25 + 0.5).clamp(0, 1), hole


class TwinPainter:
    """The network as a list of operations on named tensors.

    Args:
        tensors: by the network's names.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.p = tensors

    def paint(self, rgb: Tensor, hole: Tensor) -> Tensor:
        """(1, 3, H, W) and (1, 1, H, W) -> (1, 3, H, W)."""
        x = torch.cat(((rgb * 2 - 1) * (1 - hole), hole), dim=1)
        quads = [x[:, c : c + 1, y::2, x0::2] for c in range(4) for y in (0, 1) for x0 in (0, 1)]
        n2, n4, n8 = SIZES.blocks
        x2 = self.blocks("enc2", n2, self.conv("stem", torch.cat(quads, dim=1)))
        x4 = self.blocks("enc4", n4, self.conv("down4", _leaky(x2), stride=2))
        x8 = self.blocks("enc8", n8, self.conv("down8", _leaky(x4), stride=2), (1, 2))
        y = self.attended("middle", SIZES.n_middle, self.conv("down16", _leaky(x8), stride=2), (1, 2, 4))
        y = self.attended("dec8", n8, self.up("up8", y, x8), (1, 2))
        y = self.blocks("dec4", n4 + 1, self.up("up4", y, x4))
        y = self.conv("out", _leaky(self.blocks("dec2", n2 + 1, self.up("up2", y, x2))))
        painted = torch.empty_like(rgb)
        for channel in range(12):
            painted[:, channel // 4, channel // 2 % 2 :: 2, channel % 2 :: 2] = y[:, channel]
        return painted / 2 + 0.5

    def conv(self, name: str, x: Tensor, *, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = self.p[f"{name}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(x, weight, self.p.get(f"{name}.bias"), stride, padding, dilation)

    def block(self, name: str, x: Tensor, dilation: int) -> Tensor:
        inner = self.conv(f"{name}.conv1", _leaky(x), dilation=dilation)
        return x + self.conv(f"{name}.conv2", _leaky(inner))

    def blocks(self, name: str, n: int, x: Tensor, dilations: tuple[int, ...] = (1,)) -> Tensor:
        for i in range(n):
            x = self.block(f"{name}.{i}", x, dilations[i % len(dilations)])
        return x

    def attended(self, name: str, n: int, x: Tensor, dilations: tuple[int, ...]) -> Tensor:
        for i in range(n):
            x = self.block(f"{name}.{2 * i}", x, dilations[i % len(dilations)])
            x = x + self.attention(f"{name}.{2 * i + 1}", x)
        return x

    def attention(self, name: str, x: Tensor) -> Tensor:
        normalised = x / (x.square().mean(dim=1, keepdim=True) + 1e-6).sqrt() * self.p[f"{name}.gain"].view(1, -1, 1, 1)
        query, key, value = self.conv(f"{name}.qkv", normalised).flatten(2)[0].chunk(3)
        heads = []
        for first in range(0, x.shape[1], SIZES.head):
            part = slice(first, first + SIZES.head)
            shares = (query[part].t() @ key[part] / SIZES.head**0.5).softmax(dim=1)
            heads.append(value[part] @ shares.t())
        return self.conv(f"{name}.out", torch.cat(heads).view_as(x))

    def up(self, name: str, x: Tensor, skip: Tensor) -> Tensor:
        doubled = _leaky(x).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return self.conv(f"{name}.conv", doubled) + self.conv(f"{name}.skip", skip)


def _leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def main() -> None:
    """Write the file."""
    np.savez_compressed(PATH, painted=TwinPainter(small_tensors()).paint(*picture()).numpy())


if __name__ == "__main__":
    main()
