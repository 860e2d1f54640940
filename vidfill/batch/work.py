"""What a worker does: one part of a job at a time, keeping the model loaded from one to the next."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from vidfill.batch.thumbnails import write_thumbnails
from vidfill.engine.device import is_out_of_memory
from vidfill.errors import BusyError, OutOfMemoryError, VidfillError
from vidfill.models import load_model
from vidfill.progress import OnProgress
from vidfill.removal.patches import runs_of
from vidfill.removal.request import RemoveArguments, Weights
from vidfill.removal.run import run_removal
from vidfill.removal.work_folder import WorkFolder
from vidfill.settings import RemovalSettings
from vidfill.settings.define import converted

PartKind = Literal["whole", "plan", "segments", "assemble"]


@dataclass(frozen=True, slots=True)
class JobPart:
    """A piece of work for one worker: plain data, paths and no frames.

    Attributes:
        job: the job's name.
        kind: the whole job; or its Plan, some segments, or the output from finished segments.
        output: as `vidfill.remove` takes it.
        work: the work folder.
        thumbnails: paths of the small pictures of before and after.
        resume: whether finished segments are kept.
        segments: which ones, in order, for that kind.
    """

    job: str
    kind: PartKind
    source: Path
    output: str
    work: Path
    thumbnails: tuple[Path, Path]
    settings: RemovalSettings
    resume: bool
    segments: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """A part that succeeded.

    Attributes:
        result: of the whole job, see `vidfill.batch.events.JobReport`.
        missing: of a Plan: the segments that are not filled yet, in groups that do not depend on one another.
    """

    result: dict[str, Any] = field(default_factory=dict)
    missing: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A part that failed.

    Attributes:
        kind: the error's class name.
        message: one line.
        exit_code: of the error.
        out_of_memory: whether memory ran out.
        is_busy: whether the only problem is that another process works on it.
        trace: traceback of an error inside vidfill.
    """

    kind: str
    message: str
    exit_code: int = 1
    out_of_memory: bool = False
    is_busy: bool = False
    trace: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """An exception as data."""
        memory = isinstance(error, OutOfMemoryError) or is_out_of_memory(error)
        if isinstance(error, VidfillError):
            return cls(type(error).__name__, str(error), error.exit_code, memory, isinstance(error, BusyError))
        if memory:
            return cls(type(error).__name__, f"out of memory: {error}", OutOfMemoryError.exit_code, memory)
        text = f"internal error: {type(error).__name__}: {error}"
        return cls(type(error).__name__, text, trace="".join(traceback.format_exception(error)))


PartResult = Done | Failure


class PartWorker:
    """Does parts, one after another.

    Args:
        device: overrides that of the settings, since the workers of a machine share its GPUs; "" does not.
        threads: likewise; 0 does not.
    """

    def __init__(self, *, device: str = "", threads: int = 0) -> None:
        self._device, self._threads = device, threads
        self._load = lru_cache(maxsize=1)(load_model)

    def do(self, part: JobPart, progress: OnProgress) -> PartResult:
        """Do a part; errors are in the result. Only a KeyboardInterrupt from `progress` passes through."""
        try:
            settings = part.settings
            device, threads = self._device or settings.device, self._threads or settings.threads
            return self._done(part, replace(settings, device=device, threads=threads), progress)
        except Exception as error:  # noqa: BLE001 - an error in one video must not end the others
            return Failure.of(error)

    def _done(self, part: JobPart, settings: RemovalSettings, progress: OnProgress) -> Done:
        chosen = {"plan": (), "segments": part.segments}.get(part.kind)
        arguments = converted(
            RemoveArguments,
            settings,
            segments=chosen,
            resume=part.resume,
            work_dir=part.work,
            keep_work=True,
            overwrite=True,  # outputs that must not be replaced were refused before, under the job's lock
            load=self._load,
            progress=progress,
        )
        result = run_removal(part.source, part.output, arguments)
        folder = WorkFolder(part.work)
        plan = folder.plan()
        if part.kind == "plan" and plan is not None:
            model = Weights.chosen(settings).load(self._load)
            missing = [segment.index for segment in plan.segments if not folder.has(segment.index)]
            return Done(missing=runs_of(plan, missing, in_order=model.remembers))
        if chosen is not None:
            return Done()
        write_thumbnails(part.source, Path(part.output), plan, part.thumbnails, fps=settings.fps)
        folder.remove()
        names = ("n_frames", "n_filled", "n_held", "invented", "model", "device")
        seconds = {stage: round(seconds, 3) for stage, seconds in result.seconds.items()}
        kept = {name: getattr(result, name) for name in names}
        return Done({**kept, "seconds": seconds, "warnings": list(result.warnings)})
