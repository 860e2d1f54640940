"""One frame outside its hole, as alignment needs it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.align.homography import Keypoints, find_keypoints
from vidfill.video.frame import Bool


class Seen(NamedTuple):
    """One frame outside its hole, in few bytes, since those of a whole segment are kept."""

    rgbk: NDArray[np.uint8]  # (H, W, 4): RGB and, as fourth channel, 255 where the pixel is known and 0 in the hole
    keypoints: Keypoints

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3), a copy."""
        return np.ascontiguousarray(self.rgbk[..., :3])

    @property
    def grey(self) -> NDArray[np.uint8]:
        """(H, W)."""
        return np.asarray(cv2.cvtColor(self.rgbk, cv2.COLOR_RGBA2GRAY), np.uint8)

    @property
    def known(self) -> Bool:
        """(H, W)."""
        return np.asarray(self.rgbk[..., 3] > 0)


def look_at(rgb: NDArray[np.uint8], known: Bool) -> Seen:
    """Pack a frame, (H, W, 3), that is known at (H, W), and find its keypoints."""
    rgbk = np.dstack((rgb, known.astype(np.uint8) * np.uint8(255)))
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    return Seen(rgbk, find_keypoints(grey, known))
