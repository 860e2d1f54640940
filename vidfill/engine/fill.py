"""Fill the segments of a Plan: run the model over the frames of each, and cut the patches out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from vidfill.engine.crop import FrameReader, Masks, SegmentPictures, shrunk
from vidfill.engine.device import choose_runtime, is_out_of_memory, limited_threads
from vidfill.engine.plan import Plan, Segment
from vidfill.engine.source import Edge, LazySource, WorkingFrame
from vidfill.errors import OutOfMemoryError
from vidfill.models.base import Detail, Model, Original, WindowSpec, recur
from vidfill.models.sides import SideBySide
from vidfill.settings import EngineSettings
from vidfill.video.frame import Box, Float, Patch, Remembered

_log = logging.getLogger("vidfill")
_SMALLEST_SIDE = 16
WARM_UP_FRAMES = 24
"""Steps before a segment that continues a hole, whose output is discarded, so that the join is not visible.

With VINet on three clips the output differs from that of one long run by 3 to 8 grey levels after 12 such steps, by 1
to 2 after 20.
"""


class SceneMemory(Protocol):
    """Stores what models remember of finished segments (see `Model.remember`)."""

    def remembered(self, segment: int) -> Sequence[Remembered]:
        """The pictures of a segment; none if it is not finished."""
        ...

    def keep(self, segment: int, pictures: Sequence[Remembered]) -> None:
        """Store the pictures of a segment, replacing those of an earlier attempt."""
        ...


class LastMemory:
    """Remembers the last segment only."""

    def __init__(self) -> None:
        self._segment, self._pictures = -1, tuple[Remembered, ...]()

    def remembered(self, segment: int) -> Sequence[Remembered]:
        """See `SceneMemory`."""
        return self._pictures if segment == self._segment else ()

    def keep(self, segment: int, pictures: Sequence[Remembered]) -> None:
        """See `SceneMemory`."""
        self._segment, self._pictures = segment, tuple(pictures)


class Filled(NamedTuple):
    """One filled frame of a segment."""

    position: int  # in the segment
    picture: WorkingFrame
    rgb: Float  # (h, w, 3) in [0, 1]: the fill in the hole, the source outside, without padding
    invented: Float | None  # (h, w), see `Step.invented`
    detail: Detail | None
    state: Any  # the model's, after this frame


def fill(
    plan: Plan,
    reader: FrameReader,
    masks: Masks,
    model: Model,
    settings: EngineSettings,
    *,
    segments: Sequence[Segment] | None = None,
    memory: SceneMemory | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Patch]:
    """Fill the segments of a plan, one after another.

    Args:
        plan: from `vidfill.engine.plan.analyse`.
        reader: of the plan's source; each segment starts a pass at its `read_start`.
        masks: of the same source.
        model: any model.
        settings: device, precision, threads.
        segments: those of the plan to fill, in order; None for all.
        memory: of earlier segments, each of which is continued by the next one of its scene; None for a new one.
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
    filler = SegmentFiller(model, settings)
    memory = LastMemory() if memory is None else memory
    for segment in chosen:
        for index, patch in filler.patches(segment, plan, reader, masks, memory):
            if patch is not None:
                yield patch
            if progress is not None:
                progress(n_before + index + 1 - segment.start, n_total)
        n_before += segment.stop - segment.start


class SegmentFiller:
    """Runs one model, which is moved to the chosen device, over segments.

    Raises:
        DeviceError: the device is not there.
    """

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        self._runtime = choose_runtime(model, settings)
        self._model = SideBySide(self._runtime.place(model))
        self._threads = settings.threads

    def source(
        self,
        pictures: Iterator[WorkingFrame],
        n_frames: int,
        original: Callable[[int, WorkingFrame], Original] | None = None,
    ) -> LazySource:
        """The frames of a segment for `frames`; see `LazySource`."""
        return LazySource(self._model, pictures, n_frames, self._runtime, original)

    def frames(
        self,
        source: LazySource,
        *,
        targets: range | None = None,
        spec: WindowSpec | None = None,
        start: Any = None,
    ) -> Iterator[Filled]:
        """Fill the frames of a segment, in order; see `recur` for the arguments."""
        steps = recur(self._model, source, targets=targets, spec=spec, start=start)
        while True:
            # Neither the modes of torch nor the threads may leak out through the yield below.
            with limited_threads(self._threads), self._runtime.computing():
                item = next(steps, None)
                if item is None:
                    return
                position, step = item
                picture = source.picture(position)
                height, width = picture.hole.shape
                fill = step.fill[0, :, :height, :width].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
                invented = None
                if step.invented is not None:
                    invented = step.invented[0, 0, :height, :width].float().cpu().numpy()
            rgb = np.where(picture.hole[..., None], fill, picture.rgb / np.float32(picture.levels))
            yield Filled(position, picture, rgb, invented, step.detail[0] if step.detail else None, step.state)

    def patches(
        self, segment: Segment, plan: Plan, reader: FrameReader, masks: Masks, memory: SceneMemory
    ) -> Iterator[tuple[int, Patch | None]]:
        """(frame index, its patch) for each frame of a segment; at half the working size if memory runs out."""
        next_index = segment.start
        for size in (segment.size, halved(segment.size)):
            try:
                for index, patch in self._attempt(SegmentPictures(segment, size, plan, reader, masks), plan, memory):
                    # After a restart, frames that were yielded before only warm up the recurrence.
                    if index >= next_index:
                        next_index = index + 1
                        yield index, patch
            except (RuntimeError, MemoryError, cv2.error) as error:
                if not is_out_of_memory(error):
                    raise
                failure = f"{self._runtime.device} ran out of memory at a working size of {size[1]}x{size[0]}"
            else:
                return
            self._runtime.forget_cached_memory()
            if size == segment.size:
                smaller = halved(size)
                _log.warning("%s; segment %d goes on at %dx%d", failure, segment.index, smaller[1], smaller[0])
        raise OutOfMemoryError(failure, todo="pass a smaller --working-size, or another --device")

    def _attempt(
        self, pictures: SegmentPictures, plan: Plan, memory: SceneMemory
    ) -> Iterator[tuple[int, Patch | None]]:
        segment, size, box = pictures.segment, pictures.size, pictures.segment.box
        model = self._model
        scale, unscale = (size[0] / box.height, size[1] / box.width), (box.height / size[0], box.width / size[1])
        before = segment_before(segment, plan)
        filled_frames = self.frames(
            self.source(
                iter(pictures),
                segment.read_stop - segment.read_start,
                pictures.original if pictures.is_smaller else None,
            ),
            targets=_targets(segment, plan, model),
            spec=model.spec.with_most_references(plan.max_references),
            start=model.recall(() if before is None else _scaled(memory.remembered(before), unscale)),
        )
        for filled in filled_frames:
            index, edge = segment.read_start + filled.position, filled.picture.edge
            if index + 1 == segment.stop:
                memory.keep(segment.index, _scaled(model.remember(filled.state), scale))
            if index >= segment.start:
                yield index, None if edge is None else _patch(index, filled, edge, box)
            if index + 1 >= segment.stop:
                return


def segment_before(segment: Segment, plan: Plan) -> int | None:
    """Index of the previous segment of the scene, which a model that remembers continues; None for the first."""
    return max((s.index for s in plan.segments if s.scene == segment.scene and s.stop <= segment.start), default=None)


def _scaled(pictures: Sequence[Remembered], factor: tuple[float, float]) -> list[Remembered]:
    return [Remembered(picture, (y * factor[0], x * factor[1])) for picture, (y, x) in pictures]


def _targets(segment: Segment, plan: Plan, model: Model) -> range | None:
    """The positions of a segment to fill; None for all that may be read.

    A recurrence that started at a segment's first frame would show a join in the middle of a long hole, so it starts up
    to `WARM_UP_FRAMES` earlier, as far back as the hole goes. Passes in both directions use all that may be read.
    """
    if len(model.spec.passes) > 1:
        return None
    first = segment.start
    if model.spec.previous:
        for other in plan.segments[: segment.index]:
            if other.scene == segment.scene and other.stop > segment.start - WARM_UP_FRAMES:
                first = min(first, max(other.start, segment.read_start, segment.start - WARM_UP_FRAMES))
    return range(first - segment.read_start, segment.stop - segment.read_start)


def _patch(index: int, filled: Filled, edge: Edge, crop: Box) -> Patch:
    """Cut the patch of one frame out of a filled crop, upscaled and with its detail."""
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
        invented = float(np.average(filled.invented, weights=shrunk(weight, filled.invented.shape)))
    return Patch(index, filled.picture.pts, box, samples, alpha, invented)


def _lay_over(rgb: Float, detail: Detail) -> None:
    """Blend a detail into the upscaled fill, in place."""
    height, width = detail.frame_size
    scale, box = (rgb.shape[0] / height, rgb.shape[1] / width), detail.box
    rows = slice(round(box.y0 * scale[0]), round(box.y1 * scale[0]))
    columns = slice(round(box.x0 * scale[1]), round(box.x1 * scale[1]))
    part = rgb[rows, columns]
    size_wh = part.shape[1::-1]
    top = cv2.resize(detail.rgb, size_wh, interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
    alpha = cv2.resize(detail.alpha, size_wh, interpolation=cv2.INTER_LINEAR)
    part += alpha[..., None] * (top - part)


def halved(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) with about half as many pixels and the same aspect."""
    height, width = (max(_SMALLEST_SIDE, round(side / math.sqrt(2))) for side in size)
    return min(height, size[0]), min(width, size[1])
