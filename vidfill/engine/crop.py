"""The frames of a segment, cropped and downscaled to the working size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.engine.plan import Plan, Segment
from vidfill.engine.source import Edge, WorkingFrame
from vidfill.errors import InputError
from vidfill.masks.edit import soft_alpha
from vidfill.video.color import rgb_crop
from vidfill.video.frame import Bool, Box, Float, Frame, Samples, VideoInfo

MAX_ORIGINAL_PIXELS = 1920 * 1080
"""A crop of more pixels is downscaled before a model gets it at the source's own size."""


class MaskReading(Protocol):
    """One forward reading of the masks (see `vidfill.masks.files.MaskCursor`)."""

    def at(self, frame: Frame) -> Bool:
        """The mask of a frame, (H, W); the same object again where it has not changed."""
        ...


class Masks(Protocol):
    """What the engine needs of the masks (see `vidfill.masks.files.MaskSource`)."""

    def cursor(self) -> AbstractContextManager[MaskReading]:
        """Read the masks from the start."""
        ...


class FrameReader(Protocol):
    """What the engine needs of a reader (see `vidfill.video.read.Reader`)."""

    @property
    def info(self) -> VideoInfo:
        """What the source is."""
        ...

    def frames(self, *, start_pts: int | None = None, start_index: int = 0) -> Iterator[Frame]:
        """Decode from a presentation time on."""
        ...


class SegmentPictures:
    """The frames of one segment at a working size (height, width); iterating decodes them."""

    def __init__(self, segment: Segment, size: tuple[int, int], plan: Plan, reader: FrameReader, masks: Masks) -> None:
        self.segment, self.size = segment, size
        self._plan, self._reader, self._masks = plan, reader, masks

    @property
    def is_smaller(self) -> bool:
        """Whether frames are downscaled."""
        return math.prod(self.size) < math.prod(_original_size(self.segment.box))

    def original(self, position: int, picture: WorkingFrame) -> FrameAtOwnSize:
        """The frame at a position of the segment before it was downscaled."""
        return FrameAtOwnSize(self._reader, self.segment.box, self.segment.read_start + position, picture.pts)

    def __iter__(self) -> Iterator[WorkingFrame]:
        segment, plan, info = self.segment, self._plan, self._reader.info
        last: tuple[Bool, Bool, Edge | None] | None = None  # mask, hole at the working size, edge
        shown: Bool | None = None
        with self._masks.cursor() as cursor:
            for frame in self._reader.frames(start_pts=segment.read_start_pts, start_index=segment.read_start):
                if frame.index >= segment.read_stop:
                    return
                mask = cursor.at(frame)
                if not frame.held:
                    shown = mask
                elif shown is not None and shown is not mask:
                    # A held frame repeats the previous picture, with the object where it was there.
                    mask = mask | shown
                # Cursors give the same array again while a mask does not change.
                if last is None or last[0] is not mask:
                    alpha = soft_alpha(mask, dilate_px=plan.dilate_px, feather_px=plan.feather_px)
                    last = mask, _shrunk_hole(alpha[segment.box.slices] > 0, self.size), Edge.around(alpha)
                _, hole, edge = last
                if shown is None:
                    # Held before the first good frame, which it shows: where the object is there is not known yet.
                    hole = np.ones_like(hole)
                rgb = shrunk(rgb_crop(frame, info, segment.box), self.size)
                yield WorkingFrame(_quantised(rgb, info.pixel_format.depth), hole, frame.pts, edge)


class FrameAtOwnSize(NamedTuple):
    """See `vidfill.models.base.Original`."""

    reader: FrameReader
    box: Box
    index: int  # type: ignore[assignment]  # hides tuple.index, which is not used
    pts: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the crop, at most `MAX_ORIGINAL_PIXELS`."""
        return _original_size(self.box)

    def read(self) -> NDArray[np.uint8]:
        """(H, W, 3) RGB; InputError where the source no longer has the frame."""
        frame = next(iter(self.reader.frames(start_pts=self.pts, start_index=self.index)), None)
        if frame is None:
            raise InputError(f"frame {self.index} is no longer in the source", todo="run again with the whole file")
        return np.rint(shrunk(rgb_crop(frame, self.reader.info, self.box), self.size) * 255).astype(np.uint8)


def shrunk(picture: Float, size: tuple[int, ...]) -> Float:
    """A picture downscaled to (height, width) by area."""
    if picture.shape[:2] == size:
        return picture
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA), np.float32)


def _original_size(box: Box) -> tuple[int, int]:
    shrink = min(1.0, math.sqrt(MAX_ORIGINAL_PIXELS / (box.height * box.width)))
    return max(1, round(box.height * shrink)), max(1, round(box.width * shrink))


def _shrunk_hole(hole: Bool, size: tuple[int, int]) -> Bool:
    """A working pixel that covers any pixel of the object is missing."""
    return np.asarray(shrunk(hole.astype(np.float32), size) > 0)


def _quantised(rgb: Float, depth: int) -> Samples:
    if depth <= 8:
        return np.rint(rgb * 255).astype(np.uint8)
    return np.rint(rgb * 65535).astype(np.uint16)
