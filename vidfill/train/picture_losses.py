"""Losses of single filled pictures: distances that know the depth of the hole, and discriminators' scores.

Pictures are (B, 3, H, W) RGB in about [0, 1], holes (B, 1, H, W) with 1 = missing. Every loss is a mean over the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from vidfill.evaluate.features import unit

# The weight of a hole's pixel falls with the share of known pixels in a window of this side around it: 1 at the rim
# (a share of 0.45 and more), LEAST_WEIGHT where nothing known is near.
WINDOW_PX = 31
WEIGHT_PER_SHARE = 2.2
LEAST_WEIGHT = 0.12
# Of the feature distance: what a hole's cell counts beside its depth, and what keeps empty holes finite.
FEATURE_HOLE_WEIGHT = 0.3
FEATURE_EPSILON = 0.1
# A discriminator's cells outside the hole show a real part of a filled picture; they count less.
SURROUND_WEIGHT = 0.5


def depth_weight(hole: Tensor) -> Tensor:
    """(B, 1, H, W): 0 outside the hole, 1 at its rim, less the deeper inside, where many contents are as likely."""
    half = WINDOW_PX // 2
    known = F.avg_pool2d(F.pad(1 - hole, (half,) * 4, mode="replicate"), WINDOW_PX, 1)
    return (known * WEIGHT_PER_SHARE).clamp(LEAST_WEIGHT, 1) * hole


def rim_l1(fill: Tensor, truth: Tensor, hole: Tensor) -> Tensor:
    """Mean absolute difference inside the hole, weighted by `depth_weight`; a sample without a hole counts 0."""
    weight = depth_weight(hole)
    error = (fill - truth).abs().mean(dim=1, keepdim=True)
    return ((error * weight).sum(dim=(1, 2, 3)) / (weight.sum(dim=(1, 2, 3)) + 1)).mean()


def known_l1(fill: Tensor, truth: Tensor, hole: Tensor) -> Tensor:
    """Absolute difference outside the hole, as a mean over all pixels."""
    return ((fill - truth).abs() * (1 - hole)).mean()


def feature_distance(shown: Sequence[Tensor], wanted: Sequence[Tensor], hole: Tensor) -> Tensor:
    """Square distance of unit-length features in and near the hole, summed over the scales (LPIPS without its weights).

    Source: Zhang et al., CVPR 2018, equation 1, with equal weights for all channels.

    Args:
        shown: features of the filled pictures, (B, C, h, w) each.
        wanted: of the true ones.
        hole: decides what a position counts.
    """
    depth = depth_weight(hole)
    total = torch.zeros((), device=hole.device)
    for a, b in zip(shown, wanted, strict=True):
        size = (a.shape[-2], a.shape[-1])
        weight = F.adaptive_avg_pool2d(depth, size) + FEATURE_HOLE_WEIGHT * F.adaptive_avg_pool2d(hole, size)
        apart = (unit(a) - unit(b)).square().sum(dim=1, keepdim=True) * weight
        total = total + (apart.sum(dim=(1, 2, 3)) / (weight.sum(dim=(1, 2, 3)) + FEATURE_EPSILON)).mean()
    return total


def feature_matching(shown: Sequence[Tensor], wanted: Sequence[Tensor], hole: Tensor) -> Tensor:
    """L1 of a discriminator's own features in the cells that touch the hole, mean over its layers.

    Source: Wang et al., pix2pixHD, CVPR 2018, equation 4.
    """
    terms = [
        _inside((a.float() - b.float()).abs().mean(dim=1, keepdim=True), hole)
        for a, b in zip(shown, wanted, strict=True)
    ]
    return torch.stack(terms).mean()


def hinge_fill(scores: Tensor, hole: Tensor) -> Tensor:
    """The filling network's side of the hinge loss, in the cells that touch the hole; `scores` is (B, 1, h, w)."""
    return -_inside(scores, hole)


def hinge_tell(real: Tensor, filled: Tensor, hole: Tensor) -> Tensor:
    """The discriminator's side: real pictures, and filled ones, whose cells outside the hole are real as well.

    Args:
        real: scores of real pictures, (B, 1, h, w).
        filled: scores of filled ones.
        hole: of the filled ones.
    """
    outside = 1 - F.adaptive_max_pool2d(hole, filled.shape[-2:])
    surround = (F.relu(1 - filled) * outside).sum() / (outside.sum() + 1)
    return F.relu(1 - real).mean() + SURROUND_WEIGHT * surround + _inside(F.relu(1 + filled), hole)


def _inside(values: Tensor, hole: Tensor) -> Tensor:
    """The mean over the cells that touch the hole; 0 if none does."""
    touches = F.adaptive_max_pool2d(hole, values.shape[-2:])
    return (values * touches).sum() / (touches.sum() + 1)
