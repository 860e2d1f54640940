"""One pass over a video's packets: survives damaged ones, and gives out pictures in strictly rising time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidfill.errors import InputError
from vidfill.frame import VideoInfo
from vidfill.video.formats import planar_name
from vidfill.video.source import MEDIA_ERRORS, open_video

_JUMP_S = 1  # timestamps that go back further than this start a new count (joined transport streams)


@dataclass(slots=True)
class Damage:
    """What was wrong with the file, counted while it is read.

    Attributes:
        n_bad_packets: packets of the picture that could not be decoded, or only with errors.
        n_held: frames that repeat a good one in the place of a damaged one.
        is_truncated: whether the file ends before its own index or header says.
    """

    n_bad_packets: int = 0
    n_held: int = 0
    is_truncated: bool = False

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.n_bad_packets or self.n_held or self.is_truncated)


class Picture(NamedTuple):
    """A decoded frame and its place in time; `held` marks the repeat of another."""

    pts: int
    frame: VideoFrame
    held: bool


class Suspicious(Exception):  # noqa: N818 - a signal between passes, not an error
    """Something is damaged: only a pass without frame threads can say exactly which packet."""


class NoSeek(Exception):  # noqa: N818 - a signal between passes, not an error
    """The file cannot be entered here."""


class Clock:
    """Makes timestamps rise strictly: derives missing ones, moves repeated ones, bridges jumps back."""

    def __init__(self, info: VideoInfo) -> None:
        self.is_as_stored = True
        self._step = max(1, round(1 / (info.rate * info.time_base)))
        self._jump = round(_JUMP_S / info.time_base)
        self._offset = 0
        self._last: int | None = None

    def place(self, stored: int | None) -> int:
        """The time of the next picture, in ticks, given what the file says."""
        pts = self._next() if stored is None else stored + self._offset
        if stored is None:
            self.is_as_stored = False
        elif self._last is not None and pts <= self._last:
            self.is_as_stored = False
            if self._last - pts > self._jump:
                self._offset += self._next() - pts
                pts = self._next()
            else:
                pts = self._last + 1
        self._last = pts
        return pts

    def _next(self) -> int:
        return 0 if self._last is None else self._last + self._step


class Decoding:
    """A pass over the file from its start or from a keyframe.

    FFmpeg's frame threads report an error late, and PyAV drops those that come after a good frame. So a pass with
    frame threads stops at the first sign of damage (`Suspicious`), and the caller starts one without them, which knows
    the packet. It also decodes damaged pictures the same way every time.

    Args:
        info: of the file.
        threads: for the decoder, 0 for as many as it likes.
        is_careful: decode without frame threads and count what is damaged.
        seek_pts: begin at a keyframe at or before this time; None for the start.
        start_pts: with `seek_pts`, the time that is wanted; the keyframe must not be after it.
    """

    def __init__(
        self,
        info: VideoInfo,
        *,
        threads: int,
        is_careful: bool,
        seek_pts: int | None = None,
        start_pts: int | None = None,
    ) -> None:
        self.damage = Damage()
        self.clock = Clock(info)
        self._info = info
        self._is_careful = is_careful
        self._seek_pts, self._start_pts = seek_pts, start_pts
        self._container, self._stream = open_video(info.path)
        self._stream.thread_type = "SLICE" if is_careful else "AUTO"
        self._stream.codec_context.thread_count = threads
        self._n_stated = _n_stated_packets(self._container, self._stream)
        self._n_packets = 0
        self._keyframe_pts: int | None = None
        self._missing: set[int] = set()  # with frame threads: sent and not yet seen; else: known to be damaged
        self._n_untimed = 0  # damaged packets without a timestamp
        self._last: VideoFrame | None = None
        self._end_s = Fraction(0)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def pictures(self) -> Iterator[Picture]:
        """All pictures, in the order of time.

        Raises:
            Suspicious: damage was found in a pass with frame threads.
            NoSeek: no keyframe was found where it was asked for.
            InputError: size or pixel format change on the way, or nothing can be decoded.
        """
        if self._seek_pts is not None:
            self._seek(self._seek_pts)
        for packet in self._packets():
            for frame in self._decode(packet):
                yield from self._in_order(frame)
        if self._last is None:
            raise InputError(f"no frame of {self._info.path} can be decoded", expected="a video that is not damaged")
        yield from self._held_until(None, self._last)
        if self._seek_pts is None:
            self._compare_with_stated()

    def _seek(self, pts: int) -> None:
        try:
            self._container.seek(pts, stream=self._stream)
        except MEDIA_ERRORS as error:
            raise NoSeek from error

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        """The packets of the picture, then None for the end."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size == 0:  # PyAV's mark of the end, or a frame that was dropped when the file was made
                    continue
                if self._seek_pts is not None and self._n_packets == 0:
                    self._check_entry(packet)
                self._n_packets += 1
                end = (packet.pts or 0) + (packet.duration or 0)
                self._end_s = max(self._end_s, end * self._info.time_base)
                yield packet
        except MEDIA_ERRORS:  # the file ends in the middle of something
            self.damage.is_truncated = True
        yield None

    def _check_entry(self, packet: Packet[VideoStream]) -> None:
        wanted = self._start_pts
        if not packet.is_keyframe or packet.pts is None or wanted is None or packet.pts > wanted:
            raise NoSeek
        self._keyframe_pts = packet.pts

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        try:
            frames = self._stream.decode(packet)
        except MEDIA_ERRORS as error:
            if isinstance(error, EOFError):
                return []
            if not self._is_careful:
                raise Suspicious from error
            self._note_bad(packet)
            return []
        if not self._is_careful:
            if any(frame.is_corrupt for frame in frames):
                raise Suspicious
            if packet is not None and packet.pts is not None and not packet.is_discard:
                self._missing.add(packet.pts)
        return frames

    def _note_bad(self, packet: Packet[VideoStream] | None) -> None:
        """Remember where a frame is missing."""
        entry = self._keyframe_pts
        if packet is not None and packet.pts is not None and entry is not None and packet.pts < entry:
            return  # it needs what lies before the keyframe of entry: no damage
        self.damage.n_bad_packets += 1
        if packet is None or packet.is_discard:
            return
        if packet.pts is None:
            self._n_untimed += 1
        else:
            self._missing.add(packet.pts)

    def _in_order(self, frame: VideoFrame) -> Iterator[Picture]:
        """A decoded frame, after the repeats for the damaged ones that belong before it."""
        self._check_same(frame)
        # Without timestamps in the packets the decoding time of the frame's packet is as good: both rise with it.
        stored = frame.pts if frame.pts is not None else frame.dts
        if stored is not None and stored in self._missing:
            self._missing.remove(stored)
        if self._is_careful and frame.is_corrupt:
            self.damage.n_bad_packets += 1
        yield from self._held_until(stored, self._last or frame)
        self._last = frame
        yield Picture(self.clock.place(stored), frame, held=False)

    def _held_until(self, stored: int | None, frame: VideoFrame) -> Iterator[Picture]:
        """Repeats of `frame` in the place of damaged ones before `stored` (None: all that are left)."""
        before = sorted(pts for pts in self._missing if stored is None or pts < stored)
        self._missing.difference_update(before)
        if not self._is_careful:
            # Before the first picture a gap is usual: frames that need what was cut off before them.
            if before and self._last is not None and stored is not None:
                raise Suspicious
            return
        untimed: list[int | None] = [None] * self._n_untimed
        self._n_untimed = 0
        for pts in untimed + before:
            self.damage.n_held += 1
            yield Picture(self.clock.place(pts), frame, held=True)

    def _check_same(self, frame: VideoFrame) -> None:
        info = self._info
        found = (frame.height, frame.width, planar_name(frame.format.name))
        if found != (info.height, info.width, info.pixel_format.name):
            at_s = float((frame.pts or 0) * info.time_base)
            size = f"{frame.width}x{frame.height}"
            raise InputError(
                f"the picture of {info.path} changes to {size} {frame.format.name} at {at_s:.2f} s",
                expected=f"{info.width}x{info.height} {info.pixel_format.name} throughout",
                todo="cut the file there, or scale it to one size first",
            )

    def _compare_with_stated(self) -> None:
        """Whether the file ended before its index, or its header, says."""
        if self._n_stated:
            self.damage.is_truncated |= self._n_packets < self._n_stated
            return
        stated_s = _stated_duration_s(self._container, self._stream)
        if stated_s is not None:
            tolerance_s = max(Fraction(1, 2), 4 / self._info.rate)
            self.damage.is_truncated |= self._end_s < stated_s - tolerance_s


def _n_stated_packets(container: InputContainer, stream: VideoStream) -> int:
    """How many packets the index promises; 0 where the file does not say.

    The index of mp4 and mov has edit lists applied, `stream.frames` has not.
    """
    return len(stream.index_entries) if "mov" in container.format.name else stream.frames


def _stated_duration_s(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """When the picture ends, as Matroska's tag or the header of a file with nothing else in it says."""
    tag = stream.metadata.get("DURATION", "")
    hours, _, rest = tag.partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return (int(hours) * 60 + int(minutes)) * 60 + Fraction(seconds)
    except ValueError:
        pass
    if len(container.streams) == 1 and "matroska" in container.format.name and container.duration:
        return Fraction(container.duration, 1_000_000)
    return None
