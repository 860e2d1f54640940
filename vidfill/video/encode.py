"""The picture's own stream in an output: opened with everything the source says about it, fed with planes."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.filter import Graph
from av.packet import Packet
from av.video.frame import PictureType

from vidfill.errors import OutputError
from vidfill.video.codecs import Encoder
from vidfill.video.formats import from_planes
from vidfill.video.frame import ColorTags, Frame, Samples, VideoInfo

# What the muxers, by FFmpeg's name, make of timestamps.
WITHOUT_TIMESTAMPS = frozenset({"avi"})  # all frames last equally long
IN_MILLISECONDS = frozenset({"matroska", "webm"})
# What PyAV raises for a refusal or a full disk; an unknown encoder is a plain ValueError.
FAULTS = (av.error.FFmpegError, ValueError, OSError)
# These store one time a frame, or none: readers take the order of decoding for that of showing.
_WITHOUT_REORDERING = frozenset({"avi", "asf", "mxf"})
_UNDEFINED_UP_TO = 2
_BT709 = 1  # AVColorSpace
_LIMITED = 1  # AVColorRange


def time_base_for(info: VideoInfo, container: str) -> Fraction:
    """Seconds a tick of the encoder: the source's own, so that its timestamps stay whole numbers."""
    return 1 / info.rate if container in WITHOUT_TIMESTAMPS else info.time_base


def add_picture(target: OutputContainer, info: VideoInfo, encoder: Encoder) -> Any:
    """Add the video stream: size, pixel format, time base, colour tags, sample aspect, display matrix."""
    options = dict(encoder.options)
    if target.format.name in _WITHOUT_REORDERING:
        options.setdefault("bf", "0")
    stream: Any = target.add_stream(encoder.name, rate=info.rate, options=options)
    stream.width, stream.height, stream.pix_fmt = info.width, info.height, encoder.pixel_format
    # Before the first frame, or every timestamp becomes a multiple of 1 / rate.
    stream.time_base = stream.codec_context.time_base = time_base_for(info, target.format.name)
    stream.thread_type = "AUTO"  # PyAV's own choice, slices, costs x264 quality and speed
    context = stream.codec_context
    # On frames alone most encoders do not write them.
    tags = _color_of(info, encoder)
    context.colorspace, context.color_primaries = tags.matrix, tags.primaries
    context.color_trc, context.color_range = tags.transfer, tags.range
    if info.sample_aspect != 1:
        context.sample_aspect_ratio = info.sample_aspect
    if encoder.tag:
        context.codec_tag = encoder.tag
    if info.orientation.matrix:
        stream.set_display_matrix(info.orientation.matrix)  # as it is: a rotation in degrees would lose a mirroring
    return stream


def encoder_frame(frame: Frame, info: VideoInfo, encoder: Encoder, container: str) -> av.VideoFrame:
    """The planes as the encoder wants them, at the frame's own time where the container (FFmpeg's name) has times."""
    picture = from_planes(frame.planes, info.pixel_format, info.height, info.width)
    tags = _color_of(info, encoder)
    if encoder.converts_rgb:
        picture = picture.reformat(
            format=encoder.pixel_format, dst_colorspace=_BT709, dst_color_range=_LIMITED, threads=1
        )
    elif encoder.pixel_format != info.pixel_format.name:
        level = info.color.range or 1  # equal on both sides: samples are moved and widened, colours stay
        picture = picture.reformat(
            format=encoder.pixel_format,
            src_colorspace=1,
            dst_colorspace=1,
            src_color_range=level,
            dst_color_range=level,
            threads=1,  # with more, FFmpeg's scaler now and then leaves out a row
        )
    picture.colorspace, picture.color_primaries = tags.matrix, tags.primaries
    picture.color_trc, picture.color_range = tags.transfer, tags.range
    picture.time_base = time_base_for(info, container)
    picture.pts = frame.index if container in WITHOUT_TIMESTAMPS else round(frame.time_s / info.time_base)
    picture.pict_type = PictureType.NONE  # the source's own would steer the encoder
    return picture


class FieldMarker:
    """Says of each frame which of its two fields is shown first, as encoders of interlaced pictures ask.

    PyAV's frames have no attribute for it; FFmpeg's filter sets it and moves no sample.
    """

    def __init__(self, info: VideoInfo, encoder: Encoder) -> None:
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=info.width, height=info.height, format=av.VideoFormat(encoder.pixel_format), time_base=info.time_base
        )
        order = self._graph.add("setfield", "bff" if info.bottom_field_first else "tff")
        sink = self._graph.add("buffersink")
        source.link_to(order)
        order.link_to(sink)
        self._graph.configure()

    def mark(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The same picture at the same time, with its order of fields."""
        at = frame.pts, frame.time_base
        self._graph.push(frame)
        marked = self._graph.pull()
        if not isinstance(marked, av.VideoFrame):
            raise TypeError(f"the filter gave {type(marked).__name__} for a picture")
        marked.pts, marked.time_base = at
        marked.pict_type = PictureType.NONE
        return marked


def flush_picture(stream: Any, *, n_frames: int) -> list[Packet[Any]]:
    """The packets that the encoder still holds after `n_frames` frames."""
    packets: list[Packet[Any]] = stream.encode(None)
    if n_frames <= _UNDEFINED_UP_TO:
        # x265 has not yet measured its reordering delay and leaves dts undefined. So few frames are not reordered.
        for packet in packets:
            packet.dts = packet.pts
    return packets


def reason(error: BaseException) -> str:
    """FFmpeg's words for a fault, without the call that met it."""
    return str(getattr(error, "strerror", None) or error)


def encode_one_frame(info: VideoInfo, encoder: Encoder, container: str) -> None:
    """Encode a gray frame into memory, so that what encoder and muxer refuse is known before the work starts.

    Raises:
        OutputError: with the words of FFmpeg.
    """
    frame = Frame(0, 0, info.time_base, _gray(info))
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            stream = add_picture(trial, info, encoder)
            trial.mux(stream.encode(encoder_frame(frame, info, encoder, container)))
            trial.mux(flush_picture(stream, n_frames=1))
    except FAULTS as error:
        settings = " ".join(f"{key}={value}" for key, value in encoder.options.items())
        raise OutputError(
            f"{encoder.name} refuses {info.width}x{info.height} {encoder.pixel_format}"
            f" with {settings or 'its defaults'} ({reason(error)})",
            todo="check --preset, --crf and -e, or choose another --codec",
        ) from error


def _gray(info: VideoInfo) -> tuple[Samples, ...]:
    shape = info.pixel_format
    n_planes = shape.n_color_planes + shape.has_alpha
    sizes = [shape.plane_size(i, height=info.height, width=info.width) for i in range(n_planes)]
    middle = 1 << shape.depth - 1
    if shape.depth <= 8:
        return tuple(np.full(size, middle, np.uint8) for size in sizes)
    return tuple(np.full(size, middle, np.uint16) for size in sizes)


def _color_of(info: VideoInfo, encoder: Encoder) -> ColorTags:
    """Colour tags of the written samples: RGB that becomes YUV keeps its transfer curve and primaries."""
    return replace(info.color, matrix=_BT709, range=_LIMITED) if encoder.converts_rgb else info.color
