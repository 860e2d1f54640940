"""Runs the jobs of a batch to the end: claims them, hands out their parts, records their state, retries."""

from __future__ import annotations

import platform
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vidfill import __version__
from vidfill.batch.events import JobEvent, JobReport, OnEvent, Status
from vidfill.batch.inputs import BatchJob
from vidfill.batch.scheduling import Died, Ended, Event, Progressed, Scheduler
from vidfill.batch.state import KILLED, Attempt, AttemptOutcome, JobFile, JobState, made_from, objection
from vidfill.batch.work import Done, Failure, JobPart, PartKind
from vidfill.errors import DeviceError, OutOfMemoryError, OutputError, VidfillError
from vidfill.files.atomic import remove_partials
from vidfill.files.lock import FileLock
from vidfill.removal.work_folder import WorkFolder
from vidfill.settings import DEFAULT_WORKING_PIXELS, MIN_WORKING_PIXELS, RemovalSettings, parse_working_size
from vidfill.settings.commands import BatchSettings
from vidfill.video.read import probe

_WAIT_S = 0.5
_MAX_STILLBORN = 100
_HELD_RETRY_S = 2.0  # until a job that another run holds is looked at again


@dataclass(slots=True)
class _Active:
    """A job that this run has claimed."""

    file: JobFile
    lock: FileLock
    state: JobState
    resume: bool
    todo: deque[JobPart] = field(default_factory=deque)
    n_running: int = 0
    n_segments: int = 0
    is_draining: bool = False  # no more parts are started
    is_busy: bool = False  # another process uses its work folder
    began_s: float = field(default_factory=time.monotonic)

    @property
    def job(self) -> BatchJob:
        return self.file.job

    @property
    def attempt(self) -> Attempt:
        return self.state.attempts[-1]

    def n_stored(self) -> int:
        """Segments that are finished."""
        return WorkFolder(self.file.work).n_stored()


class Driver:
    """Runs jobs to the end.

    Args:
        jobs: of this run.
        out: folder of outputs, which exists.
        settings: of the removals.
        rules: of the batch.
        scheduler: has the workers.
        on_event: receives all changes.
    """

    def __init__(
        self,
        jobs: Sequence[BatchJob],
        out: Path,
        settings: RemovalSettings,
        rules: BatchSettings,
        scheduler: Scheduler,
        on_event: OnEvent,
    ) -> None:
        self._out, self._settings, self._rules = out, settings, rules
        self._scheduler, self._tell = scheduler, on_event
        self._jobs = {job.name: job for job in jobs}
        self._waiting = deque(jobs)
        self._later: deque[tuple[float, BatchJob]] = deque()
        self._active: dict[str, _Active] = {}
        self._reports: dict[str, JobReport] = {}
        self._held: set[str] = set()  # by other runs, and reported so
        self._n_stillborn = 0  # workers in a row that died before they began their part

    def run(self) -> list[JobReport]:
        """Do all jobs, and wait for those that other runs hold; returns a report for each, in their order."""
        while True:
            self._hand_out()
            if len(self._reports) == len(self._jobs):
                break
            for event in self._scheduler.wait(_WAIT_S):
                self._take(event)
        return [self._reports[name] for name in self._jobs]

    def close(self) -> None:
        """Release the jobs in work, so that they can be resumed; call this when the workers have ended."""
        for active in list(self._active.values()):
            if active.attempt.outcome == "running":
                self._end_attempt(active, "interrupted", Failure("Interrupted", "the batch was stopped"))
            active.lock.release()
        self._active.clear()

    def _hand_out(self) -> None:
        while self._scheduler.n_free and (part := self._next_part()) is not None:
            self._active[part.job].n_running += 1
            self._scheduler.start(part)

    def _next_part(self) -> JobPart | None:
        """The next part that can begin: of a job in work, else of a newly claimed one."""
        for active in self._active.values():
            if active.todo:
                return active.todo.popleft()
        while self._later and self._later[0][0] <= time.monotonic():
            self._waiting.append(self._later.popleft()[1])
        while self._waiting:
            if (claimed := self._claim(self._waiting.popleft())) is not None:
                return claimed.todo.popleft()
        return None

    def _claim(self, job: BatchJob) -> _Active | None:
        """Claim a job, unless it is settled or held by another run."""
        file = JobFile(self._out, job)
        lock = FileLock(file.lock)
        try:
            file.prepare()
            is_ours = lock.acquire()
        except OSError as error:
            self._report(_refusal(file, f"cannot write to {file.lock.parent} ({error.strerror})"))
            return None
        if not is_ours:
            if job.name not in self._held:
                self._tell(JobEvent(job.name, "held", message=f"held by {lock.holder() or 'another run'}"))
            self._held.add(job.name)
            self._try_later(job)
            return None
        self._held.discard(job.name)
        opened: _Active | JobReport | None = None
        try:
            opened = self._opened(file, lock)
        finally:
            if not isinstance(opened, _Active):
                lock.release()
        if isinstance(opened, _Active):
            return opened
        self._report(opened)
        return None

    def _opened(self, file: JobFile, lock: FileLock) -> _Active | JobReport:
        """The job, ready to begin; a report if it turns out to be settled."""
        now, state, present = made_from(file.job, self._settings), file.read(), file.output_now()
        is_same = state is not None and state.made_from == now
        if state is not None and is_same and state.status == "done" and state.output == present:
            return _report_of(file, state, "already done")
        if state is not None and is_same and state.status == "failed" and not self._rules.retry_failed:
            return _report_of(file, state, "failed")
        if present and not self._rules.overwrite and (reason := objection(state, now, present)):
            todo = "give --overwrite to replace it, or another --out or --name"
            return _refusal(file, f"{file.output} {reason}", todo)
        if state is None or not is_same or state.status != "open":
            state = JobState(str(file.job.source), now)
        state.close_cut_off(WorkFolder(file.work).n_stored())
        if state.attempts and not state.may_retry:
            state.status = "failed"
            file.write(state)
            return _report_of(file, state, "failed")
        active = self._active[file.job.name] = _Active(file, lock, state, resume=state.may_resume)
        state.vidfill = __version__
        self._begin(active)
        active.todo.append(self._part(active, "plan" if self._rules.split else "whole"))
        return active

    def _begin(self, active: _Active) -> None:
        active.state.begin(platform.node())
        active.began_s = time.monotonic()
        active.file.write(active.state)
        self._tell(JobEvent(active.job.name, "running"))

    def _part(self, active: _Active, kind: PartKind, segments: tuple[int, ...] = ()) -> JobPart:
        job, file, settings = active.job, active.file, self._settings
        if job.mask is not None:
            settings = replace(settings, mask=job.mask)
        if active.state.needs_half:
            settings = replace(settings, working_size=_halved(settings.working_size, job.source))
        return JobPart(
            job.name,
            kind,
            job.source,
            f"{file.output}/" if job.makes_folder else str(file.output),
            file.work,
            file.thumbnails,
            settings,
            resume=active.resume or kind not in ("plan", "whole"),
            segments=segments,
        )

    def _take(self, event: Event) -> None:
        active = self._active.get(event.part.job)
        if active is None:
            return
        if isinstance(event, Progressed):
            self._show_progress(active, event)
            return
        active.n_running -= 1
        outcome = event.outcome if isinstance(event, Ended) else _as_failure(event)
        is_stillborn = isinstance(event, Died) and not event.has_begun
        self._n_stillborn = self._n_stillborn + 1 if is_stillborn else 0
        if isinstance(outcome, Done):
            self._go_on(active, event.part, outcome)
        elif is_stillborn:
            self._hand_out_again(active, event.part, outcome.message)
        else:
            self._go_back(active, event.part, outcome)
        if active.is_draining and not active.n_running:
            self._put_back(active)

    def _hand_out_again(self, active: _Active, part: JobPart, message: str) -> None:
        """After a worker died before it began its part, which is the fault of the machine, not of the job.

        Raises:
            DeviceError: too many have died in a row.
        """
        if self._n_stillborn >= _MAX_STILLBORN:
            raise DeviceError(
                f"{self._n_stillborn} workers in a row died before they could begin, the last one so: {message}",
                todo="look whether memory is short, or take fewer workers",
            )
        if not active.is_draining:
            active.todo.appendleft(part)

    def _show_progress(self, active: _Active, event: Progressed) -> None:
        kind, stage = event.part.kind, event.stage
        if kind == "assemble" and stage == "fill":
            return  # already filled
        if kind == "segments":
            self._tell_segments(active)  # many at once: segments are counted, not their frames
            return
        self._tell(JobEvent(active.job.name, "running", stage, event.done, event.total))

    def _tell_segments(self, active: _Active) -> None:
        self._tell(JobEvent(active.job.name, "running", "fill", active.n_stored(), active.n_segments))

    def _go_on(self, active: _Active, part: JobPart, done: Done) -> None:
        """After a part that succeeded."""
        if part.kind in ("whole", "assemble"):
            self._finish(active, done)
            return
        if part.kind == "plan":
            active.n_segments = active.n_stored() + sum(map(len, done.missing))
            active.todo.extend(self._part(active, "segments", run) for run in done.missing)
        self._tell_segments(active)
        if not active.todo and not active.n_running and not active.is_draining:
            active.todo.append(self._part(active, "assemble"))

    def _go_back(self, active: _Active, part: JobPart, bad: Failure) -> None:
        """After a part that failed."""
        if active.is_draining:
            return
        if bad.is_busy:
            active.state.attempts.pop()  # no attempt
            active.file.write(active.state)
            active.is_draining = active.is_busy = True
            return
        self._end_attempt(active, "killed" if bad.kind == KILLED else "failed", bad)
        if part.kind == "segments" and active.attempt.keeps_segments and active.state.may_retry:
            self._begin(active)
            active.todo.append(replace(part, resume=True))
        else:
            active.is_draining = True
            active.todo.clear()

    def _put_back(self, active: _Active) -> None:
        """Release a job that is not done; whoever claims it next tries again or gives it up."""
        self._release(active)
        if active.is_busy:
            self._try_later(active.job)
            return
        if active.state.may_retry:
            self._tell(JobEvent(active.job.name, "waiting", message=f"trying again: {active.attempt.message}"))
        self._waiting.append(active.job)

    def _try_later(self, job: BatchJob) -> None:
        self._later.append((time.monotonic() + _HELD_RETRY_S, job))

    def _finish(self, active: _Active, done: Done) -> None:
        active.state.status, active.state.result = "done", done.result
        self._end_attempt(active, "done")
        remove_partials(active.file.output)
        self._release(active)
        self._report(_report_of(active.file, active.state, "done"))

    def _end_attempt(self, active: _Active, outcome: AttemptOutcome, why: Failure | None = None) -> None:
        seconds = round(time.monotonic() - active.began_s, 3)
        active.attempt.end(outcome, n_stored=active.n_stored(), seconds=seconds, why=why)
        active.state.output = active.file.output_now()
        if active.lock.is_held:  # else this process slept for so long that another one has taken the job
            active.file.write(active.state)

    def _release(self, active: _Active) -> None:
        active.lock.release()
        del self._active[active.job.name]

    def _report(self, report: JobReport) -> None:
        name = report.output.relative_to(self._out).as_posix()
        self._reports[name] = report
        self._tell(JobEvent(name, report.status, message=report.message))


def _report_of(file: JobFile, state: JobState, status: Status) -> JobReport:
    error = state.error if status == "failed" else None
    seconds = round(sum(attempt.seconds for attempt in state.attempts), 3)
    report = JobReport(file.job.source, file.output, status, len(state.attempts), seconds)
    if error is not None:
        return replace(report, kind=error.kind, message=error.message, exit_code=error.exit_code)
    return replace(report, result=state.result, thumbnails=tuple(path for path in file.thumbnails if path.exists()))


def _refusal(file: JobFile, found: str, todo: str = "give another --out or --name") -> JobReport:
    """The report of a job that failed without an attempt."""
    why = Failure.of(OutputError(found, todo=todo))
    report = JobReport(file.job.source, file.output, "failed")
    return replace(report, kind=why.kind, message=why.message, exit_code=why.exit_code)


def _as_failure(death: Died) -> Failure:
    if death.cause == "memory":
        kind = OutOfMemoryError
        return Failure(kind.__name__, death.message, kind.exit_code, out_of_memory=True)
    return Failure(KILLED if death.cause == "killed" else "Crashed", death.message)


def _halved(working_size: str | None, source: Path) -> str:
    """Half as many pixels as this working size has."""
    pixels = parse_working_size(working_size)
    if pixels is None:
        try:
            info = probe(source)
            pixels = info.height * info.width
        except VidfillError:
            pixels = DEFAULT_WORKING_PIXELS
    return str(max(pixels // 2, MIN_WORKING_PIXELS))
