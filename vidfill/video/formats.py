"""Pixel formats: the samples of every format that FFmpeg decodes to are handed on as separate planes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import InputError
from vidfill.video.frame import PixelFormat, Samples

# Planar formats, and the semi-planar and packed ones with the same samples: FFmpeg's scaler only moves them (a test
# does it there and back with random samples). A padding byte, as in rgb0, is dropped.
_PACKED = {
    "yuv420p": "nv12 nv21",
    "yuv422p": "nv16 yuyv422 uyvy422 yvyu422",
    "yuv444p": "nv24 nv42 vuyx vyu444",
    "yuva444p": "vuya ayuv uyva",
    "yuv420p10le": "p010le",
    "yuv420p12le": "p012le",
    "yuv420p16le": "p016le",
    "yuv422p10le": "p210le nv20le y210le",
    "yuv422p12le": "p212le y212le",
    "yuv422p16le": "p216le y216le",
    "yuv444p10le": "p410le xv30le v30xle yuv444p10msble",
    "yuv444p12le": "p412le xv36le yuv444p12msble",
    "yuv444p16le": "p416le xv48le",
    "yuva444p16le": "ayuv64le",
    "gbrp": "rgb24 bgr24 0rgb rgb0 bgr0 0bgr rgb565le bgr565le rgb555le bgr555le rgb444le bgr444le",
    "gbrap": "rgba bgra argb abgr pal8 ya8",  # FFmpeg has no planar gray with alpha
    "gbrp10le": "x2rgb10le x2bgr10le gbrp10msble",
    "gbrp12le": "gbrp12msble",
    "gbrp16le": "rgb48le bgr48le",
    "gbrap16le": "rgba64le bgra64le ya16le",
    "gray": "monow monob",
}
_PLANAR = {packed: planar for planar, names in _PACKED.items() for packed in names.split()}


@cache
def planar_name(name: str) -> str:
    """The planar, little-endian format that holds the samples of a format (FFmpeg's name) without loss.

    The formats "yuvj..." are their "yuv..." namesakes with full range, which `ColorTags.range` says.

    Raises:
        InputError: floating point, Bayer and other formats that nothing planar of 8 to 16 bits holds.

    Example:
        >>> planar_name("nv12"), planar_name("yuvj422p"), planar_name("yuv420p10be")
        ('yuv420p', 'yuv422p', 'yuv420p10le')
    """
    little = name.removesuffix("be") + "le" if name.endswith("be") else name
    if little.startswith("yuvj"):
        return "yuv" + little.removeprefix("yuvj")
    planar = _PLANAR.get(little, little)
    if not _is_planar(planar):
        raise InputError(
            f"pictures in the pixel format {name}",
            expected="YUV, RGB or gray of 8 to 16 bits a sample",
            todo="convert the source first, for example with ffmpeg -pix_fmt yuv422p10le",
        )
    return planar


@cache
def pixel_format(name: str) -> PixelFormat:
    """Describe a planar format (FFmpeg's name; `planar_name` gives one for any other).

    Raises:
        InputError: the format is not planar or has no samples of 8 to 16 bits.
    """
    if planar_name(name) != name:
        raise InputError(f"the pixel format {name}", expected=f"a planar one: {planar_name(name)}")
    described = av.VideoFormat(name, 64, 64)
    components = described.components
    kind = "rgb" if described.is_rgb else "gray" if len(components) == 1 else "yuv"
    shift = (0, 0)
    if kind == "yuv":
        # Of 64 x 64 luma samples chroma keeps 64 >> shift.
        shift = (7 - described.chroma_width().bit_length(), 7 - described.chroma_height().bit_length())
    return PixelFormat(name, components[0].bits, shift, kind, any(component.is_alpha for component in components))


def to_planes(frame: av.VideoFrame, pixel_format: PixelFormat) -> tuple[Samples, ...]:
    """Copy the samples of a decoded frame, without the padding at the end of FFmpeg's lines.

    The frame may have any format whose `planar_name` is that of `pixel_format`. The result is one writable (h, w) array
    a plane, in the order of `pixel_format`.
    """
    name = frame.format.name
    if name != pixel_format.name and not name.startswith("yuvj"):
        # Equal matrix and range on both sides keep the scaler from changing samples. On threads of its own it now and
        # then leaves out a row of chroma (FFmpeg 8.1, p010: 14 of 4,000 small pictures).
        same = {"src_colorspace": 1, "dst_colorspace": 1, "src_color_range": 1, "dst_color_range": 1}
        frame = frame.reformat(format=pixel_format.name, threads=1, **same)
    planes = []
    for i, plane in enumerate(frame.planes):
        height, width = pixel_format.plane_size(i, height=frame.height, width=frame.width)
        planes.append(_lines(plane, pixel_format, height)[:, :width].copy())
    return tuple(planes)


def from_planes(planes: Sequence[Samples], pixel_format: PixelFormat, height: int, width: int) -> av.VideoFrame:
    """The opposite of `to_planes`: a (height, width) frame with neither a timestamp nor colour tags."""
    frame = av.VideoFrame(width, height, pixel_format.name)
    for plane, samples in zip(frame.planes, planes, strict=True):
        rows, columns = samples.shape
        _lines(plane, pixel_format, rows)[:, :columns] = samples
    return frame


def _lines(plane: av.video.plane.VideoPlane, pixel_format: PixelFormat, height: int) -> NDArray[Any]:
    """A plane's own memory as (height, samples a line), padding included."""
    dtype = np.dtype(pixel_format.dtype)
    samples: NDArray[Any] = np.frombuffer(memoryview(plane), dtype)
    return samples.reshape(-1, plane.line_size // dtype.itemsize)[:height]


def _is_planar(name: str) -> bool:
    """Whether each component is a plane of its own of 8 to 16 bit integers."""
    try:
        described = av.VideoFormat(name, 64, 64)
    except ValueError:
        return False
    components = described.components
    if described.has_palette or described.is_bit_stream or described.is_bayer or described.is_big_endian:
        return False
    if "f16" in name or "f32" in name or "msb" in name:
        return False
    n_planes = len({component.plane for component in components})
    return 0 < n_planes == len(components) and all(8 <= component.bits <= 16 for component in components)
