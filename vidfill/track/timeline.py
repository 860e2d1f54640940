"""What tracking sees of a source: frames by time, and pictures at its working size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import BinaryIO

import cv2
import numpy as np

from vidfill.errors import MaskError
from vidfill.masks.boxes import Moment, TimeRange
from vidfill.video.color import rgb_crop
from vidfill.video.frame import Box, Frame, Rgb, VideoInfo
from vidfill.video.index import SourceIndex, index_source
from vidfill.video.read import Reader

WORKING_PIXELS = 512 * 288
"""Tracking works on pictures of at most about this many pixels."""
NEAR_FRAMES = (-4, -2, 2, 4)
"""Frames that show a selector how things move, relative to the one with the prompt."""
MAX_STORED_BYTES = 2**30
"""Of pictures on disk while a source is tracked: at least 2,400 of them. Later ones are decoded again."""


def frame_of(index: SourceIndex, at: Moment) -> int:
    """The frame that is shown at a moment.

    Raises:
        MaskError: the moment is after the last frame.
    """
    slack_s = _slack_s(index.info)
    for i in range(len(index)):
        if at.is_reached(i, index.time_s(i), slack_s=slack_s):
            return i
    last = len(index) - 1
    raise MaskError(
        f"a prompt at {at}",
        expected=f"one up to the last frame, #{last} at {float(index.time_s(last)):.2f} s",
        todo="give it an earlier time",
    )


def frames_within(index: SourceIndex, when: TimeRange) -> range:
    """The frames of a time range."""
    slack_s = _slack_s(index.info)
    inside = [i for i in range(len(index)) if when.holds(i, index.time_s(i), slack_s=slack_s)]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def _slack_s(info: VideoInfo) -> Fraction:
    return 1 / (2 * info.rate) if info.rate else Fraction(0)


def working_size(info: VideoInfo) -> tuple[int, int]:
    """(height, width) of the pictures that tracking works on, turned as a player shows them; never enlarged."""
    height, width = info.display_size
    scale = min(1.0, math.sqrt(WORKING_PIXELS / (height * width)))
    return max(1, round(height * scale)), max(1, round(width * scale))


def working_picture(frame: Frame, info: VideoInfo) -> Rgb:
    """A frame as trackers and selectors see it: RGB, `working_size`, turned as a player shows it."""
    rgb = rgb_crop(frame, info, Box(0, 0, info.width, info.height))
    height, width = working_size(info)
    if info.orientation.quarter_turns % 2:
        height, width = width, height
    if (height, width) != rgb.shape[:2]:
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    shown = info.orientation.to_display(np.rint(rgb * 255).astype(np.uint8))
    return shown.astype(np.uint8, copy=False)


class StoredPictures:
    """Working pictures of one run of frames in a file: from the first that is prompted or tracked to the last.

    Args:
        file: for the pictures.
        info: the source.
        prompted: when there are prompts.
        when: the frames that are tracked.
        max_bytes: pictures that do not fit are left out.
    """

    def __init__(
        self,
        file: BinaryIO,
        info: VideoInfo,
        prompted: Sequence[Moment],
        when: TimeRange,
        *,
        max_bytes: int = MAX_STORED_BYTES,
    ) -> None:
        self._file, self._info, self._prompted, self._when = file, info, prompted, when
        height, width = working_size(info)
        self._shape = height, width, 3
        self._max_frames = max_bytes // math.prod(self._shape)
        self._first_s: Fraction | None = None
        self._n_reached = 0
        self.frames = range(0)

    def add(self, frame: Frame) -> None:
        """Store a frame if tracking will look at it; to be called with all frames of the source in order."""
        if self._first_s is None:
            self._first_s = frame.time_s
        at = frame.index, frame.time_s - self._first_s
        slack_s = _slack_s(self._info)
        n_before = self._n_reached
        self._n_reached = sum(moment.is_reached(*at, slack_s=slack_s) for moment in self._prompted)
        if not self.frames:
            if not self._n_reached and not self._when.holds(*at, slack_s=slack_s):
                return
            self.frames = range(frame.index, frame.index)
        end = self._when.end
        is_over = n_before == len(self._prompted) and end is not None and end.is_reached(*at, slack_s=slack_s)
        if not is_over and frame.index == self.frames.stop and len(self.frames) < self._max_frames:
            self._file.write(working_picture(frame, self._info).data)
            self.frames = range(self.frames.start, frame.index + 1)

    def read(self, index: int) -> Rgb:
        """The picture of one of `frames`."""
        picture = np.empty(self._shape, np.uint8)
        self._file.seek((index - self.frames.start) * picture.nbytes)
        self._file.readinto(picture.data)  # type: ignore[attr-defined]
        return picture


class WorkingPictures:
    """The pictures of a source at the size that tracking works at; those that are not stored are decoded."""

    def __init__(self, reader: Reader, index: SourceIndex, stored: StoredPictures | None = None) -> None:
        self.index = index
        self._reader, self._stored = reader, stored

    def forward(self, frames: range) -> Iterator[tuple[int, Rgb]]:
        """The pictures of a run of frames, in order."""
        stored = range(0) if self._stored is None else self._stored.frames
        position = frames.start
        while position < frames.stop:
            if self._stored is not None and position in stored:
                yield position, self._stored.read(position)
                position += 1
                continue
            for frame in self._reader.frames(start_pts=self.index.pts[position], start_index=position):
                yield frame.index, working_picture(frame, self._reader.info)
                position = frame.index + 1
                if position >= frames.stop or position in stored:
                    break
            else:
                return

    def backward(self, frames: range, *, n_held: int = 32) -> Iterator[tuple[int, Rgb]]:
        """The pictures of a run of frames, the last one first; holds `n_held` of them at a time."""
        for stop in range(frames.stop, frames.start, -n_held):
            part = list(self.forward(range(max(frames.start, stop - n_held), stop)))
            while part:
                yield part.pop()

    def near(self, index: int) -> dict[int, Rgb]:
        """The frames `NEAR_FRAMES` before and after one, as far as its scene goes, by their distance from it."""
        scene = self.index.scene_of(index)
        wanted = [index + offset for offset in NEAR_FRAMES if index + offset in scene]
        if not wanted:
            return {}
        frames = range(wanted[0], wanted[-1] + 1)
        return {i - index: picture for i, picture in self.forward(frames) if i in wanted}

    def around(self, frames: range, offsets: Sequence[int]) -> Iterator[tuple[int, dict[int, Rgb]]]:
        """The pictures of a run of frames of one scene, each (at 0) with those at some offsets from it.

        Holds as many as lie between the first offset and the last.
        """
        scene = self.index.scene_of(frames.start)
        first = max(scene.start, frames.start + min(0, *offsets))
        last = min(scene.stop, frames.stop + max(0, *offsets))
        held: dict[int, Rgb] = {}
        coming = self.forward(range(first, last))
        for index in frames:
            while (index + max(0, *offsets)) not in held and (item := next(coming, None)) is not None:
                held[item[0]] = item[1]
            for old in [i for i in held if i < index + min(0, *offsets)]:
                del held[old]
            yield index, {offset: held[index + offset] for offset in (0, *offsets) if index + offset in held}


def index_with_pictures(
    reader: Reader,
    file: BinaryIO,
    prompted: Sequence[Moment],
    when: TimeRange,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> WorkingPictures:
    """Index a source, and store in a file what tracking will look at; see `StoredPictures` and `index_source`."""
    stored = StoredPictures(file, reader.info, prompted, when)
    return WorkingPictures(reader, index_source(reader, each=stored.add, progress=progress), stored)
