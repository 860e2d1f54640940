"""A scheduler without processes: what a part comes to is scripted, and outputs are made of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from vidfill.batch.driver import Driver
from vidfill.batch.events import JobEvent, JobReport
from vidfill.batch.inputs import find_jobs
from vidfill.batch.scheduling import Died, Ended, Event, Progressed
from vidfill.batch.work import Done, Failure, JobPart, PartResult, PartWorker
from vidfill.removal.work_folder import WorkFolder
from vidfill.settings import RemovalSettings
from vidfill.settings.commands import BatchSettings

Answer = PartResult | Died
Script = Callable[[JobPart], Answer]


def killed(part: JobPart) -> Answer:
    """The worker is killed from outside."""
    return Died(part, "killed", "the worker was killed by SIGKILL")


def crashed(part: JobPart) -> Answer:
    """The worker dies of itself."""
    return Died(part, "crashed", "the worker died of SIGSEGV")


def killed_for_memory(part: JobPart) -> Answer:
    """The system kills the worker."""
    return Died(part, "memory", "the system killed the worker since memory ran out")


def succeed(part: JobPart) -> Answer:
    """A part that goes well: outputs say which segments they are of, a segment leaves its file."""
    if part.kind == "plan":
        part.work.mkdir(exist_ok=True)
        folder = WorkFolder(part.work)
        return Done(missing=tuple((segment,) for segment in range(3) if not folder.has(segment)))
    if part.kind == "segments":
        for segment in part.segments:
            (part.work / f"segment_{segment:05d}.patches").write_text("patches")
        return Done()
    Path(part.output).write_text("filled")
    return Done({"n_frames": 4})


def fail(message: str, *, kind: str = "InputError", exit_code: int = 3) -> Failure:
    """An ordinary failure."""
    return Failure(kind, message, exit_code)


class Scripted:
    """Runs `script` for each part.

    Args:
        script: what a part comes to; may raise.
        n_workers: parts that are given out before the first answer comes; answers come last in, first out.

    Attributes:
        parts: all that were started, in order.
    """

    def __init__(self, script: Script = succeed, *, n_workers: int = 1) -> None:
        self._script, self._n_workers = script, n_workers
        self._running: list[JobPart] = []
        self.parts: list[JobPart] = []

    @property
    def n_free(self) -> int:
        return self._n_workers - len(self._running)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._running.clear()

    def start(self, part: JobPart) -> None:
        self._running.append(part)
        self.parts.append(part)

    def wait(self, timeout_s: float) -> list[Event]:
        if not self._running:
            return []
        part = self._running.pop()
        answer = self._script(part)
        return [answer if isinstance(answer, Died) else Ended(part, answer)]


def run_batch(
    folder: Path,
    script: Script = succeed,
    *,
    settings: RemovalSettings | None = None,
    split: bool = False,
    overwrite: bool = False,
    retry_failed: bool = False,
    n_workers: int = 1,
    news: list[JobEvent] | None = None,
) -> tuple[list[JobReport], Scripted]:
    """A batch over folder/in into folder/out."""
    scheduler = Scripted(script, n_workers=n_workers)
    out = folder / "out"
    out.mkdir(exist_ok=True)
    jobs = find_jobs([folder / "in"], out)
    rules = BatchSettings(split=split, overwrite=overwrite, retry_failed=retry_failed)
    tell = (news if news is not None else []).append
    driver = Driver(jobs, out, settings or RemovalSettings(), rules, scheduler, tell)
    try:
        with scheduler:
            return driver.run(), scheduler
    finally:
        driver.close()


class InProcess:
    """Real work, but in the process of the test: one worker, whatever is asked for."""

    def __init__(self, devices: Sequence[str], *, threads: int = 0) -> None:
        self._worker = PartWorker(device=devices[0], threads=1)
        self._part: JobPart | None = None

    @property
    def n_free(self) -> int:
        return int(self._part is None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def start(self, part: JobPart) -> None:
        self._part = part

    def wait(self, timeout_s: float) -> list[Event]:
        part = self._part
        if part is None:
            return []
        events: list[Event] = []
        outcome = self._worker.do(part, lambda step: events.append(Progressed(part, *step)))
        self._part = None
        return [*events, Ended(part, outcome)]
