"""One pass over a video's packets: survives damaged ones, and yields pictures in strictly rising time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from operator import itemgetter
from typing import NamedTuple

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from vidfill.errors import InputError
from vidfill.video.formats import planar_name
from vidfill.video.frame import VideoInfo
from vidfill.video.source import MEDIA_ERRORS, OpenVideo, has_stored_times, stored_time

# Codecs in which some packets show no frame (alternate references, "not coded" pictures). In others a packet that
# shows none was damaged, even if the decoder reports nothing.
_MAY_HIDE = frozenset({"vp8", "mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "vc1", "wmv3", "gif"})
_INTRA = (PictureType.I, PictureType.NONE)  # intra-only codecs may leave it unset
_JUMP_S = 1  # a step back of more than this is a restarted clock (joined transport streams)


@dataclass(slots=True)
class Damage:
    """What was wrong with the file, counted while it is read."""

    n_bad_packets: int = 0  # packets of the picture that could not be decoded, or only with errors
    n_held: int = 0  # frames that repeat a good one in the place of a damaged one
    is_truncated: bool = False  # whether the file ends before its own index or header says

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.n_bad_packets or self.n_held or self.is_truncated)


class DecodedFrame(NamedTuple):
    """A decoded frame and its presentation time; `held` marks a repeat."""

    pts: int
    frame: VideoFrame
    held: bool


class Suspicious(Exception):  # noqa: N818 - a signal between passes, not an error
    """Something is damaged: a pass without frame threads is needed to know which packet."""


class NoSeek(Exception):  # noqa: N818 - a signal between passes, not an error
    """The file cannot be entered here."""


class RisingTimes:
    """Makes timestamps rise strictly: derives missing ones, moves repeated ones, bridges jumps back."""

    def __init__(self, info: VideoInfo) -> None:
        self.is_as_stored = True  # whether all times so far are those of the file
        self._step = max(1, round(1 / (info.rate * info.time_base)))
        self._jump = round(_JUMP_S / info.time_base)
        self._offset = 0
        self._last: int | None = None

    def place(self, stored: int | None) -> int:
        """The time of the next picture, in ticks, given the stored one."""
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

    FFmpeg's frame threads report an error late, and PyAV drops errors that come after a good frame. So a pass with
    frame threads stops at the first sign of damage (`Suspicious`), and the caller starts one without them, which knows
    the packet and conceals damage the same way every time. Damage that a decoder conceals silently is not noticed, and
    the result may depend on the number of threads.

    Args:
        info: the file.
        opened: the file, from its start; closed with the pass.
        is_careful: count what is damaged; `opened` must be careful as well.
        seek_pts: begin at a keyframe at or before this time; None for the start.
        start_pts: with `seek_pts`, the time that is wanted; the keyframe must not be after it.
    """

    def __init__(
        self,
        info: VideoInfo,
        opened: OpenVideo,
        *,
        is_careful: bool,
        seek_pts: int | None = None,
        start_pts: int | None = None,
    ) -> None:
        self.damage = Damage()
        self.times = RisingTimes(info)
        self._info = info
        self._is_careful = is_careful
        self._seek_pts, self._start_pts = seek_pts, start_pts
        self._opened = opened
        self._n_packets = 0
        self._entry_pts: int | None = None  # of the keyframe, until it is decoded
        self._leading_pts: int | None = None  # frames before this time depend on frames before the entry
        self._tracks = has_stored_times(info)  # whether packets and frames can be matched by their times
        self._waiting: set[int] = set()  # times of packets whose frames have not come yet
        self._bad: set[int] = set()  # those of them that the decoder refused
        self._n_untimed = 0  # refused packets of unknown time
        self._early: list[VideoFrame] = []
        self._hides = False  # whether some packets showed no frame before there was any damage
        self._last_dts: int | None = None
        self._last_pts: int | None = None  # as stored
        self._last: VideoFrame | None = None
        self._end_s = Fraction(0)

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def pictures(self) -> Iterator[DecodedFrame]:
        """All pictures, in the order of time.

        Raises:
            Suspicious: damage was found in a pass with frame threads.
            NoSeek: the file cannot be entered where it was asked for.
            InputError: size or pixel format change on the way, or nothing can be decoded.
        """
        if self._seek_pts is not None:
            self._seek(self._seek_pts)
        for packet in self._packets():
            self._early += [frame for frame in self._decode(packet) if not self._is_before_entry(frame)]
            for frame in self._due(packet):
                yield from self._in_order(frame)
        if not self._is_careful and (self._waiting or self._last is None):
            raise Suspicious
        if self._last is None:
            raise InputError(f"no frame of {self._info.path} can be decoded", expected="a video that is not damaged")
        yield from self._held_until(None, self._last)
        if self._seek_pts is None:
            self._compare_with_stated()

    def _seek(self, pts: int) -> None:
        try:
            self._opened.container.seek(pts, stream=self._opened.stream)
        except MEDIA_ERRORS as error:
            raise NoSeek from error

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        """The packets of the picture, then None for the end."""
        try:
            for packet in self._opened.packets():
                if self._seek_pts is not None and self._n_packets == 0:
                    self._check_entry(packet)
                self._n_packets += 1
                time = packet.pts if packet.pts is not None else packet.dts
                end = (time or 0) + (packet.duration or 0)
                self._end_s = max(self._end_s, end * self._info.time_base)
                yield packet
        except MEDIA_ERRORS:  # the file ends in the middle of something
            self.damage.is_truncated = True
        yield None

    def _check_entry(self, packet: Packet[VideoStream]) -> None:
        wanted = self._start_pts
        if not packet.is_keyframe or packet.pts is None or wanted is None or packet.pts > wanted:
            raise NoSeek
        self._entry_pts = self._leading_pts = packet.pts

    def _is_before_entry(self, frame: VideoFrame) -> bool:
        """Whether a frame after a seek is a leading one, which depends on frames before the entry.

        The entry must be an intra frame: streams with gradual refresh mark others as keyframes.
        """
        if self._leading_pts is None:
            return False
        if frame.pts is None:
            raise NoSeek
        if frame.pts < self._leading_pts:
            return True
        if self._entry_pts is not None and (frame.pts != self._entry_pts or frame.pict_type not in _INTRA):
            raise NoSeek
        self._entry_pts = None
        return False

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        pts = self._expected_pts(packet)
        if pts is not None:
            self._waiting.add(pts)
        try:
            frames = self._opened.decode(packet)
        except EOFError:
            return []
        except MEDIA_ERRORS as error:
            if not self._is_careful:
                raise Suspicious from error
            self._note_bad(packet, pts)
            return []
        if any(frame.is_corrupt for frame in frames) or (packet is not None and packet.is_corrupt):
            if not self._is_careful:
                raise Suspicious
            self.damage.n_bad_packets += 1
        return frames

    def _expected_pts(self, packet: Packet[VideoStream] | None) -> int | None:
        """The time of the frame that a packet should show; None if it need not show one or has no time."""
        if packet is None or packet.is_discard:
            return None
        if packet.dts is not None and self._last_dts is not None and packet.dts < self._last_dts:
            self._stop_tracking()
        self._last_dts = packet.dts
        if packet.pts is None or not self._tracks or self._is_leading(packet.pts):
            return None
        return packet.pts

    def _is_leading(self, pts: int | None) -> bool:
        return pts is not None and self._leading_pts is not None and pts < self._leading_pts

    def _stop_tracking(self) -> None:
        """Decoding times went back: missing frames cannot be found by their times any more."""
        if not self._is_careful:
            raise Suspicious
        self._tracks = False
        self._n_untimed += len(self._bad)
        self._waiting.clear()
        self._bad.clear()

    def _note_bad(self, packet: Packet[VideoStream] | None, pts: int | None) -> None:
        if packet is None or packet.is_discard or self._is_leading(packet.pts):
            return
        self.damage.n_bad_packets += 1
        if pts is None:
            self._n_untimed += 1
        else:
            self._bad.add(pts)

    def _due(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Frames before which no other can come, in the order of time.

        A decoder that lost a reference gets the order wrong. But no frame is shown before it is decoded, so all frames
        that are shown before the decoding time of this packet have been read.
        """
        frames, self._early = self._early, []
        dts = packet.dts if packet is not None else None
        times = [frame.pts for frame in frames if frame.pts is not None]
        if not self._is_careful or not self._tracks or len(times) < len(frames):
            return frames
        frames = [frame for _, frame in sorted(zip(times, frames, strict=True), key=itemgetter(0))]
        if dts is not None:
            self._early = [frame for frame in frames if (frame.pts or 0) > dts]
        return frames[: len(frames) - len(self._early)]

    def _in_order(self, frame: VideoFrame) -> Iterator[DecodedFrame]:
        """A decoded frame, after repeats in the place of damaged ones before it."""
        self._check_same(frame)
        stored = stored_time(frame, self._info)
        if stored in self._waiting:
            self._waiting.discard(stored)
            self._bad.discard(stored)
        is_late = stored is not None and self._last_pts is not None and stored <= self._last_pts
        if is_late and self._tracks and self.damage.n_bad_packets:
            return  # out of order after damage, and its place is taken
        yield from self._held_until(stored, self._last or frame)
        self._last, self._last_pts = frame, stored
        yield DecodedFrame(self.times.place(stored), frame, held=False)

    def _held_until(self, stored: int | None, frame: VideoFrame) -> Iterator[DecodedFrame]:
        """Repeats of `frame` in the place of missing ones before `stored` (None: all that are left)."""
        missing = sorted(pts for pts in self._waiting if stored is None or pts < stored)
        self._waiting.difference_update(missing)
        if not self._is_careful:
            # A gap before the first picture is usual: frames that depend on others which were cut off.
            if missing and self._last is not None:
                raise Suspicious
            return
        places: list[int | None] = [None] * self._n_untimed
        self._n_untimed = 0
        for pts in missing:
            if pts not in self._bad:
                if not self._is_damage():
                    continue
                self.damage.n_bad_packets += 1
            self._bad.discard(pts)
            places.append(pts)
        for place in places:
            self.damage.n_held += 1
            yield DecodedFrame(self.times.place(place), frame, held=True)

    def _is_damage(self) -> bool:
        """Whether a packet that the decoder accepted, but that shows no frame, was damaged."""
        if self.damage.n_bad_packets:
            return not self._hides
        if self._info.codec in _MAY_HIDE:
            self._hides = True
            return False
        return self._last is not None

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
        container, stream = self._opened.container, self._opened.stream
        if n_stated := _n_stated_packets(container, stream):
            self.damage.is_truncated |= self._n_packets < n_stated
            return
        stated_s = _stated_end_s(container, stream)
        if stated_s is not None:
            tolerance_s = max(Fraction(3, 2) / self._info.rate, Fraction(1, 20))
            self.damage.is_truncated |= self._end_s < stated_s - tolerance_s


def _n_stated_packets(container: InputContainer, stream: VideoStream) -> int:
    """The number of packets in the index of mp4 and mov, edit lists applied; 0 for other containers."""
    return len(stream.index_entries) if "mov" in container.format.name.split(",") else 0


def _stated_end_s(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """When the picture ends, by Matroska's tag, or by a header that describes the picture alone."""
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")
    minutes, _, seconds = rest.partition(":")
    with contextlib.suppress(ValueError):
        return (int(hours) * 60 + int(minutes)) * 60 + Fraction(seconds)
    if container.format.name == "avi" and stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    if len(container.streams) == 1 and "matroska" in container.format.name and container.duration:
        return Fraction(container.duration, 1_000_000)
    return None
