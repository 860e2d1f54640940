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
        """Rows."""
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        """Columns."""
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
    """How the samples of a planar picture lie in memory."""

    name: str  # FFmpeg's, always of a planar format: "yuv420p10le", "gbrp", "gray", "yuva444p12le"
    depth: int  # bits of a sample; samples are uint8 up to 8 bits, little-endian uint16 above
    chroma_shift: tuple[int, int]  # log2 of the horizontal and the vertical subsampling of chroma, (1, 1) for 4:2:0
    kind: str  # "yuv", "rgb" (planes in the order G, B, R) or "gray"
    has_alpha: bool  # in a last plane of full size

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
    """Colour as the file states it, in FFmpeg's numbers; 2 (range: 0) means "not stated"."""

    matrix: int = 2  # AVColorSpace: 1 is BT.709, 5 and 6 are BT.601, 9 is BT.2020, 0 is RGB
    primaries: int = 2  # AVColorPrimaries
    transfer: int = 2  # AVColorTransferCharacteristic: 16 is PQ, 18 is HLG
    range: int = 0  # AVColorRange: 1 is limited, 2 is full


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a player turns the coded picture before it shows it."""

    matrix: tuple[int, ...] = ()  # the nine integers of the display matrix as in the file; empty where there is none
    quarter_turns: int = 0  # counter-clockwise, as of `numpy.rot90`, after mirroring
    mirrored: bool = False  # left to right

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
    """HDR10 static metadata (SMPTE ST 2086 and CTA-861.3)."""

    # x and y of red, green, blue and white point (CIE 1931), minimum and maximum luminance in cd/m^2; or empty.
    mastering: tuple[Fraction, ...] = ()
    max_content_light: int = 0  # MaxCLL in cd/m^2, 0 where unknown
    max_average_light: int = 0  # MaxFALL in cd/m^2, 0 where unknown


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream of the source beside the picture."""

    index: int
    kind: str  # audio, subtitle, data, attachment or video
    codec: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a source is. Sizes are those of the coded picture, before the player turns it."""

    path: Path  # the file, or the folder of images
    is_folder: bool
    container: str  # FFmpeg's format name ("mov,mp4,m4a,3gp,3g2,mj2"); "images" for a folder
    codec: str  # FFmpeg's name ("h264"); the image format's for a folder
    height: int
    width: int
    pixel_format: PixelFormat  # of the frames that the reader yields, which are planar
    time_base: Fraction  # seconds of one tick of `Frame.pts`
    rate: Fraction  # average frames per second; for a folder what the user stated
    profile: str = ""  # of the codec, "" where it states none
    color: ColorTags = ColorTags()
    n_frames: int = 0  # as the container states it, 0 where it does not; only a decode knows for sure
    duration_s: float = 0.0  # as the container states it, 0.0 where it does not
    start_pts: int | None = None  # `Frame.pts` of the first frame; None where damage leaves that to a decode
    sample_aspect: Fraction = Fraction(1)  # width over height of one pixel
    orientation: Orientation = Orientation()
    hdr: HdrMetadata | None = None
    interlaced: bool = False
    bottom_field_first: bool = False
    streams: tuple[StreamInfo, ...] = ()  # the others, in the order of the file
    stream_index: int = 0  # of the picture's own stream in the file
    warnings: tuple[str, ...] = ()  # what cannot be kept or handled (Dolby Vision, HDR10+, interlacing), a line each

    @property
    def display_size(self) -> tuple[int, int]:
        """(height, width) as a player shows it, apart from the sample aspect."""
        if self.orientation.quarter_turns % 2:
            return self.width, self.height
        return self.height, self.width


@dataclass(slots=True)
class Frame:
    """One decoded picture."""

    index: int  # position in the source, from 0
    pts: int  # presentation time in ticks
    time_base: Fraction  # seconds of one tick
    # One writable (h, w) array for each plane, uint8 or uint16, in the order of the pixel format (Y U V [A], G B R [A],
    # or Y); sizes as `PixelFormat.plane_size` says. Empty where only the time is known.
    planes: tuple[Samples, ...]
    held: bool = False  # whether it repeats the last good frame in the place of a damaged one

    @property
    def time_s(self) -> Fraction:
        """Presentation time in seconds, exact."""
        return self.pts * self.time_base


@dataclass(frozen=True, slots=True)
class Patch:
    """The fill of one frame, ready to be put into the picture."""

    index: int  # the frame's position in the source
    pts: int  # the frame's presentation time, in ticks of the source's time base
    box: Box  # where the patch lies in the coded picture
    # (box.height, box.width, 3), 0 to 65535 for [0, 1]; full range, in the source's own transfer curve.
    rgb: NDArray[np.uint16] = field(repr=False)
    # (box.height, box.width), 255 inside the dilated mask, falling to 0 over the feather band.
    alpha: NDArray[np.uint8] = field(repr=False)
    # Ratio, weighted by `alpha`, of what is covered that shows what no frame shows; None if the model does not say.
    invented: float | None = None


class Remembered(NamedTuple):
    """A picture that a model takes along from one segment to the next."""

    picture: NDArray[np.uint8]  # (H, W, 3) RGB
    # (vertical, horizontal) size relative to the working size; in a `vidfill.engine.fill.SceneMemory`, to the source.
    scale: tuple[float, float]
