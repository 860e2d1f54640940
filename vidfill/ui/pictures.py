"""Frames of a video as pictures for a page: decoded when they are asked for, a few of the last ones kept."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from vidfill.errors import InputError
from vidfill.track.base import Picture
from vidfill.track.timeline import Timeline, pictures_near, working_picture
from vidfill.video.color import rgb_crop
from vidfill.video.frame import Box, Frame, VideoInfo
from vidfill.video.read import Reader

SHOWN_PIXELS = 1280 * 720
"""Pictures for the page have at most about this many pixels."""
N_KEPT = 24
N_AHEAD = 12
"""A frame this little ahead is reached by decoding on; seeking would cost more."""
N_BACK = 6
"""Going back, decoding starts this much earlier, so that the next steps back are there already."""
_JPEG_QUALITY = 85


class Shown(NamedTuple):
    """One frame.

    Attributes:
        jpeg: the picture for the page.
        working: the picture for selectors, see `vidfill.track.timeline.working_picture`.
    """

    jpeg: bytes
    working: Picture


class Pictures:
    """Gives out any frame of a video; safe to be called from several threads, which take turns.

    Args:
        path: a video or a folder of images.
        timeline: of that.
        fps: frame rate of a folder of images.
    """

    def __init__(self, path: Path, timeline: Timeline, *, fps: Fraction | None = None) -> None:
        self._reader = Reader(path, fps=fps)
        self._timeline = timeline
        self._turn = threading.Lock()
        self._kept: OrderedDict[int, Shown] = OrderedDict()
        self._going: Iterator[Frame] | None = None
        self._next = 0

    def at(self, index: int) -> Shown:
        """A frame.

        Raises:
            InputError: there is no such frame, or it cannot be read.
        """
        with self._turn:
            if index not in self._kept:
                self._decode(index)
            self._kept.move_to_end(index)
            return self._kept[index]

    def near(self, index: int) -> dict[int, Picture]:
        """The frames around one that selectors look at, see `vidfill.track.timeline.pictures_near`."""
        with self._turn:
            return pictures_near(self._reader, self._timeline, index)

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._stop()
            self._kept.clear()

    def _decode(self, index: int) -> None:
        if not 0 <= index < len(self._timeline):
            raise InputError(f"frame {index}", expected=f"0 to {len(self._timeline) - 1}")
        keep_from = index
        if self._going is None or not self._next <= index <= self._next + N_AHEAD:
            is_step_back = self._next - N_BACK <= index < self._next
            keep_from = max(0, index - N_BACK) if is_step_back else index
            self._start(keep_from)
        assert self._going is not None
        for frame in self._going:
            self._next = frame.index + 1
            if frame.index >= keep_from:
                self._keep(frame)
            if frame.index == index:
                return
        self._stop()
        raise InputError(f"{self._reader.info.path} ends before frame {index}", expected="the file as it was")

    def _start(self, index: int) -> None:
        self._stop()
        start_pts = self._timeline.pts[index] if index else None
        self._going = self._reader.frames(start_pts=start_pts, start_index=index)
        self._next = index

    def _stop(self) -> None:
        self._going = None
        self._reader.close()

    def _keep(self, frame: Frame) -> None:
        info = self._reader.info
        self._kept[frame.index] = Shown(encode_jpeg(shown(frame, info)), working_picture(frame, info))
        while len(self._kept) > N_KEPT:
            self._kept.popitem(last=False)


def shown(frame: Frame, info: VideoInfo) -> Picture:
    """A frame as a player shows it, RGB, of at most about `SHOWN_PIXELS` and never enlarged."""
    rgb = rgb_crop(frame, info, Box(0, 0, info.width, info.height))
    picture = info.orientation.to_display(np.rint(rgb * 255).astype(np.uint8)).astype(np.uint8, copy=False)
    height, width = picture.shape[:2]
    scale = min(1.0, math.sqrt(SHOWN_PIXELS / (height * width)))
    if scale == 1:
        return picture
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def encode_jpeg(picture: Picture) -> bytes:
    """An RGB picture as a JPEG file."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return data.tobytes()
