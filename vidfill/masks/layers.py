"""Where masks come from: an image, a folder, a video, the source's own alpha; read one at a time, never all."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from vidfill.errors import InputError, MaskError
from vidfill.masks.images import THRESHOLD, Fit, read_mask
from vidfill.video.frame import Bool, Float, Frame, PixelFormat, Samples, VideoInfo
from vidfill.video.read import Reader

_FULL_RANGE = 2  # AVColorRange


MaskAt = Callable[[Frame], Bool | None]
"""The mask of a frame, (H, W) as coded, None past the last one; to be called with increasing `Frame.index`."""


class Layer(Protocol):
    """Gives one mask per frame."""

    def open(self) -> AbstractContextManager[MaskAt]:
        """Start an independent pass."""
        ...

    def count(self) -> int | None:
        """How many masks there are; None if there is one for any frame."""
        ...


class StillLayer:
    """One (H, W) mask, as coded, for all frames."""

    def __init__(self, mask: Bool) -> None:
        self._mask = mask
        self._mask.setflags(write=False)

    def open(self) -> AbstractContextManager[MaskAt]:
        """Gives the same array for every frame."""
        return nullcontext(lambda frame: self._mask)

    def count(self) -> int | None:
        """None: it serves any number of frames."""
        return None


class FolderLayer:
    """One image per frame, in the order of the source's frames; `note` gets warnings for the user."""

    def __init__(self, paths: Sequence[Path], fit: Fit, *, note: Callable[[str], None]) -> None:
        self._paths = tuple(paths)
        self._fit = fit
        self._note = note

    def open(self) -> AbstractContextManager[MaskAt]:
        """Reads each image when its frame is asked for."""
        return nullcontext(self._at)

    def count(self) -> int | None:
        """The number of images."""
        return len(self._paths)

    def _at(self, frame: Frame) -> Bool | None:
        if frame.index >= len(self._paths):
            return None
        path = self._paths[frame.index]
        return self._fit.to_coded(read_mask(path, note=self._note), path)


class AlphaLayer:
    """The source's own alpha: what is less than half opaque is hole. MaskError if the source has none."""

    def __init__(self, info: VideoInfo) -> None:
        if not info.pixel_format.has_alpha:
            raise MaskError(
                f"no alpha channel in {info.path} ({info.pixel_format.name})",
                expected="a source with alpha, such as ProRes 4444 or PNG",
                todo="give the masks as a folder, an image or a video",
            )
        self._half = 1 << (info.pixel_format.depth - 1)

    def open(self) -> AbstractContextManager[MaskAt]:
        """Looks at the alpha plane of each frame."""
        return nullcontext(lambda frame: np.asarray(frame.planes[-1] < self._half))

    def count(self) -> int | None:
        """None: every frame has its own."""
        return None


class VideoLayer:
    """A video whose frames are the masks, matched to the source's by position; `note` gets warnings for the user.

    The presentation times of its frames are kept (8 bytes each), so that a later pass can start in the middle.

    Raises:
        MaskError: if it cannot be read as a video.
    """

    def __init__(self, path: Path, fit: Fit, *, note: Callable[[str], None]) -> None:
        self._path = path
        self._fit = fit
        self._note = note
        self._pts = array("q")
        self._n: int | None = None
        with self._reader() as reader:
            self._info = reader.info

    @contextmanager
    def open(self) -> Iterator[MaskAt]:
        """Decodes forward as frames are asked for, from near the first one that is."""
        with self._reader() as reader:
            yield _VideoCursor(partial(self._frames, reader), self._mask).at

    def count(self) -> int | None:
        """The number of frames, by decoding what no one has decoded yet."""
        if self._n is None:
            with self._reader() as reader:
                for _ in self._frames(reader, from_index=len(self._pts)):
                    pass
        return self._n

    def _reader(self) -> Reader:
        try:
            return Reader(self._path)
        except InputError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: InputError) -> MaskError:
        return MaskError(
            f"the mask {self._path} cannot be read as a video ({error.found})",
            expected="a folder of images, one image, or a video",
        )

    def _frames(self, reader: Reader, *, from_index: int) -> Iterator[Frame]:
        """The frames from `from_index` or earlier; keeps their times and, at the end, the count."""
        known = max(0, min(from_index, len(self._pts) - 1))
        start_pts = self._pts[known] if known else None
        n = known
        try:
            for frame in reader.frames(start_pts=start_pts, start_index=known):
                n = frame.index + 1
                if frame.index == len(self._pts):
                    self._pts.append(frame.pts)
                yield frame
        except InputError as error:
            raise self._unreadable(error) from error
        self._n = n
        if reader.damage.n_held:
            self._note(f"the mask {self._path} is damaged: {reader.damage.n_held} of its frames repeat the one before")

    def _mask(self, frame: Frame) -> Bool:
        full_range = self._info.color.range == _FULL_RANGE
        bright = _is_bright(frame.planes, self._info.pixel_format, full_range=full_range)
        shown = self._info.orientation.to_display(bright).astype(np.bool_, copy=False)
        return self._fit.to_coded(shown, self._path)


class _VideoCursor:
    """Steps through a mask video to the frame asked for, and makes a mask of that one alone."""

    def __init__(self, frames_from: Callable[..., Iterator[Frame]], to_mask: Callable[[Frame], Bool]) -> None:
        self._frames_from = frames_from
        self._to_mask = to_mask
        self._frames: Iterator[Frame] | None = None
        self._last: Frame | None = None

    def at(self, frame: Frame) -> Bool | None:
        if self._frames is None:
            self._frames = self._frames_from(from_index=frame.index)
        while self._last is None or self._last.index < frame.index:
            self._last = next(self._frames, None)
            if self._last is None:
                return None
        return self._to_mask(self._last)


def _is_bright(planes: Sequence[Samples], pixel_format: PixelFormat, *, full_range: bool) -> Bool:
    """Where the luma of a frame, of full or studio range (16 to 235), is above the threshold."""
    step = 1 << (pixel_format.depth - 8) if pixel_format.depth > 8 else 1
    if pixel_format.kind == "rgb":
        green, blue, red = (plane.astype(np.float32) for plane in planes[:3])
        luma: Float = np.asarray(0.587 * green + 0.114 * blue + 0.299 * red, np.float32)
        return np.asarray(luma > (THRESHOLD + 0.01) * step)
    if pixel_format.kind == "gray" or full_range:
        return np.asarray(planes[0] > THRESHOLD * step)
    return np.asarray(planes[0] > (16 + 219 / 255 * THRESHOLD) * step)
