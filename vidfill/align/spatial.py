"""Fills from the frame itself, for what no other frame shows."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.align.membrane import membrane

RADIUS_PX = 3.0
SMALL_HOLE_PX = 1500


def fill_spatially(rgb: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Telea's inpainting, at half size where the hole is large: it is slow, and smooth far from the rim anyway.

    Args:
        rgb: (H, W, 3).
        known: (H, W) bool, at least one pixel of it True.

    Returns:
        (H, W, 3); exact outside the hole only for small holes.

    Source: Telea 2004.
    """
    hole = (~known).astype(np.uint8)
    if int(hole.sum()) < SMALL_HOLE_PX:
        return np.asarray(cv2.inpaint(rgb, hole, RADIUS_PX, cv2.INPAINT_TELEA), np.uint8)
    height, width = known.shape
    half_wh = ((width + 1) // 2, (height + 1) // 2)
    weight = known.astype(np.float32)
    total = cv2.resize(rgb * weight[..., None], half_wh, interpolation=cv2.INTER_AREA)
    share = cv2.resize(weight, half_wh, interpolation=cv2.INTER_AREA)
    small = np.clip(total / np.maximum(share, 1e-3)[..., None], 0, 255).round().astype(np.uint8)
    filled = cv2.inpaint(small, (share < 0.3).astype(np.uint8), RADIUS_PX, cv2.INPAINT_TELEA)
    return np.asarray(cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def fill_smoothly(rgb: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The membrane that is fixed at the hole's rim (see `vidfill.align.membrane`).

    It continues no edges, as Telea's fill does, but draws no wrong ones.

    Args:
        rgb: (H, W, 3).
        known: (H, W) bool, at least one pixel of it True.

    Returns:
        (H, W, 3); exact outside the hole.
    """
    filled, hole = rgb.copy(), ~known
    filled[hole] = membrane(rgb.astype(np.float32), hole)[hole].round().clip(0, 255).astype(np.uint8)
    return filled
