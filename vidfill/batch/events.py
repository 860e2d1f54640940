"""What a batch reports: each change of a job as it happens, how each job ended, and the batch as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

Status = Literal["waiting", "running", "held", "done", "already done", "failed"]


class JobEvent(NamedTuple):
    """A change of a job.

    Attributes:
        job: its name, that of its output.
        status: the new one; "held" by another run.
        stage: of a running job: "analyse", "fill", "assemble", or "" before the first.
        done: frames of the stage that are done.
        total: frames in all, 0 if not known.
        message: why it failed, or is tried again, or who holds it.
    """

    job: str
    status: Status
    stage: str = ""
    done: int = 0
    total: int = 0
    message: str = ""


OnEvent = Callable[[JobEvent], None]


@dataclass(frozen=True, slots=True)
class JobReport:
    """How a job ended.

    Attributes:
        status: "done", "already done" (by an earlier run, or by another one at the same time) or "failed".
        seconds: of all attempts together.
        kind: the error's class name, of a failed job.
        message: the error in one line.
        exit_code: what `vidfill remove` would have exited with.
        result: of a done job: frames, ratio of the holes that no frame shows (`invented`), model, device, seconds by
            stage, warnings.
        thumbnails: small pictures of before and after; empty if there are none.
    """

    source: Path
    output: Path
    status: Status
    n_attempts: int = 0
    seconds: float = 0.0
    kind: str = ""
    message: str = ""
    exit_code: int = 0
    result: Mapping[str, Any] = field(default_factory=dict)
    thumbnails: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How a batch ended.

    Attributes:
        jobs: a report for each, in the order of the inputs.
        seconds: wall time.
        summary: the JSON file with all of this.
        report: the HTML page with pictures.
        licence_notice: what the weights may be used for, in one line; None if nothing limits it.
    """

    jobs: tuple[JobReport, ...]
    seconds: float
    summary: Path
    report: Path
    licence_notice: str | None = None

    @property
    def failed(self) -> tuple[JobReport, ...]:
        """The jobs without an output."""
        return tuple(job for job in self.jobs if job.status == "failed")
