"""Opens a video file, picks the picture's stream and says what the file is."""

from __future__ import annotations

import math
import stat
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidfill.errors import InputError
from vidfill.video.formats import pixel_format, planar_name
from vidfill.video.frame import ColorTags, HdrMetadata, Orientation, StreamInfo, VideoInfo

# What PyAV raises for a damaged or unknown file (an unknown codec is a ValueError).
MEDIA_ERRORS = (av.error.FFmpegError, ValueError, OSError)

_FULL_RANGE = 2
_UNSTATED = 2
_DEFAULT_RATE = Fraction(25)  # FFmpeg's own, for streams that state none
_COVERS = Disposition.attached_pic | Disposition.timed_thumbnails

# AVFieldOrder: 0 unknown, 1 progressive, 2 to 5 interlaced, 3 and 4 of them with the bottom field first.
_PROGRESSIVE, _BOTTOM_FIRST = 1, frozenset({3, 4})

# (a, b, c, d) of a display matrix (x' = a x + c y, y' = b x + d y, y down): quarter turns and mirroring.
_TURNS = {
    (1, 0, 0, 1): (0, False),
    (0, -1, 1, 0): (1, False),
    (-1, 0, 0, -1): (2, False),
    (0, 1, -1, 0): (3, False),
    (-1, 0, 0, 1): (0, True),
    (0, 1, 1, 0): (1, True),
    (1, 0, 0, -1): (2, True),
    (0, -1, -1, 0): (3, True),
}


def open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a file and pick the picture's stream: no cover art, the default stream if there is one, then the largest.

    Raises:
        InputError: there is no such file, it is no video, or it cannot be read more than once (a pipe).
    """
    _check_file(path)
    try:
        container = av.open(str(path), "r")
    except MEDIA_ERRORS as error:
        raise _unreadable(path, error) from error
    try:
        return container, _picture_stream(container, path)
    except BaseException:
        container.close()
        raise


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The packets of the picture from the container's position; errors of the demuxer are not caught."""
    try:
        for packet in container.demux(stream):
            if packet.size:  # else PyAV's mark of the end, or a frame that was dropped when the file was made
                yield packet
    except IndexError:  # PyAV 18, at the end of files in which streams appear late: it knows only the first ones
        return


class OpenVideo:
    """An open file and its decoder.

    Args:
        path: the file.
        threads: of the decoder, 0 for its own choice.
        is_careful: decode with one thread, so that an error belongs to the packet that raises it.

    Raises:
        InputError: see `open_video`.
    """

    def __init__(self, path: Path, *, threads: int = 0, is_careful: bool = False) -> None:
        self._path = path
        self.container, self.stream = open_video(path)
        self.stream.thread_type = "SLICE" if is_careful else "AUTO"
        self.stream.codec_context.thread_count = 1 if is_careful else threads
        self._coming = packets_of(self.container, self.stream)
        self._decoded: deque[tuple[Packet[VideoStream] | None, list[VideoFrame]]] = deque()

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def describe(self) -> VideoInfo:
        """What the file is, by the first frame that can be decoded; `packets` and `decode` give that one again.

        Not after damage, when `VideoInfo.start_pts` is None.

        Raises:
            InputError: no frame can be decoded, or the pixel format is not supported.
        """
        is_damaged, frames = False, list[VideoFrame]()
        with suppress(*MEDIA_ERRORS):
            for packet in chain(self._coming, [None]):
                try:
                    frames = self.stream.decode(packet)
                except MEDIA_ERRORS:
                    is_damaged = True
                is_damaged |= (packet is not None and packet.is_corrupt) or any(frame.is_corrupt for frame in frames)
                self._decoded.append((packet, frames))
                if frames:
                    break
        if not frames:
            raise InputError(
                f"no frame of {self._path} can be decoded",
                expected="a video that is not damaged",
                todo="convert it first",
            )
        info = describe(self.container, self.stream, frames[0], self._path)
        return info if is_damaged else replace(info, start_pts=stored_time(frames[0], info) or 0)

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """The packets of the picture; errors of the demuxer are not caught."""
        yield from [packet for packet, _ in self._decoded if packet is not None]
        yield from self._coming

    def decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """The frames that the decoder yields for a packet, or at the end (None); its errors are not caught."""
        return self._decoded.popleft()[1] if self._decoded else self.stream.decode(packet)


def has_stored_times(info: VideoInfo) -> bool:
    """Whether packets carry presentation times; AVI has decoding times only, which differ for these codecs."""
    return not (info.container == "avi" and info.codec in ("h264", "hevc"))


def stored_time(frame: VideoFrame, info: VideoInfo) -> int | None:
    """The presentation time of a frame as stored; the decoding time, which rises as well, where there is none."""
    return frame.pts if frame.pts is not None and has_stored_times(info) else frame.dts


def describe(container: InputContainer, stream: VideoStream, first: VideoFrame, path: Path) -> VideoInfo:
    """Collect what a file says about itself; its first decodable frame counts for more than the header."""
    context = stream.codec_context
    color = ColorTags(
        matrix=_stated(first.colorspace, context.colorspace),
        primaries=_stated(first.color_primaries, context.color_primaries),
        transfer=_stated(first.color_trc, context.color_trc),
        range=_FULL_RANGE if first.format.name.startswith("yuvj") else first.color_range or context.color_range,
    )
    orientation = _orientation(first)
    time_base = stream.time_base or Fraction(1, 90_000)
    rate, n_frames = _rate_and_count(container, stream)
    duration_s = float((stream.duration or 0) * time_base) or (container.duration or 0) / av.time_base
    return VideoInfo(
        path=path,
        is_folder=False,
        container=container.format.name,
        codec=context.codec.canonical_name,
        profile=context.profile or "",
        height=first.height,
        width=first.width,
        pixel_format=pixel_format(planar_name(first.format.name)),
        color=color,
        time_base=time_base,
        rate=rate,
        n_frames=n_frames,
        duration_s=duration_s,
        sample_aspect=stream.sample_aspect_ratio or Fraction(1),
        orientation=orientation,
        hdr=_hdr(first),
        interlaced=_is_interlaced(stream, first),
        bottom_field_first=context.field_order in _BOTTOM_FIRST,
        streams=tuple(_stream_info(other) for other in container.streams if other.index != stream.index),
        stream_index=stream.index,
        warnings=tuple(_warnings(stream, first, orientation)),
    )


def _check_file(path: Path) -> None:
    if str(path) == "-":
        raise InputError(
            "a stream on standard input", expected="a file, which is read more than once", todo="save it first"
        )
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}", todo="check the name") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", todo="check its permissions") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            f"{path} is a pipe or a device",
            expected="a file, which is read more than once",
            todo="save the stream first",
        )
    if status.st_size == 0:
        raise InputError(f"{path} is empty", expected="a video", todo="check that it was copied whole")
    if _lacks_index(path):
        raise InputError(
            f"{path} ends before its index (the moov box)",
            expected="a complete mp4 or mov file",
            todo="copy or record it again, it was cut off or is still being written",
        )


def _unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, PermissionError):
        return InputError(f"{path} cannot be read ({error.strerror})", todo="check its permissions")
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"{path} is not a video that FFmpeg reads ({reason})", expected="a video or a folder of images")


def _lacks_index(path: Path) -> bool:
    """Whether a file begins like mp4 or mov but has no whole moov box (in HEIF and AVIF: meta box) at its top level."""
    size, position, is_first = path.stat().st_size, 0, True
    with path.open("rb") as file:
        while position + 8 <= size:
            file.seek(position)
            head = file.read(16)
            n_bytes, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if n_bytes == 1 and len(head) == 16:
                n_bytes = int.from_bytes(head[8:], "big")
            elif n_bytes == 0:  # to the end of the file
                n_bytes = size - position
            is_whole_index = kind in (b"moov", b"meta") and position + n_bytes <= size
            if is_whole_index or (is_first and kind != b"ftyp"):
                return False
            if n_bytes < 8:
                break
            position, is_first = position + n_bytes, False
    return not is_first


def _picture_stream(container: InputContainer, path: Path) -> VideoStream:
    pictures = [s for s in container.streams.video if not s.disposition & _COVERS]
    if not pictures:
        kinds = sorted({_stream_info(s).kind for s in container.streams}) or ["nothing"]
        what = "a cover picture beside its sound" if container.streams.video else " and ".join(kinds)
        raise InputError(f"{path} holds {what}", expected="a video stream")
    known = [s for s in pictures if s.codec_context is not None]
    if not known:
        raise InputError(f"{path} is coded in a way that this FFmpeg does not know", todo="convert it first")
    return max(known, key=lambda s: (bool(s.disposition & Disposition.default), s.width * s.height, -s.index))


def _rate_and_count(container: InputContainer, stream: VideoStream) -> tuple[Fraction, int]:
    """Average frames per second, and the number of frames as the container states it, 0 where it does not.

    AVI has no timestamps: a variable rate is stored as a high one with empty packets between the frames, and its
    header counts those as well. FFmpeg's guess looks at the frames.
    """
    stated, guessed = stream.average_rate, stream.guessed_rate
    if container.format.name == "avi" and guessed and stated and guessed < stated:
        return guessed, 0
    return stated or guessed or stream.base_rate or _DEFAULT_RATE, stream.frames


def _stated(*values: int) -> int:
    """The first of some tags that says anything; 0 is RGB for a matrix and reserved elsewhere."""
    return next((value for value in values if value != _UNSTATED), _UNSTATED)


def _stream_info(stream: Stream) -> StreamInfo:
    context = stream.codec_context
    language = stream.language or ""
    codec = context.codec.canonical_name if context is not None else ""
    return StreamInfo(stream.index, stream.type, codec, "" if language == "und" else language)


def _side_data(frame: VideoFrame, kind: SideDataType) -> bytes | None:
    entries: Any = frame.side_data  # PyAV's stub knows one of its keys only
    try:
        return bytes(entries[kind])
    except KeyError:
        return None


def _orientation(frame: VideoFrame) -> Orientation:
    data = _side_data(frame, SideDataType.DISPLAYMATRIX)
    if data is None:
        return Orientation()
    matrix = struct.unpack("<9i", data[:36])
    a, b, _, c, d, *_ = matrix
    largest = max(abs(value) for value in (a, b, c, d))
    if largest == 0:
        return Orientation()
    quarter_turns, mirrored = _TURNS.get(tuple(round(value / largest) for value in (a, b, c, d)), (0, False))
    return Orientation(matrix, quarter_turns, mirrored)


def _hdr(frame: VideoFrame) -> HdrMetadata | None:
    """HDR10 static metadata from FFmpeg's structs AVMasteringDisplayMetadata and AVContentLightMetadata."""
    mastering_data = _side_data(frame, SideDataType.MASTERING_DISPLAY_METADATA)
    light_data = _side_data(frame, SideDataType.CONTENT_LIGHT_LEVEL)
    mastering: tuple[Fraction, ...] = ()
    if mastering_data is not None:
        *terms, has_primaries, has_luminance = struct.unpack("<22i", mastering_data[:88])
        if has_primaries and has_luminance and all(terms[1::2]):
            mastering = tuple(Fraction(*pair) for pair in zip(terms[::2], terms[1::2], strict=True))
    light = struct.unpack("<2I", light_data[:8]) if light_data is not None else (0, 0)
    return HdrMetadata(mastering, *light) if mastering or any(light) else None


def _is_interlaced(stream: VideoStream, frame: VideoFrame) -> bool:
    return frame.interlaced_frame or stream.codec_context.field_order > _PROGRESSIVE


def _warnings(stream: VideoStream, frame: VideoFrame, orientation: Orientation) -> list[str]:
    kinds = {kind for kind in SideDataType if _side_data(frame, kind) is not None}
    found = []
    if (
        kinds & {SideDataType.DOVI_RPU_BUFFER, SideDataType.DOVI_METADATA}
        or stream.codec_context.codec_tag[:3] == "dvh"
    ):
        found.append("Dolby Vision metadata cannot be kept; the output is its base layer")
    if SideDataType.DYNAMIC_HDR_PLUS in kinds:
        found.append("HDR10+ metadata cannot be kept; static HDR10 metadata is")
    if SideDataType.A53_CC in kinds:
        found.append("closed captions inside the picture's stream cannot be kept; save them as a subtitle file first")
    if _is_interlaced(stream, frame):
        found.append("the source is interlaced; fills across two fields show combing, deinterlace it first")
    if orientation.matrix and _is_oblique(orientation.matrix):
        found.append("the source is turned by an odd angle; masks are taken in the orientation of the coded picture")
    return found


def _is_oblique(matrix: tuple[int, ...]) -> bool:
    degrees = math.degrees(math.atan2(matrix[1], matrix[0]))
    return abs(degrees / 90 - round(degrees / 90)) > 1e-3
