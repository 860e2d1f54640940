"""Samples and loss terms of Onion-Peel Networks (section 3.4): each peel has its losses, which are summed."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from vidfill.models.base import unroll
from vidfill.models.opn.model import Peeling
from vidfill.train import ModelTraining
from vidfill.train.clips import ClipSamples
from vidfill.train.losses import hole_l1
from vidfill.train.objective import Chunk, Term
from vidfill.train.opn.matching import match_term


def total_variation(fill: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of pixels inside a mask (B, 1, H, W) from their neighbours on the right and below.

    A sample with an empty mask counts 0.
    """
    across = F.pad((fill[..., 1:] - fill[..., :-1]).abs(), (0, 1))
    down = F.pad((fill[..., 1:, :] - fill[..., :-1, :]).abs(), (0, 0, 0, 1))
    total = ((across + down) * mask).sum(dim=(1, 2, 3))
    return (total / (3 * mask.sum(dim=(1, 2, 3))).clamp(min=1)).mean()


def _over_peels(chunk: Chunk, loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """The mean over the outputs of the sum over their peels of loss(decoded frame, truth, peel, hole)."""
    sums = []
    for t, step in chunk.outputs:
        record: Peeling = step.record
        total = 0 * step.fill.float().sum()  # an output without a hole has no peels, but needs a gradient, of zero
        for fill, peel in zip(record.fills, record.masks, strict=True):
            total = total + loss(fill, chunk.batch.clip[:, t], peel, chunk.batch.holes[:, t])
        sums.append(total)
    return torch.stack(sums).mean()


# Each is the sum over the peels, mean over the outputs.
_PEEL_TERMS: dict[str, Term] = {
    # L1 inside the peel.
    "peel": lambda chunk: _over_peels(chunk, lambda fill, truth, peel, _hole: hole_l1(fill, truth, peel)),
    # L1 of what is decoded of the known pixels.
    "valid": lambda chunk: _over_peels(chunk, lambda fill, truth, _peel, hole: hole_l1(fill, truth, 1 - hole)),
    # Total variation inside the peel.
    "variation": lambda chunk: _over_peels(chunk, lambda fill, _truth, peel, _hole: total_variation(fill, peel)),
}
TRAINING = {
    "opn": ModelTraining(ClipSamples, unroll, {**_PEEL_TERMS, "match": match_term}),
    "opn-tcn": ModelTraining(ClipSamples, unroll, {}),
}
