"""Pixel formats: every one that FFmpeg decodes to is given out as the planar one that holds the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import InputError
from vidfill.video.frame import PixelFormat, Samples

# Semi-planar and packed formats, and the planar format that holds the same samples: FFmpeg's scaler only moves them
# (a test does it there and back with random samples). A padding byte, as in rgb0, is dropped.
_PLANAR: dict[str, str] = {
    **dict.fromkeys(["nv12", "nv21"], "yuv420p"),
    **dict.fromkeys(["nv16", "yuyv422", "uyvy422", "yvyu422"], "yuv422p"),
    **dict.fromkeys(["nv24", "nv42", "vuyx", "vyu444"], "yuv444p"),
    **dict.fromkeys(["vuya", "ayuv", "uyva"], "yuva444p"),
    "p010le": "yuv420p10le",
    "p012le": "yuv420p12le",
    "p016le": "yuv420p16le",
    **dict.fromkeys(["p210le", "nv20le", "y210le"], "yuv422p10le"),
    **dict.fromkeys(["p212le", "y212le"], "yuv422p12le"),
    **dict.fromkeys(["p216le", "y216le"], "yuv422p16le"),
    **dict.fromkeys(["p410le", "xv30le", "v30xle", "yuv444p10msble"], "yuv444p10le"),
    **dict.fromkeys(["p412le", "xv36le", "yuv444p12msble"], "yuv444p12le"),
    **dict.fromkeys(["p416le", "xv48le"], "yuv444p16le"),
    "ayuv64le": "yuva444p16le",
    **dict.fromkeys(["rgb24", "bgr24", "0rgb", "rgb0", "bgr0", "0bgr"], "gbrp"),
    **dict.fromkeys(["rgb565le", "bgr565le", "rgb555le", "bgr555le", "rgb444le", "bgr444le"], "gbrp"),
    **dict.fromkeys(["rgba", "bgra", "argb", "abgr", "pal8"], "gbrap"),
    **dict.fromkeys(["rgb48le", "bgr48le"], "gbrp16le"),
    **dict.fromkeys(["rgba64le", "bgra64le"], "gbrap16le"),
    **dict.fromkeys(["x2rgb10le", "x2bgr10le", "gbrp10msble"], "gbrp10le"),
    "gbrp12msble": "gbrp12le",
    # FFmpeg has no planar gray with alpha.
    "ya8": "gbrap",
    "ya16le": "gbrap16le",
    **dict.fromkeys(["monow", "monob"], "gray"),
}
_FLOATS = ("f16", "f32")


@cache
def planar_name(name: str) -> str:
    """The planar, little-endian format that holds the samples of `name` without loss.

    The formats "yuvj..." are their "yuv..." namesakes with full range, which `ColorTags.range` says.

    Args:
        name: FFmpeg's name of a pixel format.

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
    """Describe a planar format (`planar_name` gives one for any other).

    Args:
        name: FFmpeg's name of a planar format.

    Raises:
        InputError: the format is not planar or has no samples of 8 to 16 bits.
    """
    if planar_name(name) != name:
        raise InputError(f"the pixel format {name}", expected=f"a planar one: {planar_name(name)}")
    described = av.VideoFormat(name, 64, 64)
    components = described.components
    has_alpha = any(component.is_alpha for component in components)
    kind = "rgb" if described.is_rgb else "gray" if len(components) == 1 else "yuv"
    shift = (0, 0)
    if kind == "yuv":
        # Of 64 x 64 luma samples chroma keeps 64 >> shift.
        shift = (7 - described.chroma_width().bit_length(), 7 - described.chroma_height().bit_length())
    return PixelFormat(name, components[0].bits, shift, kind, has_alpha)


def to_planes(frame: av.VideoFrame, pixel_format: PixelFormat) -> tuple[Samples, ...]:
    """Copy the samples of a decoded frame, without the padding at the end of FFmpeg's lines.

    Args:
        frame: in any format whose `planar_name` is that of `pixel_format`.
        pixel_format: of the planes to be returned.

    Returns:
        One writable (h, w) array a plane, in the order of the format.
    """
    name = frame.format.name
    if name != pixel_format.name and not name.startswith("yuvj"):
        frame = _rearranged(frame, pixel_format.name)
    planes = []
    for i, plane in enumerate(frame.planes):
        height, width = pixel_format.plane_size(i, height=frame.height, width=frame.width)
        planes.append(_lines(plane, pixel_format, height)[:, :width].copy())
    return tuple(planes)


def from_planes(planes: Sequence[Samples], pixel_format: PixelFormat, height: int, width: int) -> av.VideoFrame:
    """Make a frame for an encoder; the opposite of `to_planes`.

    Args:
        planes: one (h, w) array a plane, as `PixelFormat.plane_size` says.
        pixel_format: of the planes and of the frame.
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Returns:
        A frame with neither a timestamp nor colour tags.
    """
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


def _rearranged(frame: av.VideoFrame, name: str) -> av.VideoFrame:
    """Let FFmpeg's scaler move the samples; equal matrix and range on both sides keep it from changing them.

    With threads of its own it now and then leaves out a row of chroma (FFmpeg 8.1, p010: 14 of 4,000 small pictures).
    """
    same = {"src_colorspace": 1, "dst_colorspace": 1, "src_color_range": 1, "dst_color_range": 1}
    return frame.reformat(format=name, threads=1, **same)


def _is_planar(name: str) -> bool:
    """Whether each component is a plane of its own of 8 to 16 bit integers."""
    try:
        described = av.VideoFormat(name, 64, 64)
    except ValueError:
        return False
    components = described.components
    if described.has_palette or described.is_bit_stream or described.is_bayer or described.is_big_endian:
        return False
    if any(kind in name for kind in _FLOATS) or "msb" in name:
        return False
    n_planes = len({component.plane for component in components})
    return 0 < n_planes == len(components) and all(8 <= component.bits <= 16 for component in components)
