"""One mask image: which of its pixels are the hole, and how it is fitted to the source's picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import MaskError
from vidfill.video.frame import Bool, VideoInfo
from vidfill.video.read_images import SUFFIXES, natural_key

THRESHOLD = 127
"""A pixel is hole if its luma, on a scale of 0 to 255, is above this; JPEG noise is not."""

IMAGE_SUFFIXES = frozenset({*SUFFIXES, ".pgm", ".ppm", ".pbm"})

_LOSSY = frozenset({".jpg", ".jpeg", ".webp"})
_LUMA = np.array([0.114, 0.587, 0.299], np.float32)  # of B, G, R as OpenCV orders them (BT.601)
_PNG_PALETTE = 3  # colour type, byte 25 of a PNG file
_ASPECT_TOLERANCE_PX = 1.0


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in natural order (`2.png` before `10.png`), without hidden and other files."""
    found = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    return sorted(found, key=lambda path: (natural_key(path), path.name))


def read_mask(path: Path, *, note: Callable[[str], None]) -> Bool:
    """Read one mask image.

    The luma of gray and colour images of 1, 8 or 16 bits is compared with `THRESHOLD`; transparent pixels count as
    black. Two kinds of label image are supported: where the maximum of a lossless image is 1, 1 is hole; in a PNG with
    a palette every index but 0 is hole (dark red is an object in DAVIS), unless all its colours are gray and one of
    them bright: a plain mask saved with a palette.

    Args:
        path: the file.
        note: called with a line of text when the image is taken for a label image.

    Returns:
        (H, W) of the image's own size.

    Raises:
        MaskError: naming the file, if it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MaskError(f"the mask {path} cannot be read ({error.strerror})") from error
    if data[:4] == b"\x89PNG" and len(data) > 25 and data[25] == _PNG_PALETTE:
        return _read_palette(path)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if pixels is None:
        raise _unreadable(path)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise MaskError(f"samples of type {pixels.dtype} in the mask {path}", expected="8 or 16 bits a sample")
    color = pixels[..., :3] if pixels.ndim == 3 else pixels
    if path.suffix.lower() not in _LOSSY and int(color.max(initial=0)) == 1:
        note("the masks hold only 0 and 1: 1 is taken as the hole")
        return np.asarray(color.any(axis=2) if color.ndim == 3 else color == 1)
    return _is_bright(pixels)


def _is_bright(pixels: NDArray[Any]) -> Bool:
    """Whether luma times opacity is above the threshold; (H, W), (H, W, 3) BGR or (H, W, 4) BGRA."""
    full = float(np.iinfo(pixels.dtype).max)
    limit = THRESHOLD / 255 * full
    if pixels.ndim == 2:
        return np.asarray(pixels > limit)
    luma = pixels[..., :3].astype(np.float32) @ _LUMA
    if pixels.shape[2] == 4:
        luma *= pixels[..., 3].astype(np.float32) / full
    return np.asarray(luma > limit + 1e-3 * full / 255)  # the tolerance keeps a gray of exactly 127 below


def _read_palette(path: Path) -> Bool:
    """The hole of a PNG with a palette, read by FFmpeg, since OpenCV would turn its indices into colours."""
    try:
        with av.open(str(path)) as container:
            indices, palette = next(container.decode(video=0)).to_ndarray()
    except (av.error.FFmpegError, ValueError, OSError, StopIteration) as error:
        raise _unreadable(path) from error
    colors = palette[np.flatnonzero(np.bincount(indices.ravel(), minlength=256)), 1:]  # ARGB without the A
    if (colors == colors[:, :1]).all() and colors.max() > THRESHOLD:
        return np.asarray(palette[:, 1][indices] > THRESHOLD)
    return np.asarray(indices != 0)


def _unreadable(path: Path) -> MaskError:
    return MaskError(
        f"the mask {path} cannot be read as an image",
        expected="PNG, JPEG, BMP, TIFF, WebP or PNM",
        todo="replace the file; it may be cut short",
    )


class Fit:
    """Brings masks of any size to the size and orientation of one source.

    Masks are drawn on the picture as a player shows it. A mask of the coded size of a turned video is accepted as well,
    and so is any size of the same aspect (to about a pixel of the smaller of the two, also that of non-square pixels as
    displayed), which is scaled with a note.

    Args:
        info: the source.
        note: called with a line of text when masks are scaled.
    """

    def __init__(self, info: VideoInfo, *, note: Callable[[str], None]) -> None:
        self._info, self._note = info, note
        self._shown = info.display_size
        height, width = info.height, round(info.width * info.sample_aspect)
        self._square = (width, height) if info.orientation.quarter_turns % 2 else (height, width)

    def to_coded(self, mask: Bool, name: object) -> Bool:
        """A mask at the size and orientation of the coded picture.

        Args:
            mask: (h, w) of any size.
            name: its name in messages, usually its path.

        Raises:
            MaskError: if its aspect is not that of the picture.
        """
        size = (mask.shape[0], mask.shape[1])
        coded = (self._info.height, self._info.width)
        if size == coded != self._shown:
            return mask
        if size == self._shown or _same_aspect(size, self._shown) or _same_aspect(size, self._square):
            shown = mask if size == self._shown else self._scale(mask, self._shown)
            return self._info.orientation.to_coded(shown).astype(np.bool_, copy=False)
        if _same_aspect(size, coded):
            return self._scale(mask, coded)
        raise MaskError(
            f"the mask {name} is {size[1]}x{size[0]}",
            expected=f"{self._shown[1]}x{self._shown[0]} or the same aspect",
            todo="draw the mask on a frame of this very video, without cropping",
        )

    def _scale(self, mask: Bool, size: tuple[int, int]) -> Bool:
        """Resize; a pixel is hole if any part of it is when shrinking, if half of it is when enlarging."""
        shrinking = size[0] < mask.shape[0]
        self._note(
            f"the masks are {mask.shape[1]}x{mask.shape[0]}, scaled to the picture's {size[1]}x{size[0]}"
            + ("" if shrinking else "; draw them at full size for exact edges")
        )
        interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
        coverage = cv2.resize(mask.astype(np.float32), (size[1], size[0]), interpolation=interpolation)
        return np.asarray(coverage > (1e-6 if shrinking else 0.5 - 1e-6))


def _same_aspect(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two (height, width) agree up to the rounding of the smaller one to whole pixels."""
    small, large = (a, b) if a[0] <= b[0] else (b, a)
    by_height = abs(large[1] * (small[0] / large[0]) - small[1])
    by_width = abs(large[0] * small[1] / large[1] - small[0])
    return min(by_height, by_width) <= _ASPECT_TOLERANCE_PX
