"""A folder of PNG files as the output: one a frame, named by the frame's number in the source."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import OutputError
from vidfill.files.atomic import atomic_write
from vidfill.video.color import rgb_crop
from vidfill.video.frame import Box, Frame, PixelFormat, Samples, VideoInfo

_MIN_DIGITS = 5


def is_folder_output(output: Path | str) -> bool:
    """Whether an output means a folder of PNG files: it ends in a slash, has no extension, or is a folder.

    A `Path` forgets the slash at the end of a name, so that "frames.v2/" must come as text.
    """
    path = Path(output)
    has_slash = isinstance(output, str) and output.endswith(("/", os.sep))
    return has_slash or path.is_dir() or not (path.suffix or path.name.startswith("."))


def check_folder(output: Path, info: VideoInfo, *, overwrite: bool) -> list[str]:
    """Answer before the work starts whether the folder can be written.

    Returns:
        Warnings, one line each: what PNG files do not hold of the source.

    Raises:
        OutputError: the parent is missing or not writable, the folder is the source or has files in it.
    """
    if output.exists() and info.path.exists() and output.samefile(info.path):
        raise OutputError(f"the output {output} is the source", todo="give another name")
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file", expected="a folder", todo="give another name")
    if not output.absolute().parent.is_dir():
        raise OutputError(f"the folder {output.absolute().parent} does not exist", todo="create it")
    if not os.access(output.absolute().parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {output.absolute().parent} is not writable", todo="write somewhere else")
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


class ImageWriter:
    """Writes PNG files into a folder beside the final one, which it becomes on a clean exit only.

    Frames of up to 8 bits become 8-bit files, deeper ones 16-bit; alpha is kept; gray stays gray. Pictures are turned
    as a player shows them, since PNG files say nothing about turning.
    """

    def __init__(self, output: Path, info: VideoInfo, *, overwrite: bool = False) -> None:
        self._output = output
        self._info = info
        self._overwrite = overwrite
        self._complete = atomic_write(output)
        self._digits = max(_MIN_DIGITS, len(str(info.n_frames)))

    def __enter__(self) -> Self:
        """Create the temporary folder."""
        check_folder(self._output, self._info, overwrite=self._overwrite)
        self._partial = self._complete.__enter__()
        self._partial.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Rename the folder, or remove what was written."""
        self._complete.__exit__(kind, error, trace)

    def write(self, frame: Frame) -> None:
        """Write one frame as a PNG file.

        Raises:
            OutputError: the disk is full.
        """
        path = self._partial / f"{frame.index:0{self._digits}d}.png"
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
    """(H, W), (H, W, 3) BGR or (H, W, 4) BGRA, uint8 or uint16: what cv2 writes."""
    shape = info.pixel_format
    if shape.kind == "yuv":
        rgb = rgb_crop(frame, info, Box(0, 0, info.width, info.height))
        colors = [_rounded(rgb[..., channel], shape) for channel in (2, 1, 0)]
    elif shape.kind == "rgb":
        green, blue, red = (_widened(plane, shape) for plane in frame.planes[:3])
        colors = [blue, green, red]
    else:
        gray = _widened(frame.planes[0], shape)
        colors = [gray, gray, gray] if shape.has_alpha else [gray]
    if shape.has_alpha:
        colors.append(_widened(frame.planes[-1], shape))
    return colors[0] if len(colors) == 1 else np.dstack(colors)


def _rounded(values: NDArray[np.floating[Any]], shape: PixelFormat) -> NDArray[Any]:
    """[0, 1] as samples of a PNG file: 8 bits for sources of up to 8 bits, else 16."""
    top = np.iinfo(shape.dtype).max
    samples: NDArray[Any] = np.rint(np.clip(values, 0, 1) * top).astype(shape.dtype)
    return samples


def _widened(plane: Samples, shape: PixelFormat) -> NDArray[Any]:
    """Full-range samples of the source's depth at the full range of a PNG file, exact for equal depths."""
    return _rounded(plane / np.float64((1 << shape.depth) - 1), shape)
