"""Grow a mask by an exact disc, and give it a soft edge."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.video.frame import Bool, Box, Float


def dilate(mask: Bool, px: float) -> Bool:
    """Grow a (H, W) mask to every pixel whose centre is at most `px` from that of a masked one; a new array.

    Raises:
        ValueError: if `px` is negative.
    """
    grown = np.zeros_like(mask)
    box, distance = _distance(mask, px)
    if box is not None:
        grown[box.slices] = distance <= px
    return grown


def soft_alpha(mask: Bool, *, dilate_px: float, feather_px: float) -> NDArray[np.uint8]:
    """The opacity of the fill: 255 inside the dilated mask, falling smoothly to 0 over the feather band outside it.

    With d the distance to the mask and t = (d - dilate_px) / (feather_px + 1), the band has alpha
    255 (1 - 3 t^2 + 2 t^3), at least 1: `soft_alpha(...) > 0` is exactly `dilate(mask, dilate_px + feather_px)`.

    Args:
        mask: (H, W).
        dilate_px: how far the mask is grown, in pixels.
        feather_px: width of the band around it, in pixels.

    Returns:
        (H, W) in [0, 255].

    Raises:
        ValueError: if a width is negative.
    """
    if dilate_px < 0 or feather_px < 0:
        raise ValueError(f"widths must be 0 or more, found dilate_px={dilate_px} and feather_px={feather_px}")
    alpha = np.zeros(mask.shape, np.uint8)
    reach = dilate_px + feather_px
    box, distance = _distance(mask, reach)
    if box is not None:
        t = np.clip((distance - dilate_px) / np.float32(feather_px + 1), 0, 1)
        falling = np.maximum(np.rint(255 * (1 - t * t * (3 - 2 * t))), 1)
        alpha[box.slices] = np.where(distance <= reach, falling, 0)
    return alpha


def _distance(mask: Bool, reach: float) -> tuple[Box | None, Float]:
    """The mask's box grown by `reach`, and each of its pixels' distance to the mask; no box for an empty mask.

    The transform is exact (Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled Functions", 2012): float32
    roots of integers are precise enough to compare with any radius.
    """
    if reach < 0:
        raise ValueError(f"a radius must be 0 or more, found {reach}")
    tight = Box.around(mask)
    if tight is None:
        return None, np.zeros((0, 0), np.float32)
    height, width = mask.shape
    box = tight.grow(int(reach), height=height, width=width)
    outside = np.logical_not(mask[box.slices]).view(np.uint8)
    distance = cv2.distanceTransform(np.ascontiguousarray(outside), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return box, np.asarray(distance, np.float32)
