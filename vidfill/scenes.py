"""Hard cuts, found on thumbnails of the decoded stream while it goes by."""

from __future__ import annotations

from collections import deque
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.frame import Float, Frame, PixelFormat, Samples

THUMB_SIZE = (36, 64)
"""(height, width) of a thumbnail."""


def thumbnail(frame: Frame, pixel_format: PixelFormat) -> Float:
    """A frame at `THUMB_SIZE`, (36, 64, 3): luma and two colour channels, each on a scale of 0 to 255."""
    scale = 255 / ((1 << pixel_format.depth) - 1)
    planes = [_shrink(plane) * np.float32(scale) for plane in frame.planes[: pixel_format.n_color_planes]]
    if pixel_format.kind == "gray":
        return np.stack([planes[0], np.full_like(planes[0], 128), np.full_like(planes[0], 128)], axis=2)
    if pixel_format.kind == "rgb":
        green, blue, red = planes
        return np.stack([green, 128 + (blue - green) / 2, 128 + (red - green) / 2], axis=2)
    return np.stack(planes, axis=2)


def _shrink(plane: Samples) -> Float:
    height, width = THUMB_SIZE
    step = max(1, min(plane.shape[0] // (4 * height), plane.shape[1] // (4 * width)))
    sampled: NDArray[Any] = np.ascontiguousarray(plane[::step, ::step])
    return cv2.resize(sampled, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)


class CutDetector:
    """Finds hard cuts.  Feed it thumbnails in order, then ask for the cuts."""

    def __init__(self) -> None:
        self._last: Float | None = None
        self._scores: deque[float] = deque(maxlen=7)
        self._n = 0
        self._cuts: list[int] = []

    def push(self, thumb: Float) -> None:
        """Take the next frame's thumbnail."""
        if self._last is not None:
            score = float(np.abs(thumb - self._last).mean())
            if self._scores and score > 8 and score > 4 * max(self._scores):
                self._cuts.append(self._n)
            self._scores.append(score)
        self._last = thumb
        self._n += 1

    def finish(self) -> list[int]:
        """The positions of the first frames of all scenes but the first, ascending."""
        return self._cuts
