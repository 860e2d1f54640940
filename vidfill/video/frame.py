"""Plain data that the stages hand to one another: boxes, pixel formats, frames, patches, what a video is."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]
Float = NDArray[np.float32]
Rgb = NDArray[np.uint8]
Samples = NDArray[np.uint8] | NDArray[np.uint16]


class Box(NamedTuple):
    """A half-open rectangle of pixels: x0 <= x < x1, y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def height(self) -> int:
        """Rows covered, in pixels."""
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        """Columns covered, in pixels."""
        return self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """`array[box.slices]` is the part of an (H, W, ...) array inside the box."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1))

    def grow(self, margin_px: int, *, height: int, width: int) -> Box:
        """The box grown by `margin_px` on each side and clipped to a (height, width) picture."""
        return Box(
            max(0, self.x0 - margin_px),
            max(0, self.y0 - margin_px),
            min(width, self.x1 + margin_px),
            min(height, self.y1 + margin_px),
        )

    @classmethod
    def around(cls, mask: Bool) -> Self | None:
        """The tight box of the true pixels of a (H, W) mask; None where there are none."""
        rows = np.flatnonzero(mask.any(axis=1))
        if rows.size == 0:
            return None
        columns = np.flatnonzero(mask.any(axis=0))
        return cls(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the samples of a planar picture lie in memory.

    Attributes:
        name: FFmpeg's name, always a planar format ("yuv420p10le", "gbrp", "gray", "yuva444p12le").
        depth: bits a sample; samples are uint8 up to 8 bits, little-endian uint16 above.
        chroma_shift: log2 of the horizontal and of the vertical chroma subsampling, (1, 1) for 4:2:0.
        kind: "yuv", "rgb" (planes in the order G, B, R) or "gray".
        has_alpha: whether a last plane of full size holds alpha.
    """

    name: str
    depth: int
    chroma_shift: tuple[int, int]
    kind: str
    has_alpha: bool

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """The numpy type of one sample."""
        return np.uint8 if self.depth <= 8 else np.uint16

    @property
    def n_color_planes(self) -> int:
        """Planes without alpha: 1 for gray, else 3."""
        return 1 if self.kind == "gray" else 3

    def plane_size(self, plane: int, *, height: int, width: int) -> tuple[int, int]:
        """(height, width) of one plane of a (height, width) picture; chroma sizes round up."""
        if self.kind == "yuv" and plane in (1, 2):
            return -(-height >> self.chroma_shift[1]), -(-width >> self.chroma_shift[0])
        return height, width


@dataclass(frozen=True, slots=True)
class ColorTags:
    """Colour as the file states it: FFmpeg's numbers, kept as they are; 2 (range: 0) means "not stated".

    Attributes:
        matrix: AVColorSpace (1 = BT.709, 5 and 6 = BT.601, 9 = BT.2020, 0 = RGB).
        primaries: AVColorPrimaries.
        transfer: AVColorTransferCharacteristic (16 = PQ, 18 = HLG).
        range: AVColorRange (1 = limited, 2 = full).
    """

    matrix: int = 2
    primaries: int = 2
    transfer: int = 2
    range: int = 0


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a player turns the coded picture before it shows it.

    Attributes:
        matrix: the nine integers of the display matrix, exactly as in the file; empty where there is none.
        quarter_turns: counter-clockwise quarter turns, `numpy.rot90(coded, quarter_turns)`, applied after mirroring.
        mirrored: whether the coded picture is mirrored left to right first.
    """

    matrix: tuple[int, ...] = ()
    quarter_turns: int = 0
    mirrored: bool = False

    def to_display(self, coded: NDArray[np.generic]) -> NDArray[np.generic]:
        """An (H, W, ...) array in coded orientation, as the player shows it."""
        turned = coded[:, ::-1] if self.mirrored else coded
        return np.ascontiguousarray(np.rot90(turned, self.quarter_turns))

    def to_coded(self, shown: NDArray[np.generic]) -> NDArray[np.generic]:
        """The inverse of `to_display`."""
        turned = np.rot90(shown, -self.quarter_turns)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirrored else turned)


@dataclass(frozen=True, slots=True)
class HdrMetadata:
    """HDR10 static metadata (SMPTE ST 2086 and CTA-861.3).

    Attributes:
        mastering: ten rationals: x and y of red, green, blue and white point (CIE 1931), then minimum and
            maximum luminance in cd/m^2; empty where the file has none.
        max_content_light: MaxCLL in cd/m^2, 0 where unknown.
        max_average_light: MaxFALL in cd/m^2, 0 where unknown.
    """

    mastering: tuple[Fraction, ...] = ()
    max_content_light: int = 0
    max_average_light: int = 0


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream of the source beside the picture: `kind` is audio, subtitle, data, attachment or video."""

    index: int
    kind: str
    codec: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a source is, before a single frame of it is filled.

    Sizes are those of the coded picture, before the player turns it (see `orientation`).

    Attributes:
        path: the file, or the folder of images.
        is_folder: whether the source is a folder of images.
        container: FFmpeg's format name ("mov,mp4,m4a,3gp,3g2,mj2"); "images" for a folder.
        codec: FFmpeg's name of the video codec ("h264"); the image format's for a folder.
        profile: the codec's profile, "" where it states none.
        height, width: of the coded picture, in pixels.
        pixel_format: of the frames that the reader gives out (packed formats are given out as planar ones).
        color: the colour tags of the file.
        time_base: seconds of one tick of `Frame.pts`.
        rate: average frames a second; for a folder what the user stated.
        n_frames: as the container states it, 0 where it does not; only a decode knows for sure.
        duration_s: as the container states it, 0.0 where it does not.
        start_pts: `Frame.pts` of the first frame; None where damage leaves that to a decode.
        sample_aspect: width over height of one pixel, 1 where not stated.
        orientation: how a player turns the picture.
        hdr: HDR10 static metadata, None where there is none.
        interlaced: whether the stream says that frames are two fields.
        bottom_field_first: of two fields, whether the one with the second row is shown first.
        streams: the other streams, in the order of the file.
        stream_index: index of the picture's own stream in the file.
        warnings: one line each for what cannot be kept or handled (Dolby Vision, HDR10+, interlacing).
    """

    path: Path
    is_folder: bool
    container: str
    codec: str
    height: int
    width: int
    pixel_format: PixelFormat
    time_base: Fraction
    rate: Fraction
    profile: str = ""
    color: ColorTags = ColorTags()
    n_frames: int = 0
    duration_s: float = 0.0
    start_pts: int | None = None
    sample_aspect: Fraction = Fraction(1)
    orientation: Orientation = Orientation()
    hdr: HdrMetadata | None = None
    interlaced: bool = False
    bottom_field_first: bool = False
    streams: tuple[StreamInfo, ...] = ()
    stream_index: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def display_size(self) -> tuple[int, int]:
        """(height, width) as a player shows it, apart from the sample aspect."""
        if self.orientation.quarter_turns % 2:
            return self.width, self.height
        return self.height, self.width


@dataclass(slots=True)
class Frame:
    """One decoded picture in its own samples.

    Attributes:
        index: position in the source, from 0, held frames counted.
        pts: presentation time in ticks of `time_base`.
        time_base: seconds a tick.
        planes: one (h, w) array a plane, uint8 or uint16, writable, in the order of the pixel format
            (Y U V [A], G B R [A], or Y); sizes as `PixelFormat.plane_size` says.
        held: whether this is a repeat of the last good frame in the place of a damaged one.
    """

    index: int
    pts: int
    time_base: Fraction
    planes: tuple[Samples, ...]
    held: bool = False

    @property
    def time_s(self) -> Fraction:
        """Presentation time in seconds, exact."""
        return self.pts * self.time_base


@dataclass(frozen=True, slots=True)
class Patch:
    """The fill of one frame, ready to be put into the picture.

    Attributes:
        index: the frame's position in the source.
        pts: the frame's presentation time, in ticks of the source's time base.
        box: where the patch lies in the coded picture.
        rgb: (box.height, box.width, 3) uint16, 0 to 65535 for [0, 1]; full range, in the source's own transfer curve.
        alpha: (box.height, box.width) uint8, 255 inside the dilated mask, falling to 0 over the feather band;
            where it is 0 the picture is not touched.
        invented: ratio of what is covered, weighted by `alpha`, that shows what no frame shows; None if the model does
            not say.
    """

    index: int
    pts: int
    box: Box
    rgb: NDArray[np.uint16] = field(repr=False)
    alpha: NDArray[np.uint8] = field(repr=False)
    invented: float | None = None


class Remembered(NamedTuple):
    """A picture that a model takes along from one segment to the next.

    Attributes:
        picture: (H, W, 3) uint8 RGB.
        scale: (vertical, horizontal), its size relative to the working size; in a `vidfill.engine.fill.SceneMemory`, to
            the source's own.
    """

    picture: NDArray[np.uint8]
    scale: tuple[float, float]
