"""Make opn_small.npz: a frame of a slim OPN after each peel, and two steps of a slim TCN, computed by the plain twins.

    python -m tests.golden.make_opn_small

The twins agree with the code of the authors to 1e-5 at full width. Weights follow `rule_weights`; frames are smooth
noise. Needs to be run again only if the sizes below change.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from tests.models.opn.twin import TwinOPN, TwinTCN
from tests.models.vinet.twin import rule_weights
from vidfill.models.opn.authors import PEELING_LAYERS, TEMPORAL_LAYERS, authors_shapes
from vidfill.models.opn.model import OPN, OPNSizes
from vidfill.models.opn.tcn import Channels, TemporalNetwork

PATH = Path(__file__).parent / "opn_small.npz"
SIZES = OPNSizes(half=6, channels=8)
TEMPORAL: Channels = (4, 6, 8, 10)
REFERENCES, TARGET = (0, 4), 2


def opn_tensors() -> dict[str, Tensor]:
    """Of a slim OPN, by the authors' names."""
    return rule_weights(authors_shapes(OPN(SIZES), PEELING_LAYERS))


def temporal_tensors() -> dict[str, Tensor]:
    """Of a slim TCN, by the authors' names."""
    return rule_weights(authors_shapes(TemporalNetwork(TEMPORAL), TEMPORAL_LAYERS))


def clip() -> tuple[Tensor, Tensor]:
    """5 frames (5, 3, 48, 64) uint8, and holes (5, 1, 48, 64) bool that move and are three peels deep."""
    noise = torch.from_numpy(np.random.RandomState(1).standard_normal((5, 3, 6, 8)).astype(np.float32))
    smooth = F.interpolate(noise, size=(48, 64), mode="bicubic", align_corners=False)
    holes = torch.zeros(5, 1, 48, 64, dtype=torch.bool)
    for t in range(5):
        holes[t, :, 4:42, 4 + 3 * t : 44 + 3 * t] = True
    return (smooth * 60 + 128).clamp(0, 255).byte(), holes


def main() -> None:
    """Write the file."""
    frames, holes = clip()
    clean, hole = frames[:, None].float() / 255, holes[:, None].float()
    opn, tcn = TwinOPN(opn_tensors()), TwinTCN(temporal_tensors())
    peels = opn.complete(clean[TARGET], hole[TARGET], [opn.remember(clean[i], hole[i]) for i in REFERENCES])
    steps, hidden, before = [], None, (peels[-1], hole[TARGET])
    for t in (TARGET, TARGET + 1):
        output, hidden = tcn.step(before, (peels[-1], hole[t]), hidden)
        before = (output.clamp(0, 1), hole[t])
        steps.append(output)
    np.savez_compressed(
        PATH,
        frames=frames.numpy(),
        holes=holes.numpy(),
        peels=torch.cat(peels).numpy(),
        temporal=torch.cat(steps).numpy(),
    )


if __name__ == "__main__":
    main()
