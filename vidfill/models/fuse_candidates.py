"""From what `propagate` finds for a frame to what the network of `fuse` is given of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.align.candidates import KINDS, Candidate
from vidfill.models.propagate import Decision

Box = tuple[int, int, int, int]

NOTHING = 255  # the error where a candidate shows nothing
N_FACTS = 3 + len(KINDS)
LONG_OFFSET = 3.0
LARGE_GAIN = 12.0
GRID_PX = 16


class Packed(NamedTuple):
    """The candidates for one frame in few bytes, cut to a box of it; the same in training as when filling.

    Attributes:
        rgb: (K, h, w, 3) uint8.
        error: (K, h, w) uint8, expected error in grey levels, `NOTHING` where the candidate shows nothing.
        facts: (K, N_FACTS) float32: how far away (logarithmic), exposure gain, 0, and the kind, one-hot.
        motion: (3, 3) float64, box of this frame from the whole frame before; zeros where unknown.
    """

    rgb: NDArray[np.uint8]
    error: NDArray[np.uint8]
    facts: NDArray[np.float32]
    motion: NDArray[np.float64]


class CandidateSet(NamedTuple):
    """What the network sees of one frame; K candidates, in no order.

    Attributes:
        composite: (B, 3, h, w) in [0, 1], what `propagate` makes of it: its fill in the hole, the frame around it.
        hole: (B, 1, h, w), 1 = missing.
        rgb: (B, K, 3, h, w) in [0, 1].
        error: (B, K, 1, h, w) in grey levels, `NOTHING` where a candidate shows nothing.
        facts: (B, K, N_FACTS).
        motion: (B, 3, 3), from pixels of the output before to pixels of this box; zeros where unknown.
    """

    composite: Tensor
    hole: Tensor
    rgb: Tensor
    error: Tensor
    facts: Tensor
    motion: Tensor


def box_on_grid(box: Box, size: tuple[int, int]) -> Box:
    """The box grown to multiples of `GRID_PX` within a picture of (height, width)."""
    height, width = size
    x0, y0 = (value // GRID_PX * GRID_PX for value in box[:2])
    x1, y1 = (-(-value // GRID_PX) * GRID_PX for value in box[2:])
    return x0, y0, min(x1, width), min(y1, height)


def pack(decision: Decision, box: Box, n_most: int) -> Packed:
    """The candidates that count most in `propagate`'s own mix, and its spatial fills.

    Args:
        decision: for the frame; without a region there are no candidates.
        box: (x0, y0, x1, y1) of the frame, half-open.
        n_most: at most so many beside the spatial fills.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    chosen = _chosen(decision, n_most)
    rgb = np.zeros((len(chosen), height, width, 3), np.uint8)
    error = np.full((len(chosen), height, width), NOTHING, np.uint8)
    if decision.region is not None:
        rx0, ry0, rx1, ry1 = decision.region.box
        x0, y0, x1, y1 = max(rx0, box[0]), max(ry0, box[1]), min(rx1, box[2]), min(ry1, box[3])
        if x0 < x1 and y0 < y1:
            source = np.s_[y0 - ry0 : y1 - ry0, x0 - rx0 : x1 - rx0]
            target = np.s_[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]]
            for k, candidate in enumerate(chosen):
                rgb[k][target] = candidate.rgb[source]
                level = candidate.error[source].round().clip(0, NOTHING - 1)
                error[k][target] = np.where(candidate.valid[source], level, NOTHING).astype(np.uint8)
    facts = np.array([_facts(candidate) for candidate in chosen], np.float32).reshape(-1, N_FACTS)
    motion = np.zeros((3, 3))
    if decision.motion is not None:
        motion = np.array([[1, 0, -box[0]], [0, 1, -box[1]], [0, 0, 1]], np.float64) @ decision.motion
    return Packed(rgb, error, facts, motion)


def unpack(packed: Packed, composite: Tensor, hole: Tensor) -> CandidateSet:
    """To tensors on the device of `composite` (1, 3, h, w); `hole` is (1, 1, h, w)."""
    device = composite.device
    rgb = torch.from_numpy(packed.rgb).to(device).permute(0, 3, 1, 2).float() / 255
    error = torch.from_numpy(packed.error).to(device)[:, None].float()
    facts = torch.from_numpy(packed.facts).to(device)
    motion = torch.from_numpy(packed.motion).to(device).float()
    return CandidateSet(composite, hole, rgb[None], error[None], facts[None], motion[None])


def _chosen(decision: Decision, n_most: int) -> Sequence[Candidate]:
    if decision.weights is None:
        return ()
    shares = decision.weights.mean(axis=1)
    order = np.argsort(-shares, kind="stable")
    ranked = [decision.candidates[int(k)] for k in order]
    brought = [candidate for candidate in ranked if candidate.kind != "spatial"]
    return [*brought[:n_most], *(candidate for candidate in ranked if candidate.kind == "spatial")]


def _facts(candidate: Candidate) -> list[float]:
    """As `Packed.facts` has them; the third is the network's own, for the output before."""
    kind = [float(candidate.kind == known) for known in KINDS]
    return [float(np.log1p(abs(candidate.offset))) / LONG_OFFSET, candidate.gain / LARGE_GAIN, 0.0, *kind]
