"""What tracking must know of a source before it starts: when each frame is shown, and where the cuts are."""

from __future__ import annotations

import bisect
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import cv2
import numpy as np

from vidfill.errors import InputError, MaskError
from vidfill.masks.boxes import Moment, TimeRange
from vidfill.masks.prompt import spelled
from vidfill.track.base import Picture
from vidfill.video.color import rgb_crop
from vidfill.video.cuts import CutDetector, thumbnail
from vidfill.video.frame import Box, Frame, VideoInfo
from vidfill.video.read import Reader

WORKING_PIXELS = 512 * 288
"""Tracking works on pictures of at most about this many pixels."""
NEAR_FRAMES = (-4, -2, 2, 4)
"""Frames that show a selector how things move, relative to the one with the prompt."""


class Timeline:
    """The frames of a source and its scenes, without the pictures.

    Args:
        info: the source.
        pts: of each frame, in ticks.
        cuts: first frames of all scenes but the first, ascending.
    """

    def __init__(self, info: VideoInfo, pts: Sequence[int], cuts: Sequence[int]) -> None:
        self.info = info
        self.pts = pts
        self._cuts = tuple(cuts)
        self._slack_s = 1 / (2 * info.rate) if info.rate else Fraction(0)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.pts)

    @property
    def scenes(self) -> tuple[range, ...]:
        """The frames of each scene."""
        edges = [0, *self._cuts, len(self)]
        return tuple(range(start, stop) for start, stop in zip(edges, edges[1:], strict=False))

    def scene_of(self, index: int) -> range:
        """The frames of the scene that a frame belongs to."""
        return self.scenes[bisect.bisect_right(self._cuts, index)]

    def time_s(self, index: int) -> Fraction:
        """When a frame is shown, in seconds after the first."""
        return (self.pts[index] - self.pts[0]) * self.info.time_base

    def frame_of(self, at: Moment) -> int:
        """The frame that is shown at a moment.

        Raises:
            MaskError: the moment is after the last frame.
        """
        for index in range(len(self)):
            if at.is_reached(index, self.time_s(index), slack_s=self._slack_s):
                return index
        last = len(self) - 1
        raise MaskError(
            f"a prompt at {spelled(at)}",
            expected=f"one up to the last frame, #{last} at {float(self.time_s(last)):.2f} s",
            todo="give it an earlier time",
        )

    def span(self, when: TimeRange) -> range:
        """The frames of a time range."""
        inside = [i for i in range(len(self)) if when.holds(i, self.time_s(i), slack_s=self._slack_s)]
        return range(inside[0], inside[-1] + 1) if inside else range(0)


def survey(reader: Reader, *, progress: Callable[[int, int], None] | None = None) -> Timeline:
    """Decode a source once for its times and cuts.

    Raises:
        InputError: it has no frames.
    """
    info, detector, pts = reader.info, CutDetector(), array("q")
    for frame in reader.frames():
        detector.push(thumbnail(frame, info.pixel_format))
        pts.append(frame.pts)
        if progress is not None:
            progress(len(pts), info.n_frames)
    if not pts:
        raise InputError(f"no frames in {info.path}", expected="at least one")
    return Timeline(info, pts, detector.finish())


def working_size(info: VideoInfo) -> tuple[int, int]:
    """(height, width) of the pictures that tracking works on, turned as a player shows them; never enlarged."""
    height, width = info.display_size
    scale = min(1.0, math.sqrt(WORKING_PIXELS / (height * width)))
    return max(1, round(height * scale)), max(1, round(width * scale))


def working_picture(frame: Frame, info: VideoInfo) -> Picture:
    """A frame as trackers and selectors see it: RGB, `working_size`, turned as a player shows it."""
    rgb = rgb_crop(frame, info, Box(0, 0, info.width, info.height))
    height, width = working_size(info)
    if info.orientation.quarter_turns % 2:
        height, width = width, height
    if (height, width) != rgb.shape[:2]:
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    shown = info.orientation.to_display(np.rint(rgb * 255).astype(np.uint8))
    return shown.astype(np.uint8, copy=False)


def pictures_forward(reader: Reader, timeline: Timeline, frames: range) -> Iterator[tuple[int, Picture]]:
    """The working pictures of a run of frames, in order."""
    if not frames:
        return
    for frame in reader.frames(start_pts=timeline.pts[frames.start], start_index=frames.start):
        yield frame.index, working_picture(frame, reader.info)
        if frame.index + 1 >= frames.stop:
            return


def pictures_near(reader: Reader, timeline: Timeline, index: int) -> dict[int, Picture]:
    """The frames `NEAR_FRAMES` before and after one, as far as its scene goes, by their distance from it."""
    scene = timeline.scene_of(index)
    wanted = [index + offset for offset in NEAR_FRAMES if index + offset in scene]
    if not wanted:
        return {}
    frames = range(wanted[0], wanted[-1] + 1)
    return {i - index: picture for i, picture in pictures_forward(reader, timeline, frames) if i in wanted}


def pictures_around(
    reader: Reader, timeline: Timeline, frames: range, offsets: Sequence[int]
) -> Iterator[tuple[int, dict[int, Picture]]]:
    """The working pictures of a run of frames of one scene, each (at 0) with those at some offsets from it.

    Holds as many as lie between the first offset and the last.
    """
    scene = timeline.scene_of(frames.start)
    first = max(scene.start, frames.start + min(0, *offsets))
    last = min(scene.stop, frames.stop + max(0, *offsets))
    held: dict[int, Picture] = {}
    coming = pictures_forward(reader, timeline, range(first, last))
    for index in frames:
        while (index + max(0, *offsets)) not in held and (item := next(coming, None)) is not None:
            held[item[0]] = item[1]
        for old in [i for i in held if i < index + min(0, *offsets)]:
            del held[old]
        yield index, {offset: held[index + offset] for offset in (0, *offsets) if index + offset in held}


def pictures_backward(
    reader: Reader, timeline: Timeline, frames: range, *, n_held: int = 32
) -> Iterator[tuple[int, Picture]]:
    """The working pictures of a run of frames, the last one first; decodes and holds `n_held` of them at a time."""
    for stop in range(frames.stop, frames.start, -n_held):
        part = list(pictures_forward(reader, timeline, range(max(frames.start, stop - n_held), stop)))
        while part:
            yield part.pop()
