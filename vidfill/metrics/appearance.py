"""How a fill looks, judged by the features of a network: its distance from the truth.

A network here takes (B, 3, H, W) RGB in [0, 1] to feature maps (B, C, h, w), fine scales first, such as
`vidfill.metrics.features.Features`. Feature maps of a frame are lists of (C, h, w) with vectors of length one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.metrics.features import unit

Frame = NDArray[np.uint8]
Hole = NDArray[np.bool_]
Network = Callable[[Tensor], Sequence[Tensor]]
Maps = list[Tensor]


def feature_maps(network: Network, frame: Frame) -> Maps:
    """The unit-length feature maps of an (H, W, 3) uint8 RGB frame."""
    picture = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))[None].float() / 255
    with torch.inference_mode():
        return [unit(features)[0] for features in network(picture)]


def feature_distance(output: Maps, truth: Maps, hole: Hole) -> float:
    """How different a fill looks from the truth: the mean over the scales of the squared distance of unit features.

    At each scale it is averaged over the hole: a position counts by the share of its cell that the hole covers. LPIPS
    with equal weights (Zhang et al., CVPR 2018, equation 1), another network, and the mean over its scales.

    Args:
        output: feature maps of the composited frame.
        truth: those of the true frame.
        hole: (H, W) bool, with at least one pixel.

    Returns:
        0 for equal pictures; 2 is the distance of features that have nothing in common.
    """
    distances = []
    for ours, theirs in zip(output, truth, strict=True):
        weight = _coverage(hole, ours)
        distances.append(float(((ours - theirs).square().sum(0) * weight).sum() / weight.sum()))
    return sum(distances) / len(distances)


def _coverage(hole: Hole, features: Tensor) -> Tensor:
    """(h, w), the share of each cell of a feature map that a hole covers."""
    height, width = features.shape[-2:]
    return torch.from_numpy(cv2.resize(hole.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA))
