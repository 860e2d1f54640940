"""Workers on this machine: processes of their own, so that the death of one takes nothing else with it."""

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
from types import FrameType, TracebackType
from typing import NoReturn, Self

from vidfill.batch.scheduling import Died, Ended, Event, Progressed
from vidfill.batch.work import Part, Worker
from vidfill.files.processes import cpu_count, no_interrupts
from vidfill.removal.run import Progress

_REPORT_EVERY_S = 0.2
_GRACE_S = 10.0  # for a worker to clear away its half-written output
_VMSTAT = Path("/proc/vmstat")


class LocalScheduler:
    """One worker process for each device, started when there is work for it; dead ones are replaced.

    Args:
        devices: of the workers, in `vidfill.remove`'s terms; "" for that of the settings.
        threads: CPU threads of each, 0 for what the settings say.
    """

    def __init__(self, devices: Sequence[str], *, threads: int = 0) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._devices, self._threads = devices, threads
        self._workers: dict[int, _Process] = {}  # by the position of their device

    @property
    def n_free(self) -> int:
        """Workers without a part, those not started yet among them."""
        return len(self._devices) - sum(worker.part is not None for worker in self._workers.values())

    def __enter__(self) -> Self:
        """Workers come with their first part."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ask the workers to end, and make them."""
        for worker in self._workers.values():
            worker.ask_to_end()
        deadline_s = time.monotonic() + _GRACE_S
        for worker in self._workers.values():
            worker.end(max(0.0, deadline_s - time.monotonic()))
        self._workers.clear()

    def start(self, part: Part) -> None:
        """Give a part to a free worker; a dead one is noticed by `wait`."""
        idle = next((worker for worker in self._workers.values() if worker.part is None), None)
        if idle is None:
            index = next(index for index in range(len(self._devices)) if index not in self._workers)
            idle = self._workers[index] = _Process(self._context, self._devices[index], self._threads)
        idle.start(part)

    def wait(self, timeout_s: float) -> list[Event]:
        """What the workers say, and which have died."""
        indices = {handle: index for index, worker in self._workers.items() for handle in worker.handles}
        if not indices:
            time.sleep(timeout_s)
        events: list[Event] = []
        for index in sorted({indices[handle] for handle in wait(list(indices), timeout_s)}):  # type: ignore[index]
            worker = self._workers[index]
            has_ended = worker.has_ended  # asked before the last words are heard
            events += worker.events()
            if has_ended:
                if worker.part is not None:
                    events.append(worker.obituary(worker.part))
                worker.end(0.0)
                del self._workers[index]
        return events


class _Process:
    """A worker and the pipe to it."""

    def __init__(self, context: SpawnContext, device: str, threads: int) -> None:
        self.part: Part | None = None
        self._pipe, there = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(there, device, threads), daemon=True)
        with no_interrupts():
            self._process.start()
        there.close()
        self._n_oom_kills = 0
        self._is_up = False

    @property
    def handles(self) -> tuple[Connection, int]:
        """What becomes ready when there is news."""
        return self._pipe, self._process.sentinel

    @property
    def has_ended(self) -> bool:
        return not self._process.is_alive()

    def start(self, part: Part) -> None:
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

    def obituary(self, part: Part) -> Died:
        death = obituary(part, self._process.exitcode or 0, n_oom_kills=_oom_kills() - self._n_oom_kills)
        return death._replace(has_begun=self._is_up)

    def ask_to_end(self) -> None:
        self._process.terminate()
        self._pipe.close()

    def end(self, grace_s: float) -> None:
        self._process.join(grace_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def obituary(part: Part, exit_code: int, *, n_oom_kills: int) -> Died:
    """What a worker died of.

    Args:
        part: what it was at.
        exit_code: of its process; minus the number of a signal.
        n_oom_kills: processes that the system has killed for want of memory meanwhile.
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
        n_workers: 0 for one a GPU, or one without a GPU.
        n_gpus: that they are to use.
        threads: of each, 0 for a fair share where they compute on the CPU.
    """
    n_workers = n_workers or max(1, n_gpus)
    if n_gpus:
        return [f"cuda:{index % n_gpus}" for index in range(n_workers)], threads
    if threads == 0 and n_workers > 1:
        threads = max(1, cpu_count() // n_workers)
    return [""] * n_workers, threads


def _serve(pipe: Connection, device: str, threads: int) -> None:
    """The process: do what comes through the pipe until nobody is at its other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever has the terminal decides
    signal.signal(signal.SIGTERM, _stop)
    logging.getLogger("vidfill").addHandler(logging.NullHandler())  # warnings go with the result
    worker = Worker(device=device, threads=threads)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        pipe.send(None)  # it is up
        while True:
            part: Part = pipe.recv()
            pipe.send(Ended(part, worker.do(part, _Reporter(pipe, part))))


class _Reporter:
    """Sends progress now and then; ends the worker where nobody listens any more."""

    def __init__(self, pipe: Connection, part: Part) -> None:
        self._pipe, self._part, self._sent_s = pipe, part, 0.0

    def __call__(self, step: Progress) -> None:
        if time.monotonic() - self._sent_s < _REPORT_EVERY_S and step.done != step.total:
            return
        self._sent_s = time.monotonic()
        try:
            self._pipe.send(Progressed(self._part, *step))
        except OSError:
            raise KeyboardInterrupt from None


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _oom_kills() -> int:
    """How many processes the system has killed for want of memory since it started; 0 where it does not tell."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return int(dict(line.split() for line in _VMSTAT.read_text().splitlines())["oom_kill"])
    return 0
