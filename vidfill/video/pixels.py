"""Which pixel format to feed an encoder with, so that it holds every sample of the source."""

from __future__ import annotations

from dataclasses import dataclass

import av

from vidfill.errors import InputError
from vidfill.video.formats import pixel_format, planar_name
from vidfill.video.frame import PixelFormat, VideoInfo

# The encoders write 10 bits where the decoder of the same family gives 12.
_NARROWED = {"prores_ks": {"yuv444p12le": "yuv444p10le", "yuva444p12le": "yuva444p10le"}}
# They have RGB profiles, but few players show them.
_YUV_CODECS = frozenset({"h264", "hevc", "vp9", "av1"})
# Their 4:2:0 and 4:2:2 need even sizes.
_EVEN_ONLY = frozenset({"libx264", "libx265", "h264_nvenc", "hevc_nvenc"})


@dataclass(frozen=True)
class FormatMatch:
    """How well an encoder's pixel format holds the source.

    Attributes:
        pixel_format: FFmpeg's name of the encoder's input format.
        cost: 0 the same samples, 1 more bits or more chroma than needed, 2 RGB turned into YUV, 3 alpha lost.
        note: what changes, as a line for people; "" where nothing does.
        converts_rgb: whether RGB becomes YUV.
    """

    pixel_format: str
    cost: int = 0
    note: str = ""
    converts_rgb: bool = False


def match_format(encoder: str, info: VideoInfo) -> FormatMatch | None:
    """The best format of an encoder (by FFmpeg's name) for a source; None where none holds its samples."""
    source, codec = info.pixel_format, av.Codec(encoder, "w")
    yuv_only = codec.canonical_name in _YUV_CODECS - {info.codec}
    offered = [f.name for f in codec.video_formats or []] or [source.name]
    offered = [
        name for name in offered if _size_fits(encoder, name, info) and not (yuv_only and av.VideoFormat(name).is_rgb)
    ]
    match = _match(encoder, source, offered)
    if match is None and source.kind == "rgb":
        match = _rgb_as_yuv(encoder, source, offered)
    if match is None and source.has_alpha:
        match = _match(encoder, pixel_format(source.name.replace("yuva", "yuv")), offered)
        if match is not None:
            name = match.pixel_format
            return FormatMatch(name, 3, f"{encoder} has no alpha: it is dropped, {name} is left")
    return match


def _match(encoder: str, source: PixelFormat, offered: list[str]) -> FormatMatch | None:
    """The format of those offered that holds the samples, if possible the same one."""
    same = [name for name in offered if name == source.name] or [n for n in offered if _planar(n) == source]
    if same:
        return FormatMatch(same[0])
    wider = [(shape, name) for name in offered if (shape := _planar(name)) is not None and _holds(shape, source)]
    if wider:
        name = min(wider, key=lambda pair: (pair[0].depth, -sum(pair[0].chroma_shift), pair[0].has_alpha))[1]
        note = f"{encoder} does not take {source.name} here: every sample is kept in the wider {name}"
        return FormatMatch(name, 1, note)
    narrowed = _NARROWED.get(encoder, {}).get(source.name)
    if narrowed is None:
        return None
    return FormatMatch(narrowed, 0, f"{encoder} writes 10 bits: {source.name} is rounded to {narrowed}")


def _rgb_as_yuv(encoder: str, source: PixelFormat, offered: list[str]) -> FormatMatch | None:
    """RGB (a folder of PNG files, a screen recording) for an encoder that only takes YUV."""
    wanted = ["yuv420p10le", "yuv444p10le", "yuv420p", "yuv444p"]
    if source.depth <= 8:
        wanted = ["yuv420p", "yuv444p", "yuv422p", "yuv444p10le", "yuv422p10le"]
    if encoder.startswith("prores"):
        wanted = ["yuva444p10le" if source.has_alpha else "yuv444p10le"]
    elif source.has_alpha:
        wanted = ["yuva420p", *wanted]
    name = next((name for name in wanted if name in offered), None)
    if name is None:
        return None
    lost = " and alpha is dropped" if source.has_alpha and "yuva" not in name else ""
    note = f"{encoder} does not take RGB: the picture becomes {name}{lost}; --codec ffv1 in .mkv keeps the samples"
    return FormatMatch(name, 2, note, converts_rgb=True)


def _size_fits(encoder: str, name: str, info: VideoInfo) -> bool:
    shape = _planar(name)
    if shape is None or encoder not in _EVEN_ONLY:
        return True
    shift_x, shift_y = shape.chroma_shift
    return info.width % (1 << shift_x) == 0 and info.height % (1 << shift_y) == 0


def _holds(wide: PixelFormat, source: PixelFormat) -> bool:
    """Whether one format holds every sample of another of the same kind."""
    return (
        wide.kind == source.kind
        and wide.depth >= source.depth
        and all(w <= s for w, s in zip(wide.chroma_shift, source.chroma_shift, strict=True))
        and (wide.has_alpha or not source.has_alpha)
    )


def _planar(name: str) -> PixelFormat | None:
    """The planar equivalent of an encoder's format; None for palettes, hardware surfaces and floats."""
    try:
        planar = pixel_format(planar_name(name))
    except InputError:
        return None
    stored = av.VideoFormat(name)
    is_whole = not stored.has_palette and all(component.bits >= planar.depth for component in stored.components)
    return planar if is_whole else None
