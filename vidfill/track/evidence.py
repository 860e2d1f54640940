"""Evidence for an object without learned weights: dense motion, and colours with their positions."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.video.frame import Bool, Float, Rgb

Bins = NDArray[np.int32]

PATCH_PX, STRIDE_PX = 8, 4
MIN_SIDE_PX = 32  # DIS needs a few patches on its coarsest scale
CAMERA_STEP_PX = 8
CAMERA_INLIER_PX = 1.0
MIN_CAMERA_POINTS = 15

LIGHT_BINS, COLOR_BINS, COLOR_STEP = 16, 14, 6
MOTION_BINS = 12
# Evidence is the natural logarithm of a likelihood ratio, clipped to these absolute values.
MAX_COLOR_EVIDENCE, MAX_MOTION_EVIDENCE = 3.0, 1.5
GUIDE_RADIUS_PX, GUIDE_EPSILON = 4, 5e-4


def dense_flow(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> Float:
    """(H, W, 2) DIS flow (Kroeger et al., ECCV 2016) at full resolution, `image[y, x] = other[y + v, x + u]`.

    Both are (H, W) grey. The flow is not refined, which would blur the motion of an object over its outline; for small
    pictures it is 0.
    """
    if min(image.shape) < MIN_SIDE_PX:
        return np.zeros((*image.shape, 2), np.float32)
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(0)
    dis.setPatchSize(PATCH_PX)
    dis.setPatchStride(STRIDE_PX)
    dis.setVariationalRefinementIterations(0)
    # None: a flow passed in would be used as the initial flow. The stubs do not allow it.
    return np.asarray(dis.calc(image, other, None), np.float32)  # type: ignore[call-overload]


def grey(picture: Rgb) -> NDArray[np.uint8]:
    """(H, W) luma of an RGB picture."""
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def sample(image: NDArray[Any], flow: Float) -> NDArray[Any]:
    """An (H, W, ...) array sampled where a flow points to, bilinear; beyond the border its nearest pixel."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return cv2.remap(
        image, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def residual_motion(flow: Float, surroundings: Bool) -> Float:
    """(H, W, 2) flow minus the camera's motion, a homography fitted to the surroundings."""
    height, width = surroundings.shape
    half = CAMERA_STEP_PX // 2
    rows, columns = np.mgrid[half:height:CAMERA_STEP_PX, half:width:CAMERA_STEP_PX]
    used = surroundings[rows, columns]
    points = np.stack([columns[used], rows[used]], axis=1).astype(np.float32)
    targets = points + flow[rows, columns][used]
    matrix = None
    if len(points) >= MIN_CAMERA_POINTS:
        matrix, _ = cv2.findHomography(points, targets, cv2.RANSAC, CAMERA_INLIER_PX, maxIters=500)
    if matrix is None:
        around = flow[surroundings]
        return flow - (np.median(around, axis=0) if len(around) else 0)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).astype(np.float32)
    moved = cv2.perspectiveTransform(grid.reshape(1, -1, 2), matrix).reshape(height, width, 2)
    return np.asarray(flow - (moved - grid), np.float32)


class ColorPlaces:
    """A five-dimensional histogram of lightness, colour (CIE L*a*b*) and position, as in bilateral space.

    Source: Märki et al., "Bilateral Space Video Segmentation" (CVPR 2016), section 3, without its graph cut. There are
    `n_places` bins of position along each side, 1 for colours alone.
    """

    def __init__(self, *, n_places: int) -> None:
        self._shape = (LIGHT_BINS, COLOR_BINS, COLOR_BINS, n_places, n_places)

    def bins(self, picture: Rgb) -> Bins:
        """(h, w) the bin of each pixel; positions are relative to the picture's size."""
        n_places = self._shape[-1]
        lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
        light = _bin(lab[..., 0] * (LIGHT_BINS / 256), LIGHT_BINS)
        red = _bin((lab[..., 1] - 128) / COLOR_STEP + COLOR_BINS / 2, COLOR_BINS)
        yellow = _bin((lab[..., 2] - 128) / COLOR_STEP + COLOR_BINS / 2, COLOR_BINS)
        height, width = light.shape
        row = _bin(np.arange(height)[:, None] * (n_places / height), n_places)
        column = _bin(np.arange(width)[None] * (n_places / width), n_places)
        place = row * n_places + column
        return np.asarray(((light * COLOR_BINS + red) * COLOR_BINS + yellow) * n_places**2 + place, np.int32)

    def counts(self, bins: Bins, weight: Float, *, n_place_blurs: int) -> Float:
        """Total weight of the pixels of each bin, blurred once along colour, `n_place_blurs` times along position."""
        total = np.bincount(bins.ravel(), weights=weight.ravel(), minlength=int(np.prod(self._shape)))
        grid = total.reshape(self._shape).astype(np.float32)
        for axis, n_blurs in enumerate((1, 1, 1, n_place_blurs, n_place_blurs)):
            for _ in range(n_blurs if self._shape[axis] > 1 else 0):
                grid = _blur(grid, axis)
        return grid.ravel()


def color_evidence(bins: Bins, inside: Float, outside: Float) -> Float:
    """(h, w) log-likelihood ratio of each pixel's colour, given the counts by bin of object and surroundings."""
    ratio = (inside[bins] + 0.3) / (outside[bins] + 0.3)
    return np.clip(np.log(ratio), -MAX_COLOR_EVIDENCE, MAX_COLOR_EVIDENCE)


def motion_bins(residual: Float, surroundings: Bool) -> Bins:
    """(h, w) bins of residual motion, finer for slow motion, relative to that of the surroundings."""
    around = np.linalg.norm(residual[surroundings], axis=1)
    noise = max(0.15, float(np.median(around)) if len(around) else 0.15)
    scaled = np.sign(residual) * np.log1p(np.abs(residual) / noise) * 2.5
    both = _bin(scaled + MOTION_BINS / 2, MOTION_BINS)
    return both[..., 1] * MOTION_BINS + both[..., 0]


def motion_evidence(bins: Bins, inside: Float, outside: Float) -> Float:
    """(h, w) log-likelihood ratio of each pixel's motion, given its (h, w) weights in the object and outside it."""
    ratio = (_motion_ratios(bins, inside) + 0.003) / (_motion_ratios(bins, outside) + 0.003)
    return np.asarray(np.clip(np.log(ratio), -MAX_MOTION_EVIDENCE, MAX_MOTION_EVIDENCE)[bins], np.float32)


def along_edges(probability: Float, picture: Rgb) -> Float:
    """Smooth a map in [0, 1] where the picture is smooth: He et al., "Guided Image Filtering" (ECCV 2010), eq. 5."""
    guide = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2GRAY)
    mean, mean_p = _box(guide), _box(probability)
    slope = (_box(guide * probability) - mean * mean_p) / (_box(guide * guide) - mean * mean + GUIDE_EPSILON)
    smooth = _box(slope) * guide + _box(mean_p - slope * mean)
    return np.asarray(np.clip(smooth, 0, 1), np.float32)


def similarity(a: Float, b: Float) -> float:
    """Bhattacharyya coefficient of two histograms: 1 for the same distribution, 0 for no common bin."""
    total = float(a.sum()) * float(b.sum())
    return float(np.sqrt(a * b).sum()) / total**0.5 if total > 0 else 0.0


def _motion_ratios(bins: Bins, weight: Float) -> Float:
    """The ratio of the weight that each bin has, blurred."""
    counts = np.bincount(bins.ravel(), weights=weight.ravel(), minlength=MOTION_BINS**2).astype(np.float32)
    grid = counts.reshape(MOTION_BINS, MOTION_BINS)
    blurred = cv2.GaussianBlur(grid, (0, 0), 0.8, borderType=cv2.BORDER_CONSTANT).ravel()
    return np.asarray(blurred / (counts.sum() + 1), np.float32)


def _bin(value: NDArray[Any], n: int) -> Bins:
    return np.asarray(np.clip(value, 0, n - 1), np.float32).astype(np.int32)


def _blur(grid: Float, axis: int) -> Float:
    """[1 2 1] / 4 along one axis, without what falls off its ends."""
    moved = np.moveaxis(grid, axis, 0)
    result = moved * 0.5
    result[1:] += moved[:-1] * 0.25
    result[:-1] += moved[1:] * 0.25
    return np.asarray(np.moveaxis(result, 0, axis), np.float32)


def _box(image: NDArray[Any]) -> Float:
    side = 2 * GUIDE_RADIUS_PX + 1
    return np.asarray(cv2.blur(image, (side, side)), np.float32)
