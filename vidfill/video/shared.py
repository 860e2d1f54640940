"""One decode of a source for two readers: the fill, which runs ahead, and the output, which needs every frame."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from itertools import count
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from vidfill.errors import OutputError
from vidfill.video.frame import Frame
from vidfill.video.read import Reader


class _Stored(NamedTuple):
    slot: int
    pts: int
    held: bool


class SharedFrames:
    """Gives the frames of a source to a fill and to an output that is written from it.

    Frames that one of them has read and the other still needs wait in a temporary file: no more than a segment with
    its context, from where the output is, or from `keep_from`, to where the fill is.

    Args:
        reader: the source.
        file: for the frames that wait; unbuffered, since a buffer that a full disk refuses fails again when closed.
        is_written: whether there is an output, to which `all_frames` goes.

    Raises:
        OutputError: the disk is full.
    """

    def __init__(self, reader: Reader, file: BinaryIO, *, is_written: bool) -> None:
        self.info = reader.info
        self._reader, self._file = reader, file
        self._n_written = 0 if is_written else math.inf
        self._keep_from = math.inf
        self._coming: Iterator[Frame] | None = None
        self._next = 0
        self._stored: dict[int, _Stored] = {}
        self._free_slots: list[int] = []

    def keep_from(self, index: int | None) -> None:
        """Promise that `frames` will not be asked for a frame before this one; None for any at all."""
        self._keep_from = math.inf if index is None else index
        self._forget()

    def all_frames(self) -> Iterator[Frame]:
        """All frames, once, for the output."""
        for index in count():
            self._n_written = index + 1
            frame = self._at(index)
            self._forget()
            if frame is None:
                return
            yield frame

    def frames(self, *, start_pts: int | None = None, start_index: int = 0) -> Iterator[Frame]:
        """The frames from one on, for the fill; see `Reader.frames`."""
        for index in count(start_index):
            frame = self._at(index, start_pts)
            if frame is None:
                return
            yield frame

    def _at(self, index: int, start_pts: int | None = None) -> Frame | None:
        if index in self._stored:
            return self._load(index)
        if self._coming is None or index != self._next:
            self._coming, self._next = self._reader.frames(start_pts=start_pts, start_index=index), index
        frame = next(self._coming, None)
        if frame is not None:
            self._next += 1
            if index >= min(self._n_written, self._keep_from):
                self._store(frame)
        return frame

    def _forget(self) -> None:
        for index in [i for i in self._stored if i < min(self._n_written, self._keep_from)]:
            self._free_slots.append(self._stored.pop(index).slot)

    def _store(self, frame: Frame) -> None:
        slot = self._free_slots.pop() if self._free_slots else len(self._stored)
        try:
            self._file.seek(slot * sum(plane.nbytes for plane in frame.planes))
            for plane in frame.planes:
                if self._file.write(np.ascontiguousarray(plane).data) < plane.nbytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OutputError(
                f"frames cannot be kept in the work folder ({error.strerror})",
                todo="free some space on the disk, or give another --work-dir",
            ) from error
        self._stored[frame.index] = _Stored(slot, frame.pts, frame.held)

    def _load(self, index: int) -> Frame:
        slot, pts, held = self._stored[index]
        info, shape = self.info, self.info.pixel_format
        planes: list[Any] = [
            np.empty(shape.plane_size(plane, height=info.height, width=info.width), shape.dtype)
            for plane in range(shape.n_color_planes + shape.has_alpha)
        ]
        self._file.seek(slot * sum(plane.nbytes for plane in planes))
        for plane in planes:
            self._file.readinto(plane.data)  # type: ignore[attr-defined]
        return Frame(index, pts, info.time_base, tuple(planes), held)
