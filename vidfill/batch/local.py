"""Workers on this machine: separate processes, so that the death of one affects nothing else."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self

from vidfill.batch.scheduling import Died, Ended, Event, Progressed
from vidfill.batch.work import JobPart, PartWorker
from vidfill.files.processes import cpu_count, no_interrupts
from vidfill.progress import OnProgress, Progress

_REPORT_EVERY_S = 0.2
_GRACE_S = 10.0  # for a worker to remove its half-written output
_VMSTAT = Path("/proc/vmstat")


class LocalScheduler:
    """One worker process for each device, started when there is work for it; dead ones are replaced.

    Args:
        devices: of the workers, as `vidfill.remove` takes them; "" for that of the settings.
        threads: CPU threads of each, 0 for what the settings say.
    """

    def __init__(self, devices: Sequence[str], *, threads: int = 0) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._devices, self._threads = devices, threads
        self._workers: dict[int, _WorkerProcess] = {}  # by the position of their device

    @property
    def n_free(self) -> int:
        """Workers without a part, including those not started yet."""
        return len(self._devices) - sum(worker.part is not None for worker in self._workers.values())

    def __enter__(self) -> Self:
        """Workers start with their first part."""
        return self

    def __exit__(self, *error: object) -> None:
        """Ask the workers to end, then kill those that do not."""
        for worker in self._workers.values():
            worker.ask_to_end()
        deadline_s = time.monotonic() + _GRACE_S
        for worker in self._workers.values():
            worker.end(max(0.0, deadline_s - time.monotonic()))
        self._workers.clear()

    def start(self, part: JobPart) -> None:
        """Give a part to a free worker; a dead one is noticed by `wait`."""
        idle = next((worker for worker in self._workers.values() if worker.part is None), None)
        if idle is None:
            index = next(index for index in range(len(self._devices)) if index not in self._workers)
            idle = self._workers[index] = _WorkerProcess(self._context, self._devices[index], self._threads)
        idle.start(part)

    def wait(self, timeout_s: float) -> list[Event]:
        """Progress, results and deaths since the last call."""
        indices = {handle: index for index, worker in self._workers.items() for handle in worker.handles}
        if not indices:
            time.sleep(timeout_s)
        events: list[Event] = []
        for index in sorted({indices[handle] for handle in wait(list(indices), timeout_s)}):  # type: ignore[index]
            worker = self._workers[index]
            has_ended = worker.has_ended  # asked before its last messages are read
            events += worker.events()
            if has_ended:
                if worker.part is not None:
                    events.append(worker.death_of(worker.part))
                worker.end(0.0)
                del self._workers[index]
        return events


class _WorkerProcess:
    """A worker and the pipe to it."""

    def __init__(self, context: SpawnContext, device: str, threads: int) -> None:
        self.part: JobPart | None = None
        self._pipe, there = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(there, device, threads), daemon=True)
        with no_interrupts():
            self._process.start()
        there.close()
        self._n_oom_kills = 0
        self._is_up = False

    @property
    def handles(self) -> tuple[Connection, int]:
        """What becomes ready when there are events."""
        return self._pipe, self._process.sentinel

    @property
    def has_ended(self) -> bool:
        return not self._process.is_alive()

    def start(self, part: JobPart) -> None:
        self.part, self._n_oom_kills = part, _oom_kills()
        with contextlib.suppress(OSError):  # it has died: its sentinel says so
            self._pipe.send(part)

    def events(self) -> list[Event]:
        """All that has come through the pipe."""
        events: list[Event] = []
        with contextlib.suppress(EOFError, OSError):
            while self._pipe.poll():
                event = self._pipe.recv()
                if event is None:
                    self._is_up = True
                    continue
                if isinstance(event, Ended):
                    self.part = None
                events.append(event)
        return events

    def death_of(self, part: JobPart) -> Died:
        death = cause_of_death(part, self._process.exitcode or 0, n_oom_kills=_oom_kills() - self._n_oom_kills)
        return death._replace(has_begun=self._is_up)

    def ask_to_end(self) -> None:
        self._process.terminate()
        self._pipe.close()

    def end(self, grace_s: float) -> None:
        self._process.join(grace_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def cause_of_death(part: JobPart, exit_code: int, *, n_oom_kills: int) -> Died:
    """What a worker died of.

    Args:
        part: what it was working on.
        exit_code: of its process; minus the number of a signal.
        n_oom_kills: processes that the system has killed meanwhile because memory ran out.
    """
    if exit_code >= 0:
        return Died(part, "crashed", f"the worker died with exit code {exit_code}")
    number = signal.Signals(-exit_code)
    if number == signal.SIGKILL and n_oom_kills:
        return Died(part, "memory", "the system killed the worker since memory ran out")
    if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return Died(part, "killed", f"the worker was killed by {number.name}")
    return Died(part, "crashed", f"the worker died of {number.name}")


def share_out(n_workers: int, *, n_gpus: int, threads: int) -> tuple[list[str], int]:
    """The devices of the workers of this machine, and the CPU threads of each.

    Args:
        n_workers: 0 for one per GPU, or one without a GPU.
        n_gpus: how many GPUs they use.
        threads: of each; 0 for an equal part of the CPUs if they compute on the CPU.
    """
    n_workers = n_workers or max(1, n_gpus)
    if n_gpus:
        return [f"cuda:{index % n_gpus}" for index in range(n_workers)], threads
    if threads == 0 and n_workers > 1:
        threads = max(1, cpu_count() // n_workers)
    return [""] * n_workers, threads


def _serve(pipe: Connection, device: str, threads: int) -> None:
    """The worker process: do the parts that come through the pipe until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, _stop)
    logging.getLogger("vidfill").addHandler(logging.NullHandler())  # warnings go with the result
    worker = PartWorker(device=device, threads=threads)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        pipe.send(None)  # it is up
        while True:
            part: JobPart = pipe.recv()
            pipe.send(Ended(part, worker.do(part, _reporter(pipe, part))))


def _reporter(pipe: Connection, part: JobPart) -> OnProgress:
    """Sends progress through the pipe now and then; ends the worker if its other end is closed."""
    sent_s = 0.0

    def report(step: Progress) -> None:
        nonlocal sent_s
        if time.monotonic() - sent_s < _REPORT_EVERY_S and step.done != step.total:
            return
        sent_s = time.monotonic()
        try:
            pipe.send(Progressed(part, *step))
        except OSError:
            raise KeyboardInterrupt from None

    return report


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _oom_kills() -> int:
    """How many processes the system has killed since it started because memory ran out; 0 if it does not say."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return int(dict(line.split() for line in _VMSTAT.read_text().splitlines())["oom_kill"])
    return 0
