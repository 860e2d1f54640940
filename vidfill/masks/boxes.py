"""Times, time ranges and boxes in the notation of the command line: `x,y,w,h[@start-end]`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from vidfill.errors import MaskError, UsageError
from vidfill.video.frame import Bool, Frame, VideoInfo

_SECONDS = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?|\.\d+)", re.ASCII)
_FRAMES = re.compile(r"#(\d+)", re.ASCII)
_BOX = re.compile(r"(-?\d+),(-?\d+),(\d+),(\d+)(?:@(.*))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time: a frame's position in the source, or seconds after its first frame; just one is set."""

    frame: int | None = None
    seconds: Fraction | None = None

    @classmethod
    def parse(cls, text: str) -> Moment:
        """Read `12.5`, `1:30`, `0:01:02.5` (seconds, minutes and hours) or `#120` (a frame, counted from 0).

        Raises:
            UsageError: for anything else.
        """
        text = text.strip()
        if number := _FRAMES.fullmatch(text):
            return cls(frame=int(number[1]))
        clock = _SECONDS.fullmatch(text)
        if clock is None:
            raise UsageError(
                f"the time {text!r}",
                expected="seconds (12.5), h:m:s (0:01:02.5) or a frame counted from 0 (#120)",
                todo="write it in one of these forms",
            )
        hours, minutes, seconds = clock[1] or 0, clock[2] or 0, Fraction(clock[3])
        if clock[2] and seconds >= 60:
            raise UsageError(f"the time {text!r}", expected="less than 60 seconds after the last colon")
        return cls(seconds=3600 * int(hours) + 60 * int(minutes) + seconds)

    def __str__(self) -> str:
        return f"#{self.frame}" if self.seconds is None else f"{float(self.seconds):.9f}".rstrip("0").rstrip(".")

    def is_reached(self, index: int, time_s: Fraction, *, slack_s: Fraction) -> bool:
        """Whether the frame at `index`, shown `time_s` after the first, is at or after this moment.

        Seconds have a tolerance of `slack_s` (half a frame), so that a time rounded by hand or by the container still
        means the frame that it was read from.
        """
        if self.seconds is None:
            return self.frame is None or index >= self.frame
        return time_s >= self.seconds - slack_s

    def is_after(self, other: Moment) -> bool:
        """Whether this is `other` or later; False where one is a frame and the other a time."""
        if self.seconds is not None and other.seconds is not None:
            return self.seconds >= other.seconds
        return self.frame is not None and other.frame is not None and self.frame >= other.frame


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From `start` on, up to but without `end`; None for an open end."""

    start: Moment | None = None
    end: Moment | None = None

    @classmethod
    def parse(cls, start: str | None, end: str | None) -> TimeRange:
        """Read both ends; None or an empty text leaves an end open.

        Raises:
            UsageError: for a time that cannot be read, or an end that is not after the start.
        """
        first = Moment.parse(start) if start else None
        last = Moment.parse(end) if end else None
        if first is not None and last is not None and first.is_after(last):
            raise UsageError(f"the time range {start}-{end}", expected="an end after its start")
        return cls(first, last)

    @property
    def uses_seconds(self) -> bool:
        """Whether an end is given in seconds, which needs the first frame's time."""
        return any(moment is not None and moment.seconds is not None for moment in (self.start, self.end))

    def holds(self, index: int, time_s: Fraction, *, slack_s: Fraction) -> bool:
        """Whether a frame lies in the range; see `Moment.is_reached`."""
        started = self.start is None or self.start.is_reached(index, time_s, slack_s=slack_s)
        ended = self.end is not None and self.end.is_reached(index, time_s, slack_s=slack_s)
        return started and not ended


@dataclass(frozen=True, slots=True)
class TimedBox:
    """A rectangle that is a hole during a time range; in pixels of the displayed picture, which it may exceed."""

    x: int
    y: int
    width: int
    height: int
    when: TimeRange

    @classmethod
    def parse(cls, text: str) -> TimedBox:
        """Read `x,y,w,h`, `x,y,w,h@start-end`, `...@start-` or `...@-end`.

        Raises:
            UsageError: for anything else, or a box without width or height.
        """
        parts = _BOX.fullmatch(text.replace(" ", ""))
        if parts is None or (parts[5] is not None and parts[5].count("-") != 1):
            raise UsageError(
                f"the box {text!r}",
                expected="x,y,w,h in pixels, or x,y,w,h@start-end",
                todo="write it like 20,40,120,60 or 20,40,120,60@1.5-4",
            )
        x, y, width, height = (int(number) for number in parts.group(1, 2, 3, 4))
        if width == 0 or height == 0:
            raise UsageError(f"the box {text!r}", expected="a width and a height of at least 1")
        start, _, end = (parts[5] or "-").partition("-")
        return cls(x, y, width, height, TimeRange.parse(start, end))


class Boxes:
    """The union of the boxes that apply to a frame of a source, drawn once for each combination of them.

    Raises:
        MaskError: for a box that lies outside the picture.
    """

    def __init__(self, boxes: Sequence[TimedBox], info: VideoInfo) -> None:
        height, width = info.display_size
        for box in boxes:
            if box.x >= width or box.y >= height or box.x + box.width <= 0 or box.y + box.height <= 0:
                raise MaskError(
                    f"the box {box.x},{box.y},{box.width},{box.height} outside the picture",
                    expected=f"x,y,w,h within {width}x{height}, as a player shows it",
                )
        self._boxes = tuple(boxes)
        self._info = info
        self._drawn: dict[tuple[TimedBox, ...], Bool] = {}

    def at(self, frame: Frame, time_s: Fraction, *, slack_s: Fraction) -> Bool | None:
        """The mask of one frame, (H, W) as coded and read-only, the same array for the same boxes; None for no box."""
        active = tuple(box for box in self._boxes if box.when.holds(frame.index, time_s, slack_s=slack_s))
        if not active:
            return None
        if active not in self._drawn:
            shown = np.zeros(self._info.display_size, np.bool_)
            for box in active:
                shown[max(0, box.y) : box.y + box.height, max(0, box.x) : box.x + box.width] = True
            coded = self._info.orientation.to_coded(shown).astype(np.bool_, copy=False)
            coded.setflags(write=False)
            self._drawn = {active: coded}
        return self._drawn[active]
