"""The shadow of an object: ground that is brighter, and of the same colour, on frames where the object is elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from vidfill.align.homography import Matrix, find_keypoints, fit_homography, match
from vidfill.masks.edit import dilate
from vidfill.track.evidence import grey
from vidfill.video.frame import Bool, Float, Rgb

SHADOW_OFFSETS = (-24, -16, -8, 8, 16, 24)
"""Frames that may show the ground without the shadow, relative to the one with it."""
SEARCH_RADIUS = 1.0
"""Around the object, relative to its size, the square root of its area."""
MIN_LIGHT_RATIO, MAX_LIGHT_RATIO = 0.2, 0.85
"""Light inside the shadow relative to that without it."""
MAX_COLOR_DISTANCE = 9.0
"""In a* and b* of CIE L*a*b* at equal light: a shadow keeps the colour but for a little of the sky's blue."""
MIN_AREA_RATIO, MAX_AREA_RATIO = 0.01, 1.5
"""Area of a shadow relative to that of the object."""
BLUR_SIGMA_PX = 1.5
"""Frames are not aligned to the pixel."""
RIM_PX = 2


class Other(NamedTuple):
    """Another frame of the scene, and the mask of the objects on it."""

    picture: Rgb
    mask: Bool


def shadow_of(mask: Bool, picture: Rgb, others: Sequence[Other]) -> Bool:
    """The shadow beside an object, as far as other frames show the ground without it.

    The others are registered by homographies fitted outside the objects. Ground that is darker than on any of them, has
    the same colour and touches the object is its shadow. Other things that move there may be mistaken for it, and the
    shadow of an object that does not move is not found.

    Args:
        mask: (H, W), the object.
        picture: (H, W, 3).
        others: frames of the same scene.

    Returns:
        (H, W), without the object.
    """
    area = int(np.count_nonzero(mask))
    around = dilate(mask, max(6.0, SEARCH_RADIUS * math.sqrt(area))) & ~mask
    if area == 0 or not around.any():
        return np.zeros_like(mask)
    light, color = _light_and_color(picture)
    brightest, its_color = np.full(mask.shape, -np.inf, np.float32), np.zeros_like(color)
    for other in others:
        matrix = _register(other, picture, mask)
        if matrix is None:
            continue
        other_light, other_color, is_ground = _warped(other, matrix)
        better = is_ground & (other_light > brightest)
        brightest[better], its_color[better] = other_light[better], other_color[better]
    ratio = np.exp(light - brightest)
    same_color = np.linalg.norm(color - its_color, axis=2) < MAX_COLOR_DISTANCE
    dark = around & (ratio > MIN_LIGHT_RATIO) & (ratio < MAX_LIGHT_RATIO) & same_color
    dark = cv2.morphologyEx(dark.view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).astype(np.bool_)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(dark.view(np.uint8), connectivity=8)
    touching = set(np.unique(labels[dilate(mask, 4) & dark]).tolist()) - {0}
    kept = [i for i in touching if MIN_AREA_RATIO * area <= stats[i, cv2.CC_STAT_AREA] <= MAX_AREA_RATIO * area]
    return dilate(np.isin(labels, kept), RIM_PX) & ~mask


def _register(other: Other, picture: Rgb, mask: Bool) -> Matrix | None:
    """The homography from another frame to this one, fitted outside the objects of both."""
    source = find_keypoints(grey(other.picture), ~other.mask)
    target = find_keypoints(grey(picture), ~mask)
    return fit_homography(*match(source, target))


def _warped(other: Other, matrix: Matrix) -> tuple[Float, Float, Bool]:
    """Light and colour of another frame warped to this one, and where it shows the ground."""
    size_wh = (other.mask.shape[1], other.mask.shape[0])
    stacked = np.dstack(_light_and_color(other.picture))
    moved = np.asarray(cv2.warpPerspective(stacked, matrix, size_wh), np.float32)
    ground = (~dilate(other.mask, 3)).astype(np.float32)
    is_ground = np.asarray(cv2.warpPerspective(ground, matrix, size_wh) > 0.99)
    return moved[..., 0], moved[..., 1:], is_ground


def _light_and_color(picture: Rgb) -> tuple[Float, Float]:
    """(H, W) logarithm of the light, (H, W, 2) colour at equal light (a* and b*); both blurred."""
    soft = cv2.GaussianBlur(picture, (0, 0), BLUR_SIGMA_PX).astype(np.float32) / 255
    linear = soft**2.2 + 0.004
    luma = linear @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    even = np.clip(linear * (0.2 / luma)[..., None], 0, 1) ** np.float32(1 / 2.2)
    color = cv2.cvtColor(even.astype(np.float32), cv2.COLOR_RGB2LAB)[..., 1:]
    return np.asarray(np.log(luma), np.float32), np.asarray(color, np.float32)
