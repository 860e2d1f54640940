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

from vidfill.engine.clip import Filled, composited
from vidfill.engine.device import EngineSettings, Runtime, choose_runtime, is_out_of_memory
from vidfill.engine.plan import Plan, Segment
from vidfill.engine.source import LazySource, Picture
from vidfill.errors import InputError, OutOfMemoryError
from vidfill.masks.edit import soft_alpha
from vidfill.models.base import Detail, Model
from vidfill.models.sides import SideBySide
from vidfill.video.color import rgb_crop
from vidfill.video.frame import Bool, Box, Float, Frame, Patch, Remembered, Samples, VideoInfo

_log = logging.getLogger("vidfill")
_SMALLEST_SIDE = 16
MAX_ORIGINAL_PIXELS = 1920 * 1080
"""A crop of more pixels is made smaller before a model looks at it at the source's own size."""
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
    memory: Memory | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Patch]:
    """Fill the segments of a plan, one after another.

    Args:
        plan: from `vidfill.engine.plan.analyse`.
        reader: of the plan's source; decoded anew for each segment.
        masks: of the same source.
        model: any model of the contract.
        settings: device, precision, threads.
        segments: those of the plan to fill, in order; all where None.
        memory: what the model remembers of segments that are filled; a segment goes on from the one before it in its
            scene, if that is there. None to keep it here, for as long as this goes on.
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
    model = SideBySide(runtime.place(model))
    memory = LastMemory() if memory is None else memory
    for segment in chosen:
        for index, patch in _fill_segment(segment, plan, reader, masks, model, runtime, settings.threads, memory):
            if patch is not None:
                yield patch
            if progress is not None:
                progress(n_before + index + 1 - segment.start, n_total)
        n_before += segment.stop - segment.start


class Memory(Protocol):
    """What models remember of finished segments (see `Model.remember` and `vidfill.removal.work_folder.WorkFolder`)."""

    def remembered(self, segment: int) -> Sequence[Remembered]:
        """The pictures of a segment; none where it is not finished."""
        ...

    def keep(self, segment: int, pictures: Sequence[Remembered]) -> None:
        """Take the pictures of a segment, in the place of those that an earlier attempt may have left."""
        ...


class LastMemory:
    """Remembers the last segment alone."""

    def __init__(self) -> None:
        self._segment, self._pictures = -1, tuple[Remembered, ...]()

    def remembered(self, segment: int) -> Sequence[Remembered]:
        """See `Memory`."""
        return self._pictures if segment == self._segment else ()

    def keep(self, segment: int, pictures: Sequence[Remembered]) -> None:
        """See `Memory`."""
        self._segment, self._pictures = segment, tuple(pictures)


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
    memory: Memory,
) -> Iterator[tuple[int, Patch | None]]:
    """(frame index, its patch) for each frame of a segment; at half the working size if memory runs out."""
    next_index = segment.start
    for size in (segment.size, halved(segment.size)):
        try:
            for index, patch in _attempt(segment, size, plan, reader, masks, model, runtime, threads, memory):
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
    memory: Memory,
) -> Iterator[tuple[int, Patch | None]]:
    waiting: dict[int, _Waiting] = {}
    times: dict[int, int] = {}
    pictures = _pictures(segment, size, plan, reader, masks, waiting, times)
    box = segment.box
    is_smaller = math.prod(size) < math.prod(_original_size(box))

    def original(position: int) -> _Original:
        index = segment.read_start + position
        return _Original(reader, segment.box, index, times[index])

    n_frames = segment.read_stop - segment.read_start
    source = LazySource(model, pictures, n_frames, runtime, original if is_smaller else None)
    targets, spec = _targets(segment, plan, model), model.spec.with_most_references(plan.max_references)
    scale, unscale = (size[0] / box.height, size[1] / box.width), (box.height / size[0], box.width / size[1])
    before = segment_before(segment, plan)
    start = model.recall(() if before is None else _scaled(memory.remembered(before), unscale))
    for filled in composited(model, source, runtime, threads, targets=targets, spec=spec, start=start):
        index = segment.read_start + filled.position
        pts, edge = waiting.pop(index)
        if index + 1 == segment.stop:
            memory.keep(segment.index, _scaled(model.remember(filled.state), scale))
        if index >= segment.start:
            yield index, None if edge is None else _patch(index, pts, edge, filled, segment.box)
        if index + 1 >= segment.stop:
            return


def segment_before(segment: Segment, plan: Plan) -> int | None:
    """The segment of the same scene that a model which remembers goes on from; None for the scene's first."""
    return max((s.index for s in plan.segments if s.scene == segment.scene and s.stop <= segment.start), default=None)


def _scaled(pictures: Sequence[Remembered], factor: tuple[float, float]) -> list[Remembered]:
    return [Remembered(picture, (y * factor[0], x * factor[1])) for picture, (y, x) in pictures]


class _Original(NamedTuple):
    """A frame of a segment at the source's own size, decoded when it is read (see `vidfill.models.base.Original`)."""

    reader: FrameReader
    box: Box
    index: int  # type: ignore[assignment]  # a position; nobody asks these tuples where a value lies
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
        return np.rint(_shrunk(rgb_crop(frame, self.reader.info, self.box), self.size) * 255).astype(np.uint8)


def _original_size(box: Box) -> tuple[int, int]:
    shrink = min(1.0, math.sqrt(MAX_ORIGINAL_PIXELS / (box.height * box.width)))
    return max(1, round(box.height * shrink)), max(1, round(box.width * shrink))


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
    times: dict[int, int],
) -> Iterator[Picture]:
    """Decode, crop and shrink the frames of a segment; what else is needed of each is left in `waiting` and `times`."""
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
            times[frame.index] = frame.pts
            rgb = _shrunk(rgb_crop(frame, reader.info, segment.box), size)
            yield Picture(_quantised(rgb, reader.info.pixel_format.depth), hole)


def _shrunk_hole(hole: Bool, size: tuple[int, int]) -> Bool:
    """A working pixel that holds the least bit of the object is missing."""
    return np.asarray(_shrunk(hole.astype(np.float32), size) > 0)


def _shrunk(picture: Float, size: tuple[int, ...]) -> Float:
    if picture.shape[:2] == size:
        return picture
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA), np.float32)


def _quantised(rgb: Float, depth: int) -> Samples:
    if depth <= 8:
        return np.rint(rgb * 255).astype(np.uint8)
    return np.rint(rgb * 65535).astype(np.uint16)


def _patch(index: int, pts: int, edge: _Edge, filled: Filled, crop: Box) -> Patch:
    """Cut the patch of one frame out of a filled crop, with the details that the model gave at the crop's own size."""
    rgb, size_wh = filled.rgb, (crop.width, crop.height)
    if rgb.shape[1::-1] != size_wh:
        rgb = np.asarray(cv2.resize(rgb, size_wh, interpolation=cv2.INTER_CUBIC), np.float32)
    if filled.detail is not None:
        _lay_over(rgb, filled.detail)
    box, alpha = edge.box, edge.alpha()
    inside = Box(box.x0 - crop.x0, box.y0 - crop.y0, box.x1 - crop.x0, box.y1 - crop.y0).slices
    samples = np.where(alpha[..., None] > 0, np.rint(np.clip(rgb[inside], 0, 1) * 65535), 0).astype(np.uint16)
    invented = None
    if filled.invented is not None:
        weight = np.zeros((crop.height, crop.width), np.float32)
        weight[inside] = alpha
        invented = float(np.average(filled.invented, weights=_shrunk(weight, filled.invented.shape)))
    return Patch(index, pts, box, samples, alpha, invented)


def _lay_over(rgb: Float, detail: Detail) -> None:
    """Blend a detail into the enlarged fill, in place."""
    height, width = detail.frame_size
    scale = (rgb.shape[0] / height, rgb.shape[1] / width)
    x0, y0, x1, y1 = detail.box
    rows = slice(round(y0 * scale[0]), round(y1 * scale[0]))
    columns = slice(round(x0 * scale[1]), round(x1 * scale[1]))
    part = rgb[rows, columns]
    size_wh = part.shape[1::-1]
    top = cv2.resize(detail.rgb, size_wh, interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
    alpha = cv2.resize(detail.alpha, size_wh, interpolation=cv2.INTER_LINEAR)
    part += alpha[..., None] * (top - part)


def halved(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) with about half as many pixels and the same aspect."""
    height, width = (max(_SMALLEST_SIDE, round(side / math.sqrt(2))) for side in size)
    return min(height, size[0]), min(width, size[1])
