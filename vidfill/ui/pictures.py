"""Frames of a video as pictures for the page: decoded on request, the last ones kept."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Self

import cv2
import numpy as np

from vidfill.errors import InputError
from vidfill.track.timeline import WorkingPictures, working_picture
from vidfill.video.display import displayed, encode_picture
from vidfill.video.frame import Frame, Rgb, VideoInfo
from vidfill.video.index import SourceIndex, index_source
from vidfill.video.read import Reader

SHOWN_PIXELS = 1280 * 720
"""Pictures for the page have at most about this many pixels."""
N_KEPT = 24
N_AHEAD = 12
"""A frame at most this far ahead is reached by decoding on, which is cheaper than seeking."""
N_BACK = 6
"""Going back, decoding starts this many frames earlier, so that the next steps back are there already."""


class PagePicture(NamedTuple):
    """One frame.

    Attributes:
        jpeg: the picture for the page.
        working: the picture for selectors, see `vidfill.track.timeline.working_picture`.
    """

    jpeg: bytes
    working: Rgb


class Pictures:
    """Gives out any frame of a video; may be called from several threads, which take turns.

    Args:
        path: a video or a folder of images.
        timeline: of the same.
        fps: frame rate of a folder of images.
    """

    def __init__(self, path: Path, timeline: SourceIndex, *, fps: Fraction | None = None) -> None:
        self.timeline = timeline
        self._reader = Reader(path, fps=fps)
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, PagePicture] = OrderedDict()
        self._frames: Iterator[Frame] | None = None  # the decoding in progress
        self._next = 0

    @classmethod
    def read(cls, path: Path, *, fps: Fraction | None, progress: Callable[[int, int], None] | None) -> Self:
        """Decode the video once for its timeline; `progress` is called with (frames done, frames in all)."""
        with Reader(path, fps=fps) as reader:
            return cls(path, index_source(reader, progress=progress), fps=fps)

    def at(self, index: int) -> PagePicture:
        """A frame.

        Raises:
            InputError: there is no such frame, or it cannot be read.
        """
        with self._lock:
            if index not in self._kept:
                self._decode(index)
            self._kept.move_to_end(index)
            return self._kept[index]

    def near(self, index: int) -> dict[int, Rgb]:
        """The frames around one that selectors look at, see `vidfill.track.timeline.WorkingPictures`."""
        with self._lock:
            return WorkingPictures(self._reader, self.timeline).near(index)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._stop()
            self._kept.clear()

    def _decode(self, index: int) -> None:
        if not 0 <= index < len(self.timeline):
            raise InputError(f"frame {index}", expected=f"0 to {len(self.timeline) - 1}")
        keep_from = index
        if self._frames is None or not self._next <= index <= self._next + N_AHEAD:
            is_step_back = self._next - N_BACK <= index < self._next
            keep_from = max(0, index - N_BACK) if is_step_back else index
            self._stop()
            start_pts = self.timeline.pts[keep_from] if keep_from else None
            self._frames, self._next = self._reader.frames(start_pts=start_pts, start_index=keep_from), keep_from
        info = self._reader.info
        for frame in self._frames:
            self._next = frame.index + 1
            if frame.index >= keep_from:
                self._kept[frame.index] = PagePicture(
                    encode_picture(shown(frame, info), ".jpg"), working_picture(frame, info)
                )
                if len(self._kept) > N_KEPT:
                    self._kept.popitem(last=False)
            if frame.index == index:
                return
        self._stop()
        raise InputError(f"{info.path} ends before frame {index}", expected="the file as it was")

    def _stop(self) -> None:
        self._frames = None
        self._reader.close()


def shown(frame: Frame, info: VideoInfo) -> Rgb:
    """A frame as a player shows it, RGB, at most about `SHOWN_PIXELS` large and never enlarged."""
    picture = displayed(frame, info)
    height, width = picture.shape[:2]
    scale = min(1.0, math.sqrt(SHOWN_PIXELS / (height * width)))
    if scale == 1:
        return picture
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
