"""Make vinet_small.npz: three steps of both variants of a slim VINet, computed by the plain twin.

    python -m tests.golden.make_vinet_small

The twin agrees with the code of VINet's authors to 1e-5 at full width. Weights follow `rule_weights`; frames are
smooth noise. Needs to be run again only if the sizes below change.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from tests.models.vinet.twin import Memory, TwinVINet, rule_weights
from vidfill.models.vinet.model import VINet, VINetSizes

PATH = Path(__file__).parent / "vinet_small.npz"
TARGETS = (6, 7, 8)
OFFSETS = (-6, -3, 3, 6)


def slim_sizes(*, double_size: bool) -> VINetSizes:
    """Few channels, all layers."""
    return VINetSizes(
        encoder=(6, 8, 10, 12),
        head=4,
        estimator=((12, 12, 10, 8, 6),) * 4,
        context=((12, 12, 12, 10, 8, 6),) * 4,
        double_size=double_size,
    )


def clip() -> tuple[Tensor, Tensor]:
    """15 frames (15, 3, 48, 64) uint8, blue first, and holes (15, 1, 48, 64) bool that move."""
    noise = torch.from_numpy(np.random.RandomState(0).standard_normal((15, 3, 6, 8)).astype(np.float32))
    smooth = F.interpolate(noise, size=(48, 64), mode="bicubic", align_corners=False)
    holes = torch.zeros(15, 1, 48, 64, dtype=torch.bool)
    for t in range(15):
        holes[t, :, 12:34, 8 + 2 * t : 26 + 2 * t] = True
    return (smooth * 60 + 128).clamp(0, 255).byte(), holes


def run_twin(frames: Tensor, holes: Tensor, *, double_size: bool) -> tuple[list[Tensor], Memory, list[Tensor]]:
    """Outputs of the targets (1, 3, 48, 64), the last memory, and each step's flows (5, 1, 2, h, w)."""
    network = VINet(slim_sizes(double_size=double_size))
    twin = TwinVINet(rule_weights(network.authors_shapes()), double_size=double_size)
    hole = holes[:, None].float()
    masked = (frames[:, None].float() / 127.5 - 1) * (1 - hole)
    outputs: list[Tensor] = []
    flows: list[Tensor] = []
    memory = None
    for t in TARGETS:
        previous = (outputs[-1], 0.5 * hole[t - 1]) if outputs else None
        window = [(masked[t + offset], hole[t + offset]) for offset in OFFSETS]
        output, memory, flow = twin.step((masked[t], hole[t]), window, previous, memory)
        outputs.append(output)
        flows.append(flow)
    assert memory is not None
    return outputs, memory, flows


def main() -> None:
    """Write the file."""
    frames, holes = clip()
    arrays = {"frames": frames.numpy(), "holes": holes.numpy()}
    for double_size, variant in ((False, "256"), (True, "512")):
        outputs, memory, flows = run_twin(frames, holes, double_size=double_size)
        arrays[f"outputs_{variant}"] = torch.cat(outputs).numpy()
        arrays[f"hidden_{variant}"] = memory[0].numpy()
        arrays[f"cell_{variant}"] = memory[1].numpy()
        arrays[f"flow_{variant}"] = flows[-1].squeeze(1).numpy()
    np.savez_compressed(PATH, **arrays)  # type: ignore[arg-type] # numpy takes any name for an array


if __name__ == "__main__":
    main()
