"""How a fill looks, judged by the features of a network: its distance from the truth, how well it belongs, remnants.

A network here takes (B, 3, H, W) RGB in [0, 1] to feature maps (B, C, h, w), fine scales first, such as
`vidfill.evaluate.features.FeatureNetwork`. Feature maps of a frame are lists of (C, h, w) with vectors of length one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from numpy.typing import NDArray
from torch import Tensor

from vidfill.evaluate.features import unit
from vidfill.evaluate.temporal import ring_round
from vidfill.video.frame import Bool

Network = Callable[[Tensor], Sequence[Tensor]]
Maps = list[Tensor]

SCALES = (2, 3)  # of five: strides 8 and 16
RC_S_GAIN = 10 / 3  # of the published score: a kernel of sigma 10, a factor of 1000
WINDOW, WINDOW_STEP = 8, 4  # in positions of a feature map
RING_PX = 24
MIN_POSITIONS = 6  # on each side, for a window to count
CROP_MARGIN = 1 / 3  # of the longer side of a component's box, in all


def feature_maps(network: Network, frame: NDArray[np.uint8]) -> Maps:
    """The unit-length feature maps of an (H, W, 3) uint8 RGB frame."""
    picture = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))[None].float() / 255
    with torch.inference_mode():
        return [unit(features)[0] for features in network(picture)]


def feature_distance(output: Maps, truth: Maps, hole: Bool) -> float:
    """How different a fill looks from the truth: the mean over the scales of the squared distance of unit features.

    At each scale it is averaged over the hole: a position counts by the ratio of its cell that the hole covers. LPIPS
    with equal weights (Zhang et al., CVPR 2018, equation 1), another network, and the mean over its scales.

    Returns:
        0 for equal pictures; 2 is the distance of features that have nothing in common.
    """
    distances = []
    for ours, theirs in zip(output, truth, strict=True):
        weight = _coverage(hole, ours)
        distances.append(float(((ours - theirs).square().sum(0) * weight).sum() / weight.sum()))
    return sum(distances) / len(distances)


def rc_s_lite(output: Maps, hole: Bool) -> float | None:
    """How well a fill belongs to the picture round it, without a truth: 1 is indistinguishable, 0 foreign.

    For each component of the hole a crop of its box and a third more; in windows of 8x8 positions, moved by half, the
    squared distance d between the mean unit features inside and outside the hole, where both have six positions; a
    window that is all hole is compared with all of the crop's background. The score is `exp(-10/3 mean(d))`.

    Source: RC-S of the PROVE benchmark (2026). Differs from it: EfficientNet-Lite0 at strides 8 and 16 of the whole
    frame in the place of a large network on each crop; d in the place of the kernel's MMD, which it equals to within 1
    % for unit vectors; and d is made unbiased (the variance of both means is subtracted), since a window of these maps
    has few positions.

    Returns:
        The score; None for a hole that is too small or leaves no background.
    """
    means = [
        distances.mean()
        for scale in SCALES
        for features, inside in _crops(output[scale], _coverage(hole, output[scale]) > 0.5)
        if len(distances := _window_distances(features, inside))
    ]
    return math.exp(-RC_S_GAIN * float(torch.stack(means).mean())) if means else None


def residue_lite(output: Maps, source: Maps, hole: Bool) -> float | None:
    """The ratio of the hole that still looks like the removed object rather than like the picture round the hole.

    A position counts where the most similar feature of the object (the source inside the hole) is nearer than the most
    similar one of the ring of 24 px round it; the mean of strides 8 and 16. An object that resembles its surroundings
    has some of it by chance.

    Returns:
        0 to 1; None for a hole that is too small or leaves no ring.
    """
    shares = []
    for scale in SCALES:
        inside = _coverage(hole, output[scale]) > 0.5
        ring = _coverage(ring_round(hole, RING_PX), output[scale]) > 0.5
        if inside.any() and ring.any():
            fill, thing, background = output[scale][:, inside], source[scale][:, inside], output[scale][:, ring]
            is_object = (fill.T @ thing).amax(1) > (fill.T @ background).amax(1)
            shares.append(float(is_object.float().mean()))
    return sum(shares) / len(shares) if shares else None


def _coverage(hole: Bool, features: Tensor) -> Tensor:
    """(h, w), the ratio of each cell of a feature map that a hole covers."""
    height, width = features.shape[-2:]
    return torch.from_numpy(cv2.resize(hole.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA))


def _crops(features: Tensor, inside: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Features and hole (C, h, w) and (h, w) round each component of the hole, the box and a third of its side more."""
    n, _, boxes, _ = cv2.connectedComponentsWithStats(inside.numpy().astype(np.uint8))
    for x, y, width, height in boxes[1:n, :4].tolist():
        side = math.ceil(max(width, height) * (1 + CROP_MARGIN))
        rows, columns = (
            slice(max(0, start - (side - size + 1) // 2), start + size + (side - size + 1) // 2)
            for start, size in ((y, height), (x, width))
        )
        yield features[:, rows, columns], inside[rows, columns]


def _window_distances(features: Tensor, inside: Tensor) -> Tensor:
    """(N,), for each window that counts the unbiased squared distance of the mean features inside and outside."""
    pads = [pad for size in features.shape[:0:-1] for pad in (0, max(WINDOW - size, (WINDOW - size) % WINDOW_STEP))]

    def sums(mask: Tensor) -> Tensor:
        """(C + 2, rows, columns): sums of the features, of their squared lengths and of the mask in each window."""
        masked = torch.cat((features, features.square().sum(0, keepdim=True), torch.ones_like(features[:1]))) * mask
        return F.avg_pool2d(F.pad(masked, pads)[None], WINDOW, WINDOW_STEP)[0] * WINDOW**2

    outside = (~inside).to(features.dtype)
    ours, theirs = sums(inside.to(features.dtype)), sums(outside)
    squares = features.square().sum(0, keepdim=True)
    everywhere = (torch.cat((features, squares, torch.ones_like(squares))) * outside).sum((1, 2))[:, None, None]
    theirs = torch.where(theirs[-1].round() < MIN_POSITIONS, everywhere, theirs)
    counts = (ours[-1].round() >= MIN_POSITIONS) & (theirs[-1].round() >= MIN_POSITIONS)
    (mean_a, noise_a), (mean_b, noise_b) = _mean_and_noise(ours[:, counts]), _mean_and_noise(theirs[:, counts])
    return (mean_a - mean_b).square().sum(0) - noise_a - noise_b


def _mean_and_noise(sums: Tensor) -> tuple[Tensor, Tensor]:
    """From sums (C + 2, N): the means (C, N), and the expected squared error (N,) of each."""
    n = sums[-1]
    mean = sums[:-2] / n
    variance = (sums[-2] / n - mean.square().sum(0)) * n / (n - 1)
    return mean, variance / n
