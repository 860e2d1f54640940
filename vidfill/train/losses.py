"""Losses and distances. Pictures are (B, 3, H, W) RGB in about [0, 1], holes (B, 1, H, W) with 1 = missing.

Every loss is a mean over the samples of the batch, so that processes can share one batch; those of discriminators' maps
of scores and features are means over the cells of all samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from vidfill.align.warp import warp
from vidfill.evaluate.features import unit

# Side of SSIM's uniform window, and its two constants for pictures in [0, 1] (Wang et al., 2004).
_SSIM_WINDOW_PX = 7
_SSIM_C1 = 0.01**2
_SSIM_C2 = 0.03**2
# Sharpness of the occlusion weight of the warping losses (Deep Video Inpainting, equation 6).
_OCCLUSION_SHARPNESS = 50.0
# The weight of a hole's pixel falls with the ratio of known pixels in a window of this side around it: 1 at the rim (a
# ratio of 0.45 and more), _MIN_DEPTH_WEIGHT where nothing known is near.
_DEPTH_WINDOW_PX = 31
_DEPTH_GAIN = 2.2
_MIN_DEPTH_WEIGHT = 0.12
# Of the feature distance: weight of a hole's cell beside that of its depth, and what keeps empty holes finite.
_FEATURE_HOLE_WEIGHT = 0.3
_FEATURE_EPSILON = 0.1
# A discriminator's cells outside the hole show a real part of a filled picture; they count less.
_SURROUND_WEIGHT = 0.5


def frame_l1(fill: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference over the whole frame."""
    return (fill - truth).abs().mean()


def hole_l1(fill: Tensor, truth: Tensor, hole: Tensor) -> Tensor:
    """Mean absolute difference inside the hole; a sample without a hole counts 0."""
    total = ((fill - truth).abs() * hole).sum(dim=(1, 2, 3))
    return (total / (3 * hole.sum(dim=(1, 2, 3))).clamp(min=1)).mean()


def known_l1(fill: Tensor, truth: Tensor, hole: Tensor) -> Tensor:
    """Absolute difference outside the hole, as a mean over all pixels."""
    return ((fill - truth).abs() * (1 - hole)).mean()


def rim_l1(fill: Tensor, truth: Tensor, hole: Tensor) -> Tensor:
    """Mean absolute difference inside the hole, weighted by `depth_weight`; a sample without a hole counts 0."""
    weight = depth_weight(hole)
    error = (fill - truth).abs().mean(dim=1, keepdim=True)
    return ((error * weight).sum(dim=(1, 2, 3)) / (weight.sum(dim=(1, 2, 3)) + 1)).mean()


def depth_weight(hole: Tensor) -> Tensor:
    """(B, 1, H, W): 0 outside the hole, 1 at its rim, less deeper inside, where many contents are plausible."""
    half = _DEPTH_WINDOW_PX // 2
    known = F.avg_pool2d(F.pad(1 - hole, (half,) * 4, mode="replicate"), _DEPTH_WINDOW_PX, 1)
    return (known * _DEPTH_GAIN).clamp(_MIN_DEPTH_WEIGHT, 1) * hole


def ssim_loss(fill: Tensor, truth: Tensor) -> Tensor:
    """1 - SSIM with a uniform window, over the positions where the window lies inside the picture."""

    def local_mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.avg_pool2d(x, (_SSIM_WINDOW_PX, 1), stride=1), (1, _SSIM_WINDOW_PX), stride=1)

    a, b = fill.float(), truth.float()
    mean_a, mean_b = local_mean(a), local_mean(b)
    variance_a = local_mean(a * a) - mean_a * mean_a
    variance_b = local_mean(b * b) - mean_b * mean_b
    covariance = local_mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _SSIM_C1) / (mean_a**2 + mean_b**2 + _SSIM_C1)
    structure = (2 * covariance + _SSIM_C2) / (variance_a + variance_b + _SSIM_C2)
    return 1 - (luminance * structure).mean()


def flow_l1(flow: Tensor, exact: Tensor, visible: Tensor) -> Tensor:
    """Mean absolute error of a flow, in pixels of the frame, where the truth is visible.

    Args:
        flow: (B, 2, h, w), in pixels of its own scale, which may be coarser than the truth's.
        exact: (B, 2, H, W), in pixels of the frame.
        visible: (B, 1, H, W), 1 where `exact` counts. A coarse pixel counts where at least half of it is visible; its
            truth is the mean over that part.
    """
    size = (flow.shape[-2], flow.shape[-1])
    ratio = F.adaptive_avg_pool2d(visible, size)
    coarse = F.adaptive_avg_pool2d(exact * visible, size) / ratio.clamp(min=1e-6)
    scale = torch.tensor([exact.shape[-1] / size[1], exact.shape[-2] / size[0]], device=flow.device)
    counts = (ratio >= 0.5).float()
    error = (flow.float() * scale.view(1, 2, 1, 1) - coarse).abs() * counts
    return (error.sum(dim=(1, 2, 3)) / (2 * counts.sum(dim=(1, 2, 3))).clamp(min=1)).mean()


def warp_l1(fill: Tensor, other: Tensor, truth: Tensor, other_truth: Tensor, flow: Tensor) -> Tensor:
    """Temporal consistency: an output against another one, warped by the flow between them, where the truth agrees.

    The weight of a pixel is exp(-50 |truth - warp(other_truth)|^2), the square summed over the colours. The flow, in
    pixels, leads from `fill` to `other`.
    """
    away = (truth - warp(other_truth, flow)).square().sum(dim=1, keepdim=True)
    weight = torch.exp(-_OCCLUSION_SHARPNESS * away)
    return (weight * (fill - warp(other, flow)).abs()).mean()


def feature_distance(filled: Sequence[Tensor], true: Sequence[Tensor], hole: Tensor) -> Tensor:
    """Square distance of unit-length features in and near the hole, summed over the scales.

    LPIPS (Zhang et al., CVPR 2018, equation 1) with equal weights for all channels.
    """
    depth = depth_weight(hole)
    total = torch.zeros((), device=hole.device)
    for a, b in zip(filled, true, strict=True):
        size = (a.shape[-2], a.shape[-1])
        weight = F.adaptive_avg_pool2d(depth, size) + _FEATURE_HOLE_WEIGHT * F.adaptive_avg_pool2d(hole, size)
        apart = (unit(a) - unit(b)).square().sum(dim=1, keepdim=True) * weight
        total = total + (apart.sum(dim=(1, 2, 3)) / (weight.sum(dim=(1, 2, 3)) + _FEATURE_EPSILON)).mean()
    return total


def feature_matching(filled: Sequence[Tensor], true: Sequence[Tensor], hole: Tensor) -> Tensor:
    """L1 of a discriminator's features in the cells that touch the hole (pix2pixHD, equation 4)."""
    terms = [
        _inside((a.float() - b.float()).abs().mean(dim=1, keepdim=True), hole)
        for a, b in zip(filled, true, strict=True)
    ]
    return torch.stack(terms).mean()


def hinge_generator(scores: Tensor, hole: Tensor) -> Tensor:
    """The filling network's side of the hinge loss, in the cells that touch the hole; `scores` is (B, 1, h, w)."""
    return -_inside(scores, hole)


def hinge_discriminator(real: Tensor, filled: Tensor, hole: Tensor) -> Tensor:
    """The discriminator's side: real pictures, and filled ones, whose cells outside the hole are real as well."""
    outside = 1 - F.adaptive_max_pool2d(hole, filled.shape[-2:])
    surround = (F.relu(1 - filled) * outside).sum() / (outside.sum() + 1)
    return F.relu(1 - real).mean() + _SURROUND_WEIGHT * surround + _inside(F.relu(1 + filled), hole)


def _inside(values: Tensor, hole: Tensor) -> Tensor:
    """The mean over the cells that touch the hole; 0 if none does."""
    touches = F.adaptive_max_pool2d(hole, values.shape[-2:])
    return (values * touches).sum() / (touches.sum() + 1)
