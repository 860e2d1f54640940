"""What a batch tells of its jobs: each change as it happens, and how each ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

Status = Literal["waiting", "running", "held", "done", "already done", "failed"]


class JobEvent(NamedTuple):
    """News of a job.

    Attributes:
        job: its name, that of its output.
        status: what it is now; "held" by another run.
        stage: of a running one: "analyse", "fill", "assemble", or "" before the first.
        done: frames of the stage that are done.
        total: frames in all, 0 where not known.
        message: why it failed, or is to be tried again, or who holds it.
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
        source: the video.
        output: where its result is, or was to be.
        status: "done", "already done" (by an earlier run, or another one at the same time) or "failed".
        n_attempts: how often it was tried.
        seconds: what the attempts took together.
        kind: of the error of a failed one, as its class is named.
        message: the error in one line.
        exit_code: that `vidfill remove` would have ended with.
        result: of a done one: frames, ratio of the holes that no frame shows (`invented`), model, device, seconds by
            stage, warnings.
        thumbnails: small pictures of before and after; empty where there are none.
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
