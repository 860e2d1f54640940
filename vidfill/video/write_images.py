"""A folder of PNG files as the output: one a frame, named by the frame's number in the source."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import OutputError
from vidfill.files.atomic import atomic_write
from vidfill.video.color import rgb_crop
from vidfill.video.frame import Box, Frame, VideoInfo

_MIN_DIGITS = 5


def is_folder_output(output: Path | str) -> bool:
    """Whether an output is a folder of PNG files: it ends in a slash, has no extension, or is a folder.

    A `Path` drops the slash at the end of a name, so "frames.v2/" must be a str.
    """
    path = Path(output)
    has_slash = isinstance(output, str) and output.endswith(("/", os.sep))
    return has_slash or path.is_dir() or not (path.suffix or path.name.startswith("."))


def check_parent(output: Path, info: VideoInfo) -> None:
    """Check that an output is not the source and that its folder can be written.

    Raises:
        OutputError: it is, or the folder is missing or not writable.
    """
    if output.exists() and info.path.exists() and output.samefile(info.path):
        raise OutputError(f"the output {output} is the source", todo="give another name")
    if not output.parent.is_dir():
        raise OutputError(f"the folder {output.parent} does not exist", todo="create it, or write somewhere else")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {output.parent} is not writable", todo="write somewhere else")


def check_folder(output: Path, info: VideoInfo, *, overwrite: bool) -> list[str]:
    """Check before the work starts whether a folder of PNG files can be written.

    Returns:
        Warnings, one line each: what PNG files do not keep of the source.

    Raises:
        OutputError: the parent is missing or not writable, the folder is the source or has files in it.
    """
    check_parent(output, info)
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file", expected="a folder", todo="give another name")
    inside = list(output.iterdir()) if output.is_dir() else []
    if inside and not overwrite:
        raise OutputError(f"the folder {output} is not empty", todo="give -y to replace it, or another name")
    if strange := next((path.name for path in inside if path.suffix.lower() != ".png"), ""):
        raise OutputError(
            f"the folder {output} holds {strange}",
            expected="nothing but PNG files to replace",
            todo="give another name",
        )
    warnings = []
    others = [stream for stream in info.streams if stream.kind != "data"]
    if others:
        names = ", ".join(f"{s.kind} stream {s.index} ({s.codec})" for s in others)
        warnings.append(f"a folder of PNG files holds pictures only: dropped are {names}")
    if not info.is_folder and info.pixel_format.kind == "yuv":
        depth = 8 if info.pixel_format.depth <= 8 else 16
        warnings.append(f"PNG files hold RGB: {info.pixel_format.name} is converted to {depth} bits a channel")
    return warnings


@contextmanager
def open_folder(output: Path, info: VideoInfo, *, overwrite: bool = False) -> Iterator[ImageWriter]:
    """Open a folder for PNG files, which gets its final name on a clean exit only.

    Raises:
        OutputError: see `check_folder`.
    """
    check_folder(output, info, overwrite=overwrite)
    with atomic_write(output) as partial:
        partial.mkdir()
        yield ImageWriter(partial, info)


class ImageWriter:
    """Writes the frames of a source as PNG files into a folder.

    Frames of up to 8 bits become 8-bit files, deeper ones 16-bit; alpha is kept; gray stays gray. Pictures are turned
    as a player shows them, since PNG files hold no rotation.
    """

    def __init__(self, folder: Path, info: VideoInfo) -> None:
        self._folder, self._info = folder, info
        self._n_digits = max(_MIN_DIGITS, len(str(info.n_frames)))

    def write(self, frame: Frame) -> None:
        """Write one frame as a PNG file.

        Raises:
            OutputError: the disk is full.
        """
        path = self._folder / f"{frame.index:0{self._n_digits}d}.png"
        shown: Any = self._info.orientation.to_display(_picture(frame, self._info))
        encoded, data = cv2.imencode(".png", shown)
        try:
            if not encoded:
                raise OSError(errno.EINVAL, "OpenCV cannot encode the picture")
            path.write_bytes(data.tobytes())
        except OSError as error:
            raise OutputError(
                f"{path.name} cannot be written ({error.strerror})", todo="free some space, or write somewhere else"
            ) from error


def _picture(frame: Frame, info: VideoInfo) -> NDArray[Any]:
    """(H, W), (H, W, 3) BGR or (H, W, 4) BGRA, uint8 or uint16, as cv2 writes it."""
    shape = info.pixel_format
    top, full = np.float64((1 << shape.depth) - 1), np.iinfo(shape.dtype).max
    channels: list[NDArray[Any]]  # in [0, 1]
    if shape.kind == "yuv":
        channels = list(np.moveaxis(rgb_crop(frame, info, Box(0, 0, info.width, info.height)), 2, 0)[::-1])
    elif shape.kind == "rgb":
        green, blue, red = (plane / top for plane in frame.planes[:3])
        channels = [blue, green, red]
    else:
        channels = [frame.planes[0] / top] * (3 if shape.has_alpha else 1)
    if shape.has_alpha:
        channels.append(frame.planes[-1] / top)
    samples = [np.rint(np.clip(channel, 0, 1) * full).astype(shape.dtype) for channel in channels]
    return samples[0] if len(samples) == 1 else np.dstack(samples)
