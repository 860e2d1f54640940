"""Copy the streams beside the picture (sound, subtitles, attachments, cover art) packet by packet.

What a container cannot carry is dropped with a warning that names the stream; text subtitles are converted between the
containers' own kinds. Nothing is decoded.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

_logger = logging.getLogger("vidfill")
# Muxers, by FFmpeg's name, and what they carry beside picture and sound.
_TEXT_KIND = {"mp4": "mov_text", "mov": "mov_text", "ipod": "mov_text", "matroska": "subrip", "webm": "webvtt"}
_PLAIN_TEXT = frozenset({"mov_text", "subrip", "srt", "text", "webvtt"})
_WITH_SUBTITLES = frozenset({"matroska", "mpegts", "nut"})
_WITH_ATTACHMENTS = frozenset({"matroska"})
_WITH_CHAPTERS = frozenset({"mp4", "mov", "ipod", "matroska", "webm", "nut", "asf", "ogg"})
_WITH_COVER = frozenset({"mp4", "mov", "ipod"})
# Written by every muxer itself, or no longer true.
_CONTAINER_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})
_STREAM_TAGS = frozenset({"ENCODER", "DURATION", "BPS", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES"})
# QuickTime (mov, not mp4) knows languages by the older of their two ISO 639-2 codes.
_MAC_LANGUAGES = {
    **{"deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "sqi": "alb", "swe": "sve"},
    **{"fre": "fra", "rum": "ron", "cze": "ces", "slo": "slk", "mkd": "mac"},
}
_COVER_TYPES = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}


@dataclass(frozen=True)
class Route:
    """What happens to one stream of the source.

    Attributes:
        index: of the stream in the source.
        action: "copy", "text" (converted to the container's kind of text), "cover" (turned into an attachment),
            "attach" or "drop".
        warning: a line that names the stream, "" where nothing is lost.
    """

    index: int
    action: str
    warning: str = ""


def plan_routes(source: InputContainer, container: str, picture_index: int) -> list[Route]:
    """Decide on every stream of an open source but the picture, for FFmpeg's name of the output's container."""
    routes = []
    for stream in source.streams:
        if stream.index == picture_index:
            continue
        action = _action(stream, container)
        if action in ("copy", "text", "attach") and not _header_works(stream, container, action):
            action = "drop"
        # The muxer writes chapter titles ("bin_data") and the timecode track of the picture's tag itself.
        rewritten = stream.type == "data" and (_codec(stream) == "bin_data" or "timecode" in stream.metadata)
        warning = ""
        if action == "drop" and not rewritten:
            warning = f"{_name(stream)} is dropped: {container} cannot carry it"
        if action == "text" and _codec(stream) == "mov_text":
            warning = f"{_name(stream)} becomes {_TEXT_KIND[container]}: the text is kept, its styles are not"
        routes.append(Route(stream.index, action, warning))
    return routes


def dropped_chapters(source: InputContainer, container: str) -> str:
    """A warning where the source has chapters and the container cannot hold them, else ""."""
    n_chapters = 0 if container in _WITH_CHAPTERS else len(source.chapters())
    return f"{n_chapters} chapters are dropped: {container} has none" if n_chapters else ""


def copy_container_data(source: InputContainer, target: OutputContainer) -> None:
    """Copy the metadata of the whole file and the chapters."""
    target.metadata.update({k: v for k, v in source.metadata.items() if k.lower() not in _CONTAINER_TAGS})
    if target.format.name in _WITH_CHAPTERS:
        target.set_chapters(source.chapters())


def copy_stream_data(source: Stream, target: Stream) -> None:
    """Copy title, language, disposition and other metadata of a stream."""
    tags = {k: v for k, v in source.metadata.items() if not k.startswith("_STATISTICS")}
    kept = {k: v for k, v in tags.items() if k.upper() not in _STREAM_TAGS}
    if target.container.format.name == "mov":
        language = kept.get("language", "und")
        kept["language"] = _MAC_LANGUAGES.get(language, language)
    target.metadata.update(kept)
    target.disposition = Disposition(int(source.disposition))


class StreamCopier:
    """Copies the packets of the other streams in step with the picture, so that memory stays bounded.

    `source` is open, and used by nobody else. `routes` are those of `plan_routes`. Of the picture, at `index` in the
    source, only the times of packets are read.
    """

    def __init__(self, source: InputContainer, target: OutputContainer, routes: list[Route], index: int) -> None:
        self._source, self._target = source, target
        self._routes = {route.index: route for route in routes if route.action != "drop"}
        self._picture = source.streams[index]
        self._outputs: dict[int, Any] = {}
        self._packets: Iterator[Packet[Any]] | None = None
        self._waiting: Packet[Any] | None = None
        self._last_pts: int | None = None
        self._last_duration = 0

    def add(self, index: int) -> None:
        """Add the source's stream `index` to the output where its route says so; before its first packet."""
        route = self._routes.get(index)
        if route is None:
            return
        stream = self._source.streams[index]
        if route.action == "cover":
            self._add_cover(stream)
            return
        output = _add_output(self._target, stream, route.action)
        copy_stream_data(stream, output)
        if route.action != "attach":
            self._outputs[index] = output

    def copy_until(self, time_s: Fraction | None) -> None:
        """Mux what lies before `time_s` in the source; everything that is left for None."""
        if self._packets is None:
            followed = [self._source.streams[index] for index in self._outputs]
            self._packets = self._source.demux([self._picture, *followed])
        while (packet := self._waiting or self._next(self._packets)) is not None:
            self._waiting = None
            if packet.size == 0:  # the demuxer's flush packets
                continue
            at_s = _time_s(packet)
            if time_s is not None and at_s is not None and at_s > time_s and packet.stream.type in ("audio", "video"):
                self._waiting = packet
                return
            if packet.stream_index == self._picture.index:
                if packet.pts is not None and (self._last_pts is None or packet.pts > self._last_pts):
                    self._last_pts, self._last_duration = packet.pts, packet.duration or 0
            else:
                self._mux(packet)

    def _next(self, packets: Iterator[Packet[Any]]) -> Packet[Any] | None:
        """The next packet, None at the end, which in a damaged file comes early."""
        try:
            return next(packets, None)
        except av.error.FFmpegError as error:
            _logger.warning("%s is damaged: its other streams end here (%s)", self._source.name, error.strerror)
        except IndexError:  # PyAV 18, at the end of files in which streams appear late: it knows only the first ones
            _logger.warning("streams that appear in the middle of %s are not kept", self._source.name)
        return None

    def last_duration(self, pts: int) -> int:
        """Ticks for which the source shows its last picture; 0 unless that is the picture at `pts`.

        Known after `copy_until(None)`. In mp4 and mov a packet's duration is the step to the next one in decoding
        order, so that the last one shown is measured by the end of the whole stream.
        """
        if pts != self._last_pts:
            return 0
        if self._source.format.name.startswith("mov") and self._picture.duration:
            to_end = (self._picture.start_time or 0) + self._picture.duration - pts
            return to_end if to_end > 0 else self._last_duration
        return self._last_duration

    def _mux(self, packet: Packet[Any]) -> None:
        output = self._outputs[packet.stream_index]
        if self._routes[packet.stream_index].action == "text":
            to_mov = _TEXT_KIND[self._target.format.name] == "mov_text"
            packet = _as_text(packet, from_mov=_codec(packet.stream) == "mov_text", to_mov=to_mov)
            if packet.size == 0:  # mp4 fills the time between two lines with empty ones
                return
        packet.stream = output
        self._target.mux(packet)

    def _add_cover(self, stream: Any) -> None:
        """Attach cover art, as Matroska has it; FFmpeg reads it as a stream of one packet."""
        name, mime_type = _COVER_TYPES[_codec(stream)]
        with av.open(self._source.name) as again:
            picture = next((p for p in again.demux(again.streams[stream.index]) if p.size), None)
            if picture is not None:
                self._target.add_attachment(stream.metadata.get("filename", name), mime_type, bytes(picture))


def _action(stream: Any, container: str) -> str:
    """What the container's rules allow, before its header is tried."""
    codec = _codec(stream)
    if stream.type == "audio":
        return "copy"
    if stream.type == "subtitle":
        if codec == _TEXT_KIND.get(container):
            return "copy"
        if codec in _PLAIN_TEXT and container in _TEXT_KIND:
            return "text"
        return "copy" if container in _WITH_SUBTITLES and codec != "mov_text" else "drop"
    if stream.type == "attachment":
        return "attach" if container in _WITH_ATTACHMENTS else "drop"
    if stream.type == "video":
        if not int(stream.disposition) & int(Disposition.attached_pic):
            return "copy"
        if container in _WITH_COVER and codec in _COVER_TYPES:
            return "copy"
        return "cover" if container in _WITH_ATTACHMENTS and codec in _COVER_TYPES else "drop"
    return "drop"


def _header_works(stream: Any, container: str, action: str) -> bool:
    """Whether the muxer writes a header with this stream: some refuse it only then."""
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            _add_output(trial, stream, action)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError, OSError):
        return False
    return True


def _add_output(target: OutputContainer, stream: Any, action: str) -> Any:
    if action == "text":
        output = target.add_mux_stream(_TEXT_KIND[target.format.name])
        output.time_base = stream.time_base
        return output
    output = target.add_stream_from_template(stream, opaque=True)
    output.disposition = Disposition(int(stream.disposition))
    return output


def _as_text(packet: Packet[Any], *, from_mov: bool, to_mov: bool) -> Packet[Any]:
    """The same text in another format: mov_text has its length before it and styles after it."""
    data = bytes(packet)
    if from_mov:
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    if to_mov:
        data = len(data).to_bytes(2, "big") + data
    changed: Packet[Any] = Packet(data)
    changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
    changed.time_base = packet.time_base
    return changed


def _time_s(packet: Packet[Any]) -> Fraction | None:
    at = packet.dts if packet.dts is not None else packet.pts
    return None if at is None or not packet.time_base else at * packet.time_base


def _codec(stream: Any) -> str:
    """FFmpeg's name of a stream's codec, "" for none."""
    context = stream.codec_context
    if context is not None:
        return str(context.codec.canonical_name)
    return str(getattr(stream, "name", None) or "")  # sound of an unknown codec has no such attribute


def _name(stream: Any) -> str:
    """A stream's kind, index, codec and language, for messages."""
    facts = ", ".join(fact for fact in (_codec(stream), stream.metadata.get("language", "")) if fact)
    return f"{stream.type} stream {stream.index}" + (f" ({facts})" if facts else "")
