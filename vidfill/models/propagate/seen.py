"""One frame outside its hole: all that alignment needs of it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.align.homography import Keypoints, find_keypoints


class Seen(NamedTuple):
    """One frame outside its hole, in few bytes, since a segment of them is kept."""

    rgbk: NDArray[np.uint8]  # (H, W, 4) uint8: RGB and, as fourth, 255 where the pixel is seen and 0 in the hole
    keypoints: Keypoints  # found clear of the hole

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, a copy."""
        return np.ascontiguousarray(self.rgbk[..., :3])

    @property
    def grey(self) -> NDArray[np.uint8]:
        """(H, W) uint8."""
        return np.asarray(cv2.cvtColor(self.rgbk, cv2.COLOR_RGBA2GRAY), np.uint8)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(H, W) bool."""
        return np.asarray(self.rgbk[..., 3] > 0)


def look_at(rgb: NDArray[np.uint8], known: NDArray[np.bool_]) -> Seen:
    """Find a frame's keypoints and pack it.

    Args:
        rgb: (H, W, 3) uint8.
        known: (H, W) bool, True outside the hole.
    """
    rgbk = np.dstack((rgb, known.astype(np.uint8) * np.uint8(255)))
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    return Seen(rgbk, find_keypoints(grey, known))
