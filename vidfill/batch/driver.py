"""Takes the jobs of a batch to their end: claims them, hands their parts out, keeps their state, tries again."""

from __future__ import annotations

import platform
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vidfill import __version__
from vidfill.batch.events import JobEvent, JobReport, OnEvent, Status
from vidfill.batch.inputs import BatchJob
from vidfill.batch.scheduling import Died, Ended, Event, Progressed, Scheduler
from vidfill.batch.state import KILLED, RESUMABLE, Attempt, JobFile, JobState, difference, made_from, may_retry
from vidfill.batch.state import Outcome as AttemptOutcome
from vidfill.batch.work import Done, Failure, Part, PartKind
from vidfill.engine.plan import DEFAULT_WORKING_PIXELS, parse_working_size
from vidfill.errors import DeviceError, OutOfMemoryError, OutputError, VidfillError
from vidfill.files.atomic import remove_partials
from vidfill.files.lock import FileLock
from vidfill.removal.work_folder import WorkFolder
from vidfill.video.read import probe

_WAIT_S = 0.5
_MAX_STILLBORN = 100
_HELD_AGAIN_S = 2.0  # until a job that another run holds is looked at again


@dataclass(frozen=True, slots=True)
class BatchRules:
    """How a batch is done, beside the settings of its removals.

    Attributes:
        split: whether the segments of one video are spread over the workers, those of a scene together if they depend
            on one another.
        overwrite: whether outputs that are there and are not this batch's may be replaced.
        retry_failed: whether jobs that were given up are tried anew.
    """

    split: bool = False
    overwrite: bool = False
    retry_failed: bool = False


@dataclass(slots=True)
class _Active:
    """A job that this run holds."""

    job: BatchJob
    file: JobFile
    lock: FileLock
    state: JobState
    resume: bool
    todo: deque[Part] = field(default_factory=deque)
    n_running: int = 0
    n_segments: int = 0
    is_draining: bool = False  # no more parts are begun
    is_busy: bool = False  # another process is at its work folder
    began_s: float = field(default_factory=time.monotonic)

    @property
    def attempt(self) -> Attempt:
        return self.state.attempts[-1]


class Driver:
    """See the module.

    Args:
        jobs: of this run.
        out: folder of outputs, there already.
        settings: of `vidfill.remove`, by name.
        rules: see there.
        scheduler: has the workers.
        on_event: is told of everything.
    """

    def __init__(
        self,
        jobs: Sequence[BatchJob],
        out: Path,
        settings: Mapping[str, Any],
        rules: BatchRules,
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
        self._held: set[str] = set()  # by other runs, and told so
        self._n_stillborn = 0  # workers in a row that died before they came to a part

    def run(self) -> list[JobReport]:
        """Do all jobs, in the end wait for those that other runs hold; gives a report for each, in their order."""
        while len(self._reports) < len(self._jobs):
            self._hand_out()
            if len(self._reports) == len(self._jobs):
                break
            for event in self._scheduler.wait(_WAIT_S):
                self._take(event)
        return [self._reports[name] for name in self._jobs]

    def close(self) -> None:
        """Give up what is in work, so that it can be resumed; to be called when the workers have ended."""
        for active in list(self._active.values()):
            if active.attempt.outcome == "running":
                self._end_attempt(active, "interrupted", Failure("Interrupted", "the batch was stopped"))
            active.lock.release()
        self._active.clear()

    def _hand_out(self) -> None:
        while self._scheduler.n_free and (part := self._next_part()) is not None:
            self._active[part.job].n_running += 1
            self._scheduler.start(part)

    def _next_part(self) -> Part | None:
        """The next part that can begin: of a job in work first, then of one that is claimed for it."""
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
        """Take a job on, unless it is settled or held by another run."""
        file = JobFile(self._out, job)
        lock = FileLock(file.lock)
        try:
            file.prepare()
            is_ours = lock.acquire()
        except OSError as error:
            self._refuse(job, file, f"cannot write to {file.lock.parent} ({error.strerror})")
            return None
        if not is_ours:
            if job.name not in self._held:
                self._tell(JobEvent(job.name, "held", message=f"held by {lock.holder() or 'another run'}"))
            self._held.add(job.name)
            self._later.append((time.monotonic() + _HELD_AGAIN_S, job))
            return None
        self._held.discard(job.name)
        try:
            active = self._opened(job, file, lock)
        except BaseException:
            lock.release()
            raise
        if active is None:
            lock.release()
        return active

    def _opened(self, job: BatchJob, file: JobFile, lock: FileLock) -> _Active | None:
        """The job ready to begin; None if it turns out to be settled."""
        now, state, present = made_from(job, self._settings), file.read(), file.output_now()
        is_same = state is not None and state.made_from == now
        if state is not None and is_same and state.status == "done" and state.output == present:
            self._settle(job, file, state, "already done")
            return None
        if state is not None and is_same and state.status == "failed" and not self._rules.retry_failed:
            self._settle(job, file, state, "failed")
            return None
        if present and not self._rules.overwrite and (reason := _objection(state, now, present)):
            self._refuse(
                job, file, f"{file.output} {reason}", "give --overwrite to replace it, or another --out or --name"
            )
            return None
        if state is None or not is_same or state.status != "open":
            state = JobState(str(job.source), now)
        state.close_cut_off(WorkFolder(file.work).n_stored())
        if state.attempts and not may_retry(state.attempts):
            state.status = "failed"
            file.write(state)
            self._settle(job, file, state, "failed")
            return None
        active = _Active(job, file, lock, state, resume=state.may_resume)
        state.vidfill = __version__
        self._begin(active)
        active.todo.append(self._part(active, "plan" if self._rules.split else "whole"))
        self._active[job.name] = active
        return active

    def _begin(self, active: _Active) -> None:
        active.state.begin(platform.node())
        active.began_s = time.monotonic()
        active.file.write(active.state)
        self._tell(JobEvent(active.job.name, "running"))

    def _part(self, active: _Active, kind: PartKind, segments: tuple[int, ...] = ()) -> Part:
        job, file = active.job, active.file
        settings = dict(self._settings)
        if job.mask is not None:
            settings["mask"] = job.mask
        if active.state.needs_half:
            settings["working_size"] = _halved(settings.get("working_size"), job.source)
        return Part(
            job.name,
            kind,
            job.source,
            f"{file.output}/" if job.makes_folder else str(file.output),
            file.work,
            file.thumbnails,
            settings,
            resume=active.resume or kind not in ("plan", "whole"),
            overwrite=True,  # what must not be replaced was refused before, under the lock
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

    def _hand_out_again(self, active: _Active, part: Part, message: str) -> None:
        """After a worker that died before it came to its part: that says something of the machine, not of the job.

        Raises:
            DeviceError: too many have done so one after the other.
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
            return  # filled before
        if kind == "segments":
            self._tell_segments(active)  # many at once: they are counted, not their frames
            return
        self._tell(JobEvent(active.job.name, "running", stage, event.done, event.total))

    def _tell_segments(self, active: _Active) -> None:
        n_stored = WorkFolder(active.file.work).n_stored()
        self._tell(JobEvent(active.job.name, "running", "fill", n_stored, active.n_segments))

    def _go_on(self, active: _Active, part: Part, done: Done) -> None:
        """After a part that went well."""
        if part.kind in ("whole", "assemble"):
            self._finish(active, done)
            return
        if part.kind == "plan":
            active.n_segments = WorkFolder(active.file.work).n_stored() + sum(map(len, done.missing))
            active.todo.extend(self._part(active, "segments", run) for run in done.missing)
        self._tell_segments(active)
        if not active.todo and not active.n_running and not active.is_draining:
            active.todo.append(self._part(active, "assemble"))

    def _go_back(self, active: _Active, part: Part, bad: Failure) -> None:
        """After a part that did not."""
        if active.is_draining:
            return
        if bad.is_busy:
            active.state.attempts.pop()  # nobody's fault, and no attempt
            active.file.write(active.state)
            active.is_draining = active.is_busy = True
            return
        self._end_attempt(active, "killed" if bad.kind == KILLED else "failed", bad)
        goes_on = part.kind == "segments" and (active.attempt.outcome == "killed" or active.attempt.kind in RESUMABLE)
        if goes_on and may_retry(active.state.attempts):
            self._begin(active)
            active.todo.append(replace(part, resume=True))
        else:
            active.is_draining = True
            active.todo.clear()

    def _put_back(self, active: _Active) -> None:
        """Let go of a job that is not done; whoever claims it next tries again or gives it up."""
        self._release(active)
        if active.is_busy:
            self._later.append((time.monotonic() + _HELD_AGAIN_S, active.job))
            return
        if may_retry(active.state.attempts):
            self._tell(JobEvent(active.job.name, "waiting", message=f"trying again: {active.attempt.message}"))
        self._waiting.append(active.job)

    def _finish(self, active: _Active, done: Done) -> None:
        active.state.status, active.state.result = "done", done.result
        self._end_attempt(active, "done")
        remove_partials(active.file.output)
        self._release(active)
        self._settle(active.job, active.file, active.state, "done")

    def _end_attempt(self, active: _Active, outcome: AttemptOutcome, why: Failure | None = None) -> None:
        attempt = active.attempt
        attempt.outcome, attempt.seconds = outcome, round(time.monotonic() - active.began_s, 3)
        attempt.n_stored = WorkFolder(active.file.work).n_stored()
        if why is not None:
            attempt.kind, attempt.message, attempt.exit_code = why.kind, why.message, why.exit_code
            attempt.out_of_memory = why.out_of_memory
        active.state.output = active.file.output_now()
        if active.lock.is_held:  # else this process slept so long that another one has taken the job
            active.file.write(active.state)

    def _release(self, active: _Active) -> None:
        active.lock.release()
        del self._active[active.job.name]

    def _settle(self, job: BatchJob, file: JobFile, state: JobState, status: Status) -> None:
        error = state.error if status == "failed" else None
        self._report(
            JobReport(
                job.source,
                file.output,
                status,
                len(state.attempts),
                round(sum(attempt.seconds for attempt in state.attempts), 3),
                error.kind if error else "",
                error.message if error else "",
                error.exit_code if error else 0,
                {} if error else state.result,
                tuple(path for path in file.thumbnails if not error and path.exists()),
            )
        )

    def _refuse(self, job: BatchJob, file: JobFile, found: str, todo: str = "give another --out or --name") -> None:
        """Report a job as failed without an attempt."""
        error = OutputError(found, todo=todo)
        self._report(
            JobReport(
                job.source,
                file.output,
                "failed",
                kind=type(error).__name__,
                message=str(error),
                exit_code=error.exit_code,
            )
        )

    def _report(self, report: JobReport) -> None:
        name = report.output.relative_to(self._out).as_posix()
        self._reports[name] = report
        self._tell(JobEvent(name, report.status, message=report.message))


def _objection(state: JobState | None, now: Mapping[str, str], present: str) -> str:
    """Why an output that is there may not be replaced unasked; "" if it is what an unfinished attempt left."""
    if state is None:
        return "exists"
    if not state.has_made(present):
        return "was not written by this batch, or was changed since"
    return f"was made otherwise: {difference(state.made_from, now)}" if state.status == "done" else ""


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
    return str(pixels // 2)
