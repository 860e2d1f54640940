"""Reads a folder of images as a source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import InputError, UsageError
from vidfill.video.formats import pixel_format
from vidfill.video.frame import ColorTags, Frame, Samples, VideoInfo

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
_DEFAULT_FPS = Fraction(25)
_SRGB = ColorTags(matrix=0, primaries=1, transfer=13, range=2)
_GRAY = ColorTags(primaries=1, transfer=13, range=2)


def natural_key(path: Path) -> tuple[tuple[int, int | str], ...]:
    """A sort key that puts frame2 before frame10 and ignores case."""
    parts = re.split(r"(\d+)", path.stem.casefold())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def image_paths(folder: Path) -> list[Path]:
    """The images in a folder, in natural order; hidden files and other kinds are left out."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted((path for path in found if path.is_file()), key=lambda path: (natural_key(path), path.name))


class ImageFolder:
    """A folder of images of one size and kind as frames at a constant rate.

    Colour images become gbrp, those with alpha gbrap, gray ones gray; 16-bit images keep their depth. Rotation by Exif
    is ignored.

    Args:
        folder: the folder.
        fps: frames per second, 25 if not given.

    Raises:
        InputError: no images, or the first of them cannot be read.
        UsageError: `fps` is not above 0.
    """

    def __init__(self, folder: Path, *, fps: Fraction | None = None) -> None:
        rate = _DEFAULT_FPS if fps is None else Fraction(fps)
        if rate <= 0:
            raise UsageError(f"a frame rate of {rate}", expected="one above 0", todo="give --fps 25 or the like")
        self._paths = image_paths(folder)
        if not self._paths:
            raise InputError(
                f"the folder {folder} holds no images", expected="files named " + ", ".join(f"*{s}" for s in SUFFIXES)
            )
        first = read_image(self._paths[0])
        n = len(self._paths)
        kind = pixel_format(_format_name(first))
        self.info = VideoInfo(
            path=folder,
            is_folder=True,
            container="images",
            codec={"jpg": "jpeg", "tif": "tiff"}.get(suffix := self._paths[0].suffix.lower()[1:], suffix),
            height=first.shape[0],
            width=first.shape[1],
            pixel_format=kind,
            color=_GRAY if kind.kind == "gray" else _SRGB,
            time_base=1 / rate,
            rate=rate,
            n_frames=n,
            duration_s=float(n / rate),
            start_pts=0,
        )

    def frames(self, *, start_pts: int | None = None, start_index: int = 0) -> Iterator[Frame]:
        """The images from number `start_pts` on; see `Reader.frames`."""
        first = max(0, start_pts or 0)
        for pts, path in enumerate(self._paths[first:], first):
            image = read_image(path)
            self._check_same(image, path)
            yield Frame(start_index + pts - first, pts, self.info.time_base, _planes(image))

    def _check_same(self, image: NDArray[Any], path: Path) -> None:
        info = self.info
        name = _format_name(image)
        if (*image.shape[:2], name) != (info.height, info.width, info.pixel_format.name):
            raise InputError(
                f"{path} is {image.shape[1]}x{image.shape[0]} {name}",
                expected=f"{info.width}x{info.height} {info.pixel_format.name} as {self._paths[0].name}",
                todo="give all images one size and kind",
            )


def read_image(path: Path) -> NDArray[Any]:
    """An image as OpenCV reads it: (H, W) or (H, W, 3) BGR or (H, W, 4) BGRA, uint8 or uint16.

    Raises:
        InputError: it cannot be read or has samples of another type.
    """
    try:
        data = np.fromfile(path, np.uint8)  # OpenCV opens no names outside the locale's encoding on some systems
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", todo="check its permissions") from error
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    if image is None:
        raise InputError(f"{path} is not an image that can be read", todo="check that it was copied whole")
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path} has samples of type {image.dtype}", expected="8 or 16 bits", todo="convert it to PNG")
    return image


def _format_name(image: NDArray[Any]) -> str:
    n_channels = 1 if image.ndim == 2 else image.shape[2]
    name = {1: "gray", 3: "gbrp", 4: "gbrap"}[n_channels]
    return f"{name}16le" if image.dtype == np.uint16 else name


def _planes(image: NDArray[Any]) -> tuple[Samples, ...]:
    if image.ndim == 2:
        return (image,)
    order = (1, 0, 2, 3)[: image.shape[2]]  # B, G, R, A in the file; G, B, R, A in the planes
    return tuple(np.ascontiguousarray(image[..., channel]) for channel in order)
