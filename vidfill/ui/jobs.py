"""Long work in a thread, one job at a time: its progress, its end, and a way to cancel it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from vidfill.errors import BusyError, VidfillError
from vidfill.progress import OnProgress, Progress, collected_warnings

_log = logging.getLogger("vidfill")

Work = Callable[[OnProgress], None]
"""Long work; calls back often, and lets exceptions from the callback through."""


@dataclass(frozen=True, slots=True)
class Job:
    """How far a job is.

    Attributes:
        number: counts up.
        kind: what is done, one word.
        state: "running", "done", "failed" or "cancelled".
        stage, done, total: see `vidfill.progress.Progress`.
        error: of a failed job.
        warnings: one line each, once it has ended.
    """

    number: int
    kind: str
    state: str = "running"
    stage: str = ""
    done: int = 0
    total: int = 0
    error: VidfillError | None = None
    warnings: tuple[str, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.state == "running"


class _Cancelled(Exception):  # noqa: N818 - the user's wish, no error
    """Raised in the progress callback, so that the library cleans up as after any error."""


class Jobs:
    """Runs one job at a time.

    Attributes:
        last: the running job, or the last one that ran.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.last: Job | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._is_closed = False

    def start(self, kind: str, work: Work) -> Job:
        """Start a job.

        Raises:
            BusyError: another job runs.
        """
        with self._lock:
            last = self.last
            if last is not None and last.is_running:
                raise BusyError(f"{kind} while {last.kind} is running", todo="wait for it, or cancel it")
            if self._is_closed:
                raise BusyError(f"{kind} while the program ends", todo="start it again")
            job = self.last = Job(last.number + 1 if last else 1, kind)
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, args=(work,), name=f"vidfill {kind}", daemon=True)
            self._thread.start()
            return job

    def cancel(self) -> None:
        """Ask the running job to stop; it does so when it next reports its progress."""
        self._stop.set()

    def wait(self, timeout_s: float | None = None) -> Job | None:
        """Wait until no job runs, or for this long."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self.last

    def close(self) -> None:
        """Cancel the running job, wait for it, and accept no more."""
        with self._lock:
            self._is_closed = True
        self.cancel()
        self.wait()

    def _run(self, work: Work) -> None:
        with collected_warnings() as warnings:
            try:
                work(self._report)
                self._end("done", warnings)
            except _Cancelled:
                self._end("cancelled", warnings)
            except VidfillError as error:
                self._end("failed", warnings, error)
            except Exception as error:  # noqa: BLE001 - any error in a thread must be shown on the page
                _log.debug("fault in a job", exc_info=error)
                self._end("failed", warnings, VidfillError(f"internal error: {type(error).__name__}: {error}"))

    def _report(self, step: Progress) -> None:
        if self._stop.is_set():
            raise _Cancelled
        assert self.last is not None
        if step.stage == "fill" and self.last.stage == "assemble":
            return  # both run interleaved, and writing counts the frames without a hole as well
        self.last = replace(self.last, stage=step.stage, done=step.done, total=step.total)

    def _end(self, state: str, warnings: list[str], error: VidfillError | None = None) -> None:
        assert self.last is not None
        self.last = replace(self.last, state=state, warnings=tuple(warnings), error=error)
