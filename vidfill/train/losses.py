"""What training minimises. Every loss is a mean over the samples of the batch, so that processes can share one batch.

Pictures are (B, 3, H, W) RGB in about [0, 1], holes (B, 1, H, W) with 1 = missing, flows (B, 2, H, W) in pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from vidfill.align.warp import warp

# Side of SSIM's uniform window, and its two constants for pictures in [0, 1] (Wang et al., 2004).
SSIM_WINDOW_PX = 7
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2
# Sharpness of the occlusion weight of the warping losses (Deep Video Inpainting, equation 6).
OCCLUSION_SHARPNESS = 50.0


def frame_l1(fill: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference over the whole frame."""
    return (fill - truth).abs().mean()


def hole_l1(fill: Tensor, truth: Tensor, hole: Tensor) -> Tensor:
    """Mean absolute difference inside the hole; a sample without a hole counts 0."""
    total = ((fill - truth).abs() * hole).sum(dim=(1, 2, 3))
    return (total / (3 * hole.sum(dim=(1, 2, 3))).clamp(min=1)).mean()


def ssim_loss(fill: Tensor, truth: Tensor) -> Tensor:
    """1 - SSIM with a uniform window, over the positions where the window lies inside the picture."""

    def local_mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.avg_pool2d(x, (SSIM_WINDOW_PX, 1), stride=1), (1, SSIM_WINDOW_PX), stride=1)

    a, b = fill.float(), truth.float()
    mean_a, mean_b = local_mean(a), local_mean(b)
    variance_a = local_mean(a * a) - mean_a * mean_a
    variance_b = local_mean(b * b) - mean_b * mean_b
    covariance = local_mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variance_a + variance_b + SSIM_C2)
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
    share = F.adaptive_avg_pool2d(visible, size)
    coarse = F.adaptive_avg_pool2d(exact * visible, size) / share.clamp(min=1e-6)
    scale = torch.tensor([exact.shape[-1] / size[1], exact.shape[-2] / size[0]], device=flow.device)
    counts = (share >= 0.5).float()
    error = (flow.float() * scale.view(1, 2, 1, 1) - coarse).abs() * counts
    return (error.sum(dim=(1, 2, 3)) / (2 * counts.sum(dim=(1, 2, 3))).clamp(min=1)).mean()


def warp_l1(fill: Tensor, other: Tensor, truth: Tensor, other_truth: Tensor, flow: Tensor) -> Tensor:
    """Temporal consistency: an output against another one, brought over by a flow, where the truth agrees.

    Args:
        fill: the output.
        other: an output at another time.
        truth: the true frame at the time of `fill`.
        other_truth: the true frame at the time of `other`.
        flow: from `fill` to `other`.

    The weight of a pixel is exp(-50 |truth - warp(other_truth)|^2), the square summed over the colours.
    """
    away = (truth - warp(other_truth, flow)).square().sum(dim=1, keepdim=True)
    weight = torch.exp(-OCCLUSION_SHARPNESS * away)
    return (weight * (fill - warp(other, flow)).abs()).mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's hinge loss on its scores, of any shape."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """The generator's side of the hinge loss."""
    return -fake.mean()
