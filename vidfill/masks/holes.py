"""Where the holes of a video are and how thick, and how far masks are grown by default."""

from __future__ import annotations

import cv2
import numpy as np

from vidfill.masks.files import MaskCursor
from vidfill.video.frame import Bool, Box, Frame

_GROWTH_OF_PICTURE = 120  # the shorter side over this: 4 px at 480 rows, 9 px at 1080
_GROWTH_OF_THICKNESS = 8  # strokes of text are grown by less, so that what is known between letters stays known


def thickness(mask: Bool) -> float:
    """How thick the shapes of a mask are, in pixels: the width of strokes, two thirds of the width of solid shapes.

    This is four times the mean distance to the outline. Unlike the largest distance it hardly depends on where strokes
    cross, or on a small blob beside much text.

    Args:
        mask: (H, W).

    Returns:
        0 for an empty mask.
    """
    if not mask.any():
        return 0.0
    padded = np.pad(mask, 1).view(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)
    # The transform goes to the nearest pixel outside, which is half a pixel beyond the outline.
    return 4 * (float(distance[padded > 0].mean()) - 0.5)


def automatic_growth(thickness_px: float, *, height: int, width: int) -> int:
    """By how many pixels masks are grown, and over how many they are feathered outside that, unless told otherwise.

    Args:
        thickness_px: of the masks, see `thickness`.
        height: of the picture.
        width: of the picture.

    Returns:
        A share of the picture's shorter side, less for thin masks, at least 1.
    """
    return max(1, round(min(min(height, width) / _GROWTH_OF_PICTURE, thickness_px / _GROWTH_OF_THICKNESS)))


class HoleSurvey:
    """Notes where the holes of consecutive frames are, before they are grown.

    Args:
        cursor: reads their masks.

    Attributes:
        boxes: of each frame so far, None without a hole.
        thickness_px: the largest of all masks so far, see `thickness`.
    """

    def __init__(self, cursor: MaskCursor) -> None:
        self.boxes: list[Box | None] = []
        self.thickness_px = 0.0
        self._cursor = cursor
        self._mask: Bool | None = None
        self._box: Box | None = None
        self._shown: Box | None = None

    def add(self, frame: Frame) -> None:
        """Note the hole of the next frame."""
        mask = self._cursor.at(frame)
        if mask is not self._mask:
            self._mask, self._box = mask, Box.around(mask)
            if self._box is not None:
                self.thickness_px = max(self.thickness_px, thickness(mask[self._box.slices]))
        if not frame.held:
            self._shown = self._box
            self.boxes.append(self._box)
        else:
            # A held frame shows the picture before it, so the object is where it was there as well.
            both = self._box.union(self._shown) if self._box and self._shown else self._box or self._shown
            self.boxes.append(both)
