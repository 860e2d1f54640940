"""What a worker does: one part of a job at a time, with the model kept from one to the next."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from vidfill.batch.thumbnails import write_thumbnails
from vidfill.engine.device import is_out_of_memory
from vidfill.errors import BusyError, OutOfMemoryError, VidfillError
from vidfill.models import load_model
from vidfill.removal.patches import runs_of
from vidfill.removal.request import Weights
from vidfill.removal.run import OnProgress, remove
from vidfill.removal.work_folder import WorkFolder

PartKind = Literal["whole", "plan", "segments", "assemble"]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of work for one worker: plain data, paths and no frames.

    Attributes:
        job: the job's name.
        kind: all of it; or its Plan, some segments, or the output from finished segments.
        source: the video.
        output: as `vidfill.remove` takes it.
        work: the work folder.
        thumbnails: where small pictures of before and after go.
        settings: of `vidfill.remove`, by name.
        resume: whether finished segments are kept.
        overwrite: whether an output that is there may be replaced.
        segments: which ones, in order, for that kind.
    """

    job: str
    kind: PartKind
    source: Path
    output: str
    work: Path
    thumbnails: tuple[Path, Path]
    settings: Mapping[str, Any]
    resume: bool
    overwrite: bool
    segments: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """A part that went well.

    Attributes:
        result: of the whole job, see `vidfill.batch.events.JobReport`.
        missing: of a Plan: its segments that are not filled yet, in groups that do not depend on one another.
    """

    result: dict[str, Any] = field(default_factory=dict)
    missing: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A part that went wrong.

    Attributes:
        kind: of the error, as its class is named.
        message: in one line.
        exit_code: of the error.
        out_of_memory: whether memory was what it lacked.
        is_busy: whether all that is wrong is that another process works on it.
        trace: of a fault inside vidfill, for those who mend it.
    """

    kind: str
    message: str
    exit_code: int = 1
    out_of_memory: bool = False
    is_busy: bool = False
    trace: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """What an exception says."""
        memory = isinstance(error, OutOfMemoryError) or is_out_of_memory(error)
        if isinstance(error, VidfillError):
            return cls(type(error).__name__, str(error), error.exit_code, memory, isinstance(error, BusyError))
        if memory:
            return cls(type(error).__name__, f"out of memory: {error}", OutOfMemoryError.exit_code, memory)
        text = f"internal error: {type(error).__name__}: {error}"
        return cls(type(error).__name__, text, trace="".join(traceback.format_exception(error)))


Outcome = Done | Failure


class Worker:
    """Does parts, one after another.

    Args:
        device: overrides that of the settings, where given: workers of one machine share its GPUs out.
        threads: likewise; 0 leaves what the settings say.
    """

    def __init__(self, *, device: str = "", threads: int = 0) -> None:
        self._overrides: dict[str, Any] = {}
        if device:
            self._overrides["device"] = device
        if threads:
            self._overrides["threads"] = threads
        self._load = lru_cache(maxsize=1)(load_model)

    def do(self, part: Part, progress: OnProgress) -> Outcome:
        """Do a part; what is wrong with it is in the outcome. A KeyboardInterrupt out of `progress` goes through."""
        how = {"resume": part.resume, "overwrite": part.overwrite, "load": self._load, "progress": progress}
        try:
            return self._done(part, {**part.settings, **self._overrides, **how})
        except Exception as error:  # noqa: BLE001 - a fault in one video must not end the others
            return Failure.of(error)

    def _done(self, part: Part, settings: dict[str, Any]) -> Done:
        chosen = {"plan": (), "segments": part.segments}.get(part.kind)
        result = remove(part.source, part.output, segments=chosen, work_dir=part.work, keep_work=True, **settings)
        folder = WorkFolder(part.work)
        plan = folder.plan()
        if part.kind == "plan" and plan is not None:
            weights = Weights.of(settings)
            model = self._load(weights.model, checkpoint=weights.checkpoint, model_dir=weights.model_dir)
            missing = [segment.index for segment in plan.segments if not folder.has(segment.index)]
            return Done(missing=runs_of(plan, missing, in_order=model.remembers))
        if chosen is not None:
            return Done()
        write_thumbnails(part.source, Path(part.output), plan, part.thumbnails, fps=settings.get("fps"))
        folder.remove()
        return Done(
            {
                "n_frames": result.n_frames,
                "n_filled": result.n_filled,
                "n_held": result.n_held,
                "invented": result.invented,
                "model": result.model,
                "device": result.device,
                "seconds": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
                "warnings": list(result.warnings),
            }
        )
