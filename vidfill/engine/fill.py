"""Fill the segments of a Plan: decode, crop, shrink, run the model, cut the patches out."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.engine.clip import composited
from vidfill.engine.device import EngineSettings, Runtime, choose_runtime, is_out_of_memory
from vidfill.engine.source import LazySource, Picture
from vidfill.errors import OutOfMemoryError
from vidfill.frame import Bool, Box, Float, Frame, Patch, Samples, VideoInfo
from vidfill.masks.edit import soft_alpha
from vidfill.models.base import Model
from vidfill.plan import Plan, Segment
from vidfill.video.color import rgb_crop

_log = logging.getLogger("vidfill")
_SMALLEST_SIDE = 16
WARM_UP_FRAMES = 24
"""Steps before a segment that continues a hole; their output is thrown away, so that the join is not seen.

Measured with VINet on three clips: the output differs from that of one long run by 3 to 8 grey levels after 12 such
steps, by 1 to 2 after 20.
"""


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


def fill(
    plan: Plan,
    reader: FrameReader,
    masks: Masks,
    model: Model,
    settings: EngineSettings,
    *,
    segments: Sequence[Segment] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Patch]:
    """Fill the segments of a plan, one after another.

    Args:
        plan: from `vidfill.plan.analyse`.
        reader: of the plan's source; decoded anew for each segment.
        masks: of the same source.
        model: any model of the contract.
        settings: device, precision, threads.
        segments: those of the plan to fill, in order; all where None.
        progress: called with (frames done, frames in all) after each frame.

    Yields:
        A patch for each frame of the segments that has a hole, in order of time.

    Raises:
        DeviceError: the device is not there.
        OutOfMemoryError: its memory is not enough even at half the working size.
        InputError: the source gives fewer frames than the plan knows.
    """
    chosen = plan.segments if segments is None else segments
    n_total = sum(s.stop - s.start for s in chosen)
    n_before = 0
    runtime = choose_runtime(model, settings)
    model = runtime.place(model)
    for segment in chosen:
        for index, patch in _fill_segment(segment, plan, reader, masks, model, runtime, settings.threads):
            if patch is not None:
                yield patch
            if progress is not None:
                progress(n_before + index + 1 - segment.start, n_total)
        n_before += segment.stop - segment.start


class _Edge(NamedTuple):
    """The alpha of one frame while it waits for its fill: tight and compressed, it is nearly all 0 and 255."""

    box: Box
    packed: bytes

    @classmethod
    def around(cls, alpha: NDArray[np.uint8]) -> Self | None:
        """Pack the (H, W) alpha of a frame; None where it is 0 everywhere."""
        box = Box.around(alpha > 0)
        return None if box is None else cls(box, zlib.compress(np.ascontiguousarray(alpha[box.slices]).data, 1))

    def alpha(self) -> NDArray[np.uint8]:
        """(box.height, box.width)."""
        values = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return values.reshape(self.box.height, self.box.width)


class _Waiting(NamedTuple):
    """What a patch needs beside its fill."""

    pts: int
    edge: _Edge | None


def _fill_segment(
    segment: Segment,
    plan: Plan,
    reader: FrameReader,
    masks: Masks,
    model: Model,
    runtime: Runtime,
    threads: int,
) -> Iterator[tuple[int, Patch | None]]:
    """(frame index, its patch) for each frame of a segment; at half the working size if memory runs out."""
    next_index = segment.start
    for size in (segment.size, halved(segment.size)):
        try:
            for index, patch in _attempt(segment, size, plan, reader, masks, model, runtime, threads):
                # After a second start, frames that went out already only warm up the recurrence.
                if index >= next_index:
                    next_index = index + 1
                    yield index, patch
        except (RuntimeError, MemoryError, cv2.error) as error:
            if not is_out_of_memory(error):
                raise
            failure = f"{runtime.device} ran out of memory at a working size of {size[1]}x{size[0]}"
        else:
            return
        runtime.forget_cached_memory()
        if size == segment.size:
            smaller = halved(size)
            _log.warning("%s; segment %d goes on at %dx%d", failure, segment.index, smaller[1], smaller[0])
    raise OutOfMemoryError(failure, todo="pass a smaller --working-size, or another --device")


def _attempt(
    segment: Segment,
    size: tuple[int, int],
    plan: Plan,
    reader: FrameReader,
    masks: Masks,
    model: Model,
    runtime: Runtime,
    threads: int,
) -> Iterator[tuple[int, Patch | None]]:
    waiting: dict[int, _Waiting] = {}
    pictures = _pictures(segment, size, plan, reader, masks, waiting)
    source = LazySource(model, pictures, segment.read_stop - segment.read_start, runtime)
    targets, spec = _targets(segment, plan, model), model.spec.with_most_references(plan.max_references)
    for position, filled in composited(model, source, runtime, threads, targets=targets, spec=spec):
        index = segment.read_start + position
        pts, edge = waiting.pop(index)
        if index >= segment.start:
            yield index, None if edge is None else _patch(index, pts, edge, filled, segment.box)
        if index + 1 >= segment.stop:
            return


def _targets(segment: Segment, plan: Plan, model: Model) -> range | None:
    """The positions of a segment that get a step; None for all that may be read.

    A recurrence that would start at a segment's first frame has no picture of the frame before it: a join in the
    middle of a long hole would show. So it starts a little earlier, as far as that hole goes. Where nothing was
    missing before there is nothing to go on from. Passes in both directions gather from all that may be read.
    """
    if len(model.spec.passes) > 1:
        return None
    first = segment.start
    if model.spec.previous:
        for other in plan.segments[: segment.index]:
            if other.scene == segment.scene and other.stop > segment.start - WARM_UP_FRAMES:
                first = min(first, max(other.start, segment.read_start, segment.start - WARM_UP_FRAMES))
    return range(first - segment.read_start, segment.stop - segment.read_start)


def _pictures(
    segment: Segment,
    size: tuple[int, int],
    plan: Plan,
    reader: FrameReader,
    masks: Masks,
    waiting: dict[int, _Waiting],
) -> Iterator[Picture]:
    """Decode, crop and shrink the frames of a segment; what else a patch needs of each is left in `waiting`."""
    last: tuple[Bool, Bool, _Edge | None] | None = None  # mask, hole at the working size, edge
    shown: Bool | None = None
    with masks.cursor() as cursor:
        for frame in reader.frames(start_pts=segment.read_start_pts, start_index=segment.read_start):
            if frame.index >= segment.read_stop:
                return
            mask = cursor.at(frame)
            if not frame.held:
                shown = mask
            elif shown is not None and shown is not mask:
                # A held frame repeats the picture before it: the object is where it was there.
                mask = mask | shown
            # Cursors give the same array again while a mask stays as it is: so does all that follows from it.
            if last is None or last[0] is not mask:
                alpha = soft_alpha(mask, dilate_px=plan.dilate_px, feather_px=plan.feather_px)
                last = mask, _shrunk_hole(alpha[segment.box.slices] > 0, size), _Edge.around(alpha)
            _, hole, edge = last
            if shown is None:
                # Held before the first good frame, which is what it shows: where the object is there comes later.
                hole = np.ones_like(hole)
            waiting[frame.index] = _Waiting(frame.pts, edge)
            rgb = _shrunk(rgb_crop(frame, reader.info, segment.box), size)
            yield Picture(_quantised(rgb, reader.info.pixel_format.depth), hole)


def _shrunk_hole(hole: Bool, size: tuple[int, int]) -> Bool:
    """A working pixel that holds the least bit of the object is missing."""
    return np.asarray(_shrunk(hole.astype(np.float32), size) > 0)


def _shrunk(picture: Float, size: tuple[int, int]) -> Float:
    if picture.shape[:2] == size:
        return picture
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA), np.float32)


def _quantised(rgb: Float, depth: int) -> Samples:
    if depth <= 8:
        return np.rint(rgb * 255).astype(np.uint8)
    return np.rint(rgb * 65535).astype(np.uint16)


def _patch(index: int, pts: int, edge: _Edge, filled: Float, crop: Box) -> Patch:
    """Cut the patch of one frame out of a filled crop at the working size."""
    if filled.shape[:2] != (crop.height, crop.width):
        large = cv2.resize(filled, (crop.width, crop.height), interpolation=cv2.INTER_CUBIC)
        filled = np.asarray(large, np.float32)
    box = edge.box
    inner = filled[box.y0 - crop.y0 : box.y1 - crop.y0, box.x0 - crop.x0 : box.x1 - crop.x0]
    alpha = edge.alpha()
    rgb = np.where(alpha[..., None] > 0, np.rint(np.clip(inner, 0, 1) * 65535), 0).astype(np.uint16)
    return Patch(index, pts, box, rgb, alpha)


def halved(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) with about half as many pixels and the same aspect."""
    height, width = (max(_SMALLEST_SIDE, round(side / math.sqrt(2))) for side in size)
    return min(height, size[0]), min(width, size[1])
