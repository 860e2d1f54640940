"""Where the holes of a video are and how thick, and how far masks are grown by default."""

from __future__ import annotations

import cv2
import numpy as np

from vidfill.masks.files import MaskCursor
from vidfill.video.frame import Bool, Box, Frame

_SIDE_PER_GROWTH = 120  # 4 px at 480 rows, 9 px at 1080
_THICKNESS_PER_GROWTH = 8  # strokes of text are grown by less, so that the background between letters is kept


def thickness(mask: Bool) -> float:
    """Thickness of the shapes of a (H, W) mask in pixels: the width of strokes, two thirds of that of solid shapes.

    It is four times the mean distance to the outline, which, unlike the maximum, hardly depends on crossing strokes or
    on a small blob beside much text. An empty mask has 0.
    """
    if not mask.any():
        return 0.0
    padded = np.pad(mask, 1).view(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)
    # Distances are to the nearest pixel outside, which is half a pixel beyond the outline.
    return 4 * (float(distance[padded > 0].mean()) - 0.5)


def automatic_growth(thickness_px: float, *, height: int, width: int) -> int:
    """Default width in pixels by which masks are grown, and of the feathering outside that.

    It is proportional to the shorter side of the (height, width) picture, less for masks of little `thickness`, and at
    least 1.
    """
    return max(1, round(min(min(height, width) / _SIDE_PER_GROWTH, thickness_px / _THICKNESS_PER_GROWTH)))


class HoleSurvey:
    """Collects the boxes of the holes of consecutive frames, before masks are grown.

    Attributes:
        boxes: of each frame so far, None without a hole.
        thickness_px: maximum `thickness` of all masks so far.
    """

    def __init__(self, cursor: MaskCursor) -> None:
        self.boxes: list[Box | None] = []
        self.thickness_px = 0.0
        self._cursor = cursor
        self._mask: Bool | None = None
        self._box: Box | None = None
        self._shown: Box | None = None

    def add(self, frame: Frame) -> None:
        """Add the hole of the next frame."""
        mask = self._cursor.at(frame)
        if mask is not self._mask:
            self._mask, self._box = mask, Box.around(mask)
            if self._box is not None:
                self.thickness_px = max(self.thickness_px, thickness(mask[self._box.slices]))
        if not frame.held:
            self._shown = self._box
            self.boxes.append(self._box)
        else:
            # A held frame shows the picture before it, so the object is also where it was there.
            both = self._box.union(self._shown) if self._box and self._shown else self._box or self._shown
            self.boxes.append(both)
