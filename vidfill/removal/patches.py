"""The patches of a run: those of finished segments are read from the work folder, the others computed and stored."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

import numpy as np

from vidfill.engine.crop import Masks
from vidfill.engine.fill import fill, segment_before
from vidfill.engine.plan import Plan, Segment
from vidfill.errors import UsageError
from vidfill.models.base import Model
from vidfill.removal.work_folder import WorkFolder
from vidfill.settings import EngineSettings
from vidfill.video.frame import Patch
from vidfill.video.shared import SharedFrames


class Tally:
    """Measures which part of the patches no frame shows."""

    def __init__(self) -> None:
        self._covered = self._invented = 0.0

    @property
    def ratio(self) -> float | None:
        """The invented part in [0, 1], rounded to four digits, of the patches that state it; None if none does."""
        return round(self._invented / self._covered, 4) if self._covered else None

    def counted(self, patches: Iterable[Patch]) -> Iterator[Patch]:
        """The same patches, counted as they pass."""
        for patch in patches:
            if patch.invented is not None:
                n_px = float(patch.alpha.sum(dtype=np.int64)) / 255
                self._covered += n_px
                self._invented += n_px * patch.invented
            yield patch


def stored_or_filled(
    plan: Plan,
    folder: WorkFolder,
    frames: SharedFrames,
    masks: Masks,
    model: Model,
    settings: EngineSettings,
    *,
    segments: Sequence[int] | None,
    progress: Callable[[int, int], None] | None,
) -> Generator[Patch, None, None]:
    """The patches of segments, in order: read from the folder, or computed and stored there.

    A segment is complete in the folder before its last patch is yielded.

    Args:
        plan: of the source.
        folder: of the run.
        frames: of the source.
        masks: of the source.
        model: the model that fills.
        settings: how the model is run.
        segments: which ones; None for all.
        progress: called with (frames done, frames in all).

    Raises:
        UsageError: a segment continues another one that is not filled yet.
    """
    chosen = [segment for segment in plan.segments if segments is None or segment.index in segments]
    missing = [segment for segment in chosen if not folder.has(segment.index)]
    frames.keep_from(missing[0].read_start if missing else None)
    report = progress or (lambda done, total: None)
    total = sum(segment.stop - segment.start for segment in chosen)

    def filled(segment: Segment, n_before: int) -> Iterator[Patch]:
        _check_order(segment, plan, folder, model)
        last: Patch | None = None
        with folder.writing(segment.index) as stored:
            for patch in fill(plan, frames, masks, model, settings, segments=[segment], memory=folder):
                stored.add(patch)
                report(n_before + patch.index + 1 - segment.start, total)
                if last is not None:
                    yield last
                last = patch
        missing.remove(segment)
        frames.keep_from(missing[0].read_start if missing else None)
        if last is not None:
            yield last

    def patches() -> Generator[Patch, None, None]:
        n_done = 0
        for segment in chosen:
            yield from filled(segment, n_done) if segment in missing else folder.read(segment.index)
            n_done += segment.stop - segment.start
            report(n_done, total)

    return patches()


def runs_of(plan: Plan, segments: Iterable[int], *, in_order: bool) -> tuple[tuple[int, ...], ...]:
    """Segments in groups that do not depend on one another.

    Args:
        plan: of the source.
        segments: which ones.
        in_order: whether a segment continues the one before it in its scene, see `Model.remembers`.
    """
    if not in_order:
        return tuple((index,) for index in segments)
    scenes: dict[int, list[int]] = {}
    for index in sorted(segments):
        scenes.setdefault(plan.segments[index].scene, []).append(index)
    return tuple(tuple(group) for group in scenes.values())


def _check_order(segment: Segment, plan: Plan, folder: WorkFolder, model: Model) -> None:
    before = segment_before(segment, plan) if model.remembers else None
    if before is not None and not folder.has(before):
        raise UsageError(
            f"segment {segment.index} before segment {before}, from which it goes on",
            expected="the segments of a scene in order, since the model remembers what it has painted",
            todo=f"fill segment {before} first",
        )
