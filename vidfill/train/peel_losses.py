"""The losses of a model that fills peel by peel (Onion-Peel Networks, section 3.4): those of all peels summed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from vidfill.models.base import Step
from vidfill.train.batches import Batch
from vidfill.train.losses import hole_l1
from vidfill.train.recipes import LossWeights


def peel_terms(outputs: Sequence[tuple[int, Step]], batch: Batch, weights: LossWeights) -> dict[str, Tensor]:
    """The terms "peel", "valid" and "variation" that are wanted, each a scalar, the mean over the outputs.

    Args:
        outputs: (position, step); a step's `record` has `fills`, of each peel the whole decoded frame (B, 3, H, W), and
            `masks`, (B, 1, H, W), 1 inside the peel.
        batch: the clips they belong to.
        weights: which terms are wanted.
    """
    wanted = [name for name in ("peel", "valid", "variation") if getattr(weights, name)]
    # An output without a hole has no peels, but a gradient there must be, of zero.
    sums = {name: [0 * step.fill.float().sum() for _, step in outputs] for name in wanted}
    for number, (t, step) in enumerate(outputs):
        truth, valid = batch.clip[:, t], 1 - batch.holes[:, t]
        for fill, mask in zip(step.record.fills, step.record.masks, strict=True):
            if "peel" in sums:
                sums["peel"][number] = sums["peel"][number] + hole_l1(fill, truth, mask)
            if "valid" in sums:
                sums["valid"][number] = sums["valid"][number] + hole_l1(fill, truth, valid)
            if "variation" in sums:
                sums["variation"][number] = sums["variation"][number] + total_variation(fill, mask)
    return {name: torch.stack(values).mean() for name, values in sums.items()}


def total_variation(fill: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of pixels inside a mask from their neighbours on the right and below.

    Args:
        fill: (B, 3, H, W).
        mask: (B, 1, H, W), 1 where it counts; a sample without any counts 0.
    """
    across = F.pad((fill[..., 1:] - fill[..., :-1]).abs(), (0, 1))
    down = F.pad((fill[..., 1:, :] - fill[..., :-1, :]).abs(), (0, 0, 0, 1))
    total = ((across + down) * mask).sum(dim=(1, 2, 3))
    return (total / (3 * mask.sum(dim=(1, 2, 3))).clamp(min=1)).mean()
