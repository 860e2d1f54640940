"""The video stream of an output: opened with everything that the source says about the picture, fed with planes."""

from __future__ import annotations

import io
import os
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
from vidfill.video.codecs import EncoderConfig
from vidfill.video.formats import from_planes
from vidfill.video.frame import Frame, Samples, VideoInfo

WITHOUT_TIMESTAMPS = frozenset({"avi"})
"""Muxers, by FFmpeg's name, that show all frames equally long."""
WRITE_ERRORS = (av.error.FFmpegError, ValueError, OSError)
"""What PyAV raises for a refusal or a full disk; an unknown encoder is a plain ValueError."""
# These store one time a frame, or none: readers take the decoding order for the presentation order.
_WITHOUT_REORDERING = frozenset({"avi", "asf", "mxf"})
_BT709 = 1  # AVColorSpace
_LIMITED = 1  # AVColorRange


def add_picture(target: OutputContainer, info: VideoInfo, encoder: EncoderConfig) -> Any:
    """Add the video stream with size, pixel format, time base, colour tags, sample aspect and display matrix."""
    options = dict(encoder.options)
    if target.format.name in _WITHOUT_REORDERING:
        options.setdefault("bf", "0")
    stream: Any = target.add_stream(encoder.name, rate=info.rate, options=options)
    stream.width, stream.height, stream.pix_fmt = info.width, info.height, encoder.pixel_format
    # Before the first frame, or every timestamp becomes a multiple of 1 / rate.
    context = stream.codec_context
    stream.time_base = context.time_base = _time_base(info, target.format.name)
    stream.thread_type = "AUTO"  # PyAV's default, slices, costs x264 quality and speed
    _tag_color(context, info, encoder)  # most encoders do not write the tags of frames
    if info.sample_aspect != 1:
        context.sample_aspect_ratio = info.sample_aspect
    if encoder.tag:
        context.codec_tag = encoder.tag
    if info.orientation.matrix:
        stream.set_display_matrix(info.orientation.matrix)  # unchanged: a rotation in degrees would lose a mirroring
    return stream


def open_encoder(stream: Any) -> None:
    """Open the encoder of a stream, which is otherwise done with its first frame, without SVT-AV1's banner on stderr.

    FFmpeg passes neither a log callback nor a log level on to SVT-AV1. The library only reads the environment variable
    SVT_LOG, once, when it is first opened: it is set for that call unless the user has set it.
    """
    quiet = stream.codec_context.name == "libsvtav1" and "SVT_LOG" not in os.environ
    if quiet:
        os.environ["SVT_LOG"] = "1"
    try:
        stream.codec_context.open(strict=False)
    finally:
        if quiet:
            del os.environ["SVT_LOG"]


def to_encoder(frame: Frame, info: VideoInfo, encoder: EncoderConfig, container: str) -> av.VideoFrame:
    """A frame in the encoder's pixel format, at its own time where the container (FFmpeg's name) has timestamps."""
    picture = from_planes(frame.planes, info.pixel_format, info.height, info.width)
    if encoder.converts_rgb:
        picture = picture.reformat(
            format=encoder.pixel_format, dst_colorspace=_BT709, dst_color_range=_LIMITED, threads=1
        )
    elif encoder.pixel_format != info.pixel_format.name:
        level = info.color.range or 1  # equal on both sides: samples are moved and widened, colours are kept
        picture = picture.reformat(
            format=encoder.pixel_format,
            src_colorspace=1,
            dst_colorspace=1,
            src_color_range=level,
            dst_color_range=level,
            threads=1,  # with more, FFmpeg's scaler now and then leaves out a row
        )
    _tag_color(picture, info, encoder)
    picture.time_base = _time_base(info, container)
    picture.pts = frame.index if container in WITHOUT_TIMESTAMPS else round(frame.time_s / info.time_base)
    picture.pict_type = PictureType.NONE  # the source's own would be forced on the encoder
    return picture


class FieldMarker:
    """Marks which field of each frame is shown first, which encoders of interlaced pictures need.

    PyAV's frames have no attribute for it; FFmpeg's filter sets it and changes no sample.
    """

    def __init__(self, info: VideoInfo, encoder: EncoderConfig) -> None:
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=info.width, height=info.height, format=av.VideoFormat(encoder.pixel_format), time_base=info.time_base
        )
        order = self._graph.add("setfield", "bff" if info.bottom_field_first else "tff")
        self._graph.link_nodes(source, order, self._graph.add("buffersink")).configure()

    def mark(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The same picture at the same time, with the order of its fields."""
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
    if n_frames <= 2:
        # x265 does not know its reordering delay yet and leaves dts undefined. So few frames are not reordered.
        for packet in packets:
            packet.dts = packet.pts
    return packets


def reason(error: BaseException) -> str:
    """FFmpeg's words for an error, without the call that raised it."""
    return str(getattr(error, "strerror", None) or error)


def try_encoder(info: VideoInfo, encoder: EncoderConfig, container: str) -> None:
    """Encode a gray frame into memory, to find out what encoder and muxer refuse before the work starts.

    Raises:
        OutputError: with the words of FFmpeg.
    """
    frame = Frame(0, 0, info.time_base, gray_planes(info))
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            stream = add_picture(trial, info, encoder)
            open_encoder(stream)
            trial.mux(stream.encode(to_encoder(frame, info, encoder, container)))
            trial.mux(flush_picture(stream, n_frames=1))
    except WRITE_ERRORS as error:
        settings = " ".join(f"{key}={value}" for key, value in encoder.options.items())
        raise OutputError(
            f"{encoder.name} refuses {info.width}x{info.height} {encoder.pixel_format}"
            f" with {settings or 'its defaults'} ({reason(error)})",
            todo="check --preset, --crf and -e, or choose another --codec",
        ) from error


def gray_planes(info: VideoInfo) -> tuple[Samples, ...]:
    """A gray picture of the source's size and pixel format."""
    shape = info.pixel_format
    n_planes = shape.n_color_planes + shape.has_alpha
    sizes = [shape.plane_size(i, height=info.height, width=info.width) for i in range(n_planes)]
    planes: tuple[Any, ...] = tuple(np.full(size, 1 << shape.depth - 1, shape.dtype) for size in sizes)
    return planes


def _time_base(info: VideoInfo, container: str) -> Fraction:
    """Seconds a tick of the encoder: the source's own, so that its timestamps stay integers."""
    return 1 / info.rate if container in WITHOUT_TIMESTAMPS else info.time_base


def _tag_color(target: Any, info: VideoInfo, encoder: EncoderConfig) -> None:
    """Set the colour tags of a frame or codec context; RGB converted to YUV keeps transfer curve and primaries."""
    tags = replace(info.color, matrix=_BT709, range=_LIMITED) if encoder.converts_rgb else info.color
    target.colorspace, target.color_primaries = tags.matrix, tags.primaries
    target.color_trc, target.color_range = tags.transfer, tags.range
