"""Workers on a Ray cluster: actors that keep their model loaded. Paths are sent between machines, frames never are.

All machines see the videos and the output folder under the same paths and have vidfill installed. Ray only places the
actors and reports which of them are gone; it restarts and repeats nothing, since the job files alone say what is done.
"""

from __future__ import annotations

import logging
import platform
import signal
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from vidfill.batch.scheduling import Died, Ended, Event, Progressed
from vidfill.batch.work import JobPart, PartResult, PartWorker
from vidfill.errors import DeviceError, UsageError
from vidfill.progress import Progress

_log = logging.getLogger("vidfill")
_POLL_S = 1.0  # between two requests for an actor's progress
_CONNECT_S = 10.0


class RayScheduler:
    """One actor for each GPU of the cluster, or for each of its CPUs if no GPU is wanted.

    A lost actor is requested again and starts as soon as there is room for it: a batch continues on what is left of a
    cluster, and grows with it up to the first number of workers.

    Args:
        address: of a running cluster, "HOST:PORT", or "auto" for the one that this machine is part of; "local" starts
            one on this machine alone.
        n_workers: 0 for as many as there is room for.
        threads: CPU threads of each; 0 for one, or with a GPU for what the settings say.
        wants_gpu: whether the model benefits from a GPU.

    Raises:
        UsageError: Ray is not installed.
        DeviceError: no cluster at this address.
    """

    def __init__(self, address: str, n_workers: int, *, threads: int, wants_gpu: bool) -> None:
        try:
            import ray
        except ImportError as error:
            raise UsageError("Ray is not installed", todo="pip install 'vidfill[cluster]'") from error
        self._ray: Any = ray
        self._address, self._n_workers, self._threads, self._wants_gpu = address, n_workers, threads, wants_gpu
        self._starts_ray = not ray.is_initialized()
        self._workers: list[_RemoteWorker] = []

    def __enter__(self) -> Self:
        """Connect and request the actors."""
        if self._starts_ray:
            _connect(self._ray, self._address)
        room = self._ray.cluster_resources()
        n_gpus, n_cpus = int(room.get("GPU", 0)), int(room.get("CPU", 1))
        uses_gpu = self._wants_gpu and n_gpus > 0
        threads = self._threads or (0 if uses_gpu else 1)
        resources = {"num_gpus": 1, "num_cpus": 0} if uses_gpu else {"num_cpus": threads}
        n_workers = self._n_workers or max(1, n_gpus if uses_gpu else n_cpus // threads)
        # Two threads: one works, one answers requests for progress.
        actor = self._ray.remote(max_restarts=0, max_task_retries=0, max_concurrency=2, **resources)(_Actor)
        self._workers = [_RemoteWorker(actor, threads) for _ in range(n_workers)]
        return self

    def __exit__(self, *error: object) -> None:
        """End the actors, and the connection if this scheduler made it."""
        for worker in self._workers:
            self._ray.kill(worker.handle)
        self._workers.clear()
        if self._starts_ray:
            self._ray.shutdown()

    @property
    def n_free(self) -> int:
        """Actors that are up and have no part."""
        return sum(worker.is_free for worker in self._workers)

    def start(self, part: JobPart) -> None:
        """Give a part to a free actor."""
        next(worker for worker in self._workers if worker.is_free).start(part)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Progress, results and deaths since the last call."""
        by_answer = {answer: worker for worker in self._workers for answer in worker.awaited()}
        if not by_answer:
            time.sleep(timeout_s)
            return []
        ready, _ = self._ray.wait(list(by_answer), num_returns=1, timeout=timeout_s)
        events: list[Event | None] = []
        for answer in ready:
            worker = by_answer[answer]
            try:
                events.append(worker.heard(answer, self._ray.get(answer)))
            except self._ray.exceptions.RayError as error:
                events.append(worker.lost(error))
        return [event for event in events if event is not None]


def _connect(ray: Any, address: str) -> None:
    """Join the cluster at an address, but keep standard output and SIGTERM from Ray."""
    host, _, port = address.rpartition(":")
    before = signal.getsignal(signal.SIGTERM)
    try:
        if host and port.isdecimal():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
        ray.init(
            address=None if address == "local" else address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise DeviceError(
            f"no Ray cluster at {address!r} ({str(error).splitlines()[0]})",
            todo="start one with `ray start --head`, or give the address of one",
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
    # Ray reports dead nodes at length on standard output, and has no public switch for that.
    ray._private.worker._worker_logs_enabled = False


class _Actor:
    """What runs on the cluster."""

    def __init__(self, threads: int) -> None:
        self._worker = PartWorker(threads=threads)
        self._last: Progress | None = None

    def where(self) -> str:
        return platform.node()

    def do(self, part: JobPart) -> PartResult:
        self._last = None
        return self._worker.do(part, self._remember)

    def progress(self) -> Progress | None:
        return self._last

    def _remember(self, step: Progress) -> None:
        self._last = step


@dataclass(slots=True)
class _Owed:
    """Answers that an actor owes."""

    up: Any = None
    outcome: Any = None
    progress: Any = None


class _RemoteWorker:
    """An actor as the driver sees it."""

    def __init__(self, actor: Any, threads: int) -> None:
        self._class, self._threads = actor, threads
        self._start_actor()

    def _start_actor(self) -> None:
        self.handle = self._class.remote(self._threads)
        self._part: JobPart | None = None
        self._host, self._is_up, self._asked_s = "", False, 0.0
        self._owed = _Owed(up=self.handle.where.remote())

    @property
    def is_free(self) -> bool:
        return self._is_up and self._part is None

    def start(self, part: JobPart) -> None:
        # Other machines have other current folders: they get absolute paths.
        given = {name: getattr(part.settings, name) for name in ("mask", "checkpoint", "model_dir")}
        paths: dict[str, Any] = {
            name: Path(path).absolute() for name, path in given.items() if path not in (None, "alpha")
        }
        absolute = replace(part, source=part.source.absolute(), settings=replace(part.settings, **paths))
        self._part, self._asked_s = part, time.monotonic()
        self._owed.outcome = self.handle.do.remote(absolute)

    def awaited(self) -> list[Any]:
        """Answers to wait for; requests the progress if it is time to."""
        owed = self._owed
        if self._part is not None and owed.progress is None and time.monotonic() - self._asked_s > _POLL_S:
            owed.progress, self._asked_s = self.handle.progress.remote(), time.monotonic()
        return [answer for answer in (owed.up, owed.outcome, owed.progress) if answer is not None]

    def heard(self, answer: Any, value: Any) -> Event | None:
        owed, part = self._owed, self._part
        if answer == owed.up:
            self._is_up, owed.up, self._host = True, None, str(value)
            return None
        if answer == owed.progress:
            owed.progress = None
            return Progressed(part, *value) if part is not None and value is not None else None
        owed.outcome, self._part = None, None
        return Ended(part, value) if part is not None else None

    def lost(self, error: Exception) -> Event | None:
        """The actor, its process or its machine is gone: request another one."""
        part, host = self._part, self._host
        _log.info("a worker on %s is gone: %s", host or "the cluster", str(error).partition("\n")[0])
        self._start_actor()
        where = f" on {host}" if host else ""
        return Died(part, "killed", f"the worker{where} is gone") if part is not None else None
