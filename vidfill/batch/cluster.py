"""Workers on a Ray cluster: actors that keep their model, wherever there is room; paths travel, frames never do.

All machines see the videos and the folder of outputs under the same paths and have vidfill installed. Ray is asked for
no more than to place actors and to say which of them are gone: it restarts nothing and repeats nothing by itself,
since what is done is known from the files alone.
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
from types import TracebackType
from typing import Any, Self

from vidfill.batch.scheduling import Died, Ended, Event, Progressed
from vidfill.batch.work import Outcome, Part, Worker
from vidfill.errors import DeviceError, UsageError
from vidfill.removal.run import Progress

_log = logging.getLogger("vidfill")
_ASK_EVERY_S = 1.0
_CONNECT_S = 10.0
_PATHS = ("mask", "checkpoint", "model_dir")  # among the settings


class RayScheduler:
    """One actor for each GPU of the cluster, or for each of its CPUs where no GPU is wanted.

    A lost actor is asked for again: it begins when there is room for it, so a batch goes on with what is left of a
    cluster, and grows with it up to the first number of workers.

    Args:
        address: of a running cluster, "HOST:PORT" or "auto" for that which this machine is part of; "local" starts one
            on this machine alone.
        n_workers: 0 for as many as there is room for.
        threads: CPU threads of each; 0 for one, or for all that the settings say where there is a GPU.
        wants_gpu: whether the model gains by one.

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
        self._actors: list[_Remote] = []

    def __enter__(self) -> Self:
        """Connect and ask for the actors."""
        if self._starts_ray:
            _connect(self._ray, self._address)
        room = self._ray.cluster_resources()
        n_gpus, n_cpus = int(room.get("GPU", 0)), int(room.get("CPU", 1))
        uses_gpu = self._wants_gpu and n_gpus > 0
        threads = self._threads or (0 if uses_gpu else 1)
        resources = {"num_gpus": 1, "num_cpus": 0} if uses_gpu else {"num_cpus": threads}
        n_workers = self._n_workers or max(1, n_gpus if uses_gpu else n_cpus // threads)
        # Two threads: one works, one answers how far it is.
        actor = self._ray.remote(max_restarts=0, max_task_retries=0, max_concurrency=2, **resources)(_Actor)
        self._actors = [_Remote(actor, threads) for _ in range(n_workers)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the actors, and the connection if it is ours."""
        for remote in self._actors:
            self._ray.kill(remote.handle)
        self._actors.clear()
        if self._starts_ray:
            self._ray.shutdown()

    @property
    def n_free(self) -> int:
        """Actors that are up and have no part."""
        return sum(remote.is_free for remote in self._actors)

    def start(self, part: Part) -> None:
        """Give a part to a free actor."""
        next(remote for remote in self._actors if remote.is_free).start(part)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What has become of the parts, and how far they are."""
        by_answer = {answer: remote for remote in self._actors for answer in remote.awaited()}
        ready, _ = self._ray.wait(list(by_answer), num_returns=1, timeout=timeout_s) if by_answer else ([], [])
        if not by_answer:
            time.sleep(timeout_s)
        events: list[Event] = []
        for answer in ready:
            remote = by_answer[answer]
            try:
                event = remote.heard(answer, self._ray.get(answer))
            except self._ray.exceptions.RayError as error:
                event = remote.lost(error)
            if event is not None:
                events.append(event)
        return events


def _connect(ray: Any, address: str) -> None:
    """Join the cluster at an address, and keep what Ray would take over: standard output and SIGTERM."""
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
    # Ray tells of dead nodes at length on standard output, and has no public switch for that.
    ray._private.worker._worker_logs_enabled = False


def _from_anywhere(part: Part) -> Part:
    """The part with absolute paths: other machines are in other folders."""
    given = {name: part.settings.get(name) for name in _PATHS}
    paths = {name: Path(path).absolute() for name, path in given.items() if path not in (None, "alpha")}
    return replace(part, source=part.source.absolute(), settings={**part.settings, **paths})


class _Actor:
    """What runs on the cluster."""

    def __init__(self, threads: int) -> None:
        self._worker = Worker(threads=threads)
        self._last: Progress | None = None

    def where(self) -> str:
        """The machine's name."""
        return platform.node()

    def do(self, part: Part) -> Outcome:
        """Do a part."""
        self._last = None
        return self._worker.do(part, self._remember)

    def progress(self) -> Progress | None:
        """How far the part is."""
        return self._last

    def _remember(self, step: Progress) -> None:
        self._last = step


@dataclass(slots=True)
class _Waiting:
    """Answers that an actor owes."""

    up: Any = None
    outcome: Any = None
    progress: Any = None


class _Remote:
    """An actor as the driver knows it."""

    def __init__(self, actor: Any, threads: int) -> None:
        self._class, self._threads = actor, threads
        self._part: Part | None = None
        self._owed = _Waiting()
        self._raise()

    @property
    def is_free(self) -> bool:
        return self._is_up and self._part is None

    def start(self, part: Part) -> None:
        self._part, self._asked_s = part, time.monotonic()
        self._owed.outcome = self.handle.do.remote(_from_anywhere(part))

    def awaited(self) -> list[Any]:
        """Answers to wait for; asks for the progress if it is time to."""
        owed = self._owed
        if self._part is not None and owed.progress is None and time.monotonic() - self._asked_s > _ASK_EVERY_S:
            owed.progress, self._asked_s = self.handle.progress.remote(), time.monotonic()
        return [answer for answer in (owed.up, owed.outcome, owed.progress) if answer is not None]

    def heard(self, answer: Any, value: Any) -> Event | None:
        owed, part = self._owed, self._part
        if answer == owed.up:
            self._is_up, owed.up, self.host = True, None, str(value)
            return None
        if answer == owed.progress:
            owed.progress = None
            return Progressed(part, *value) if part is not None and value is not None else None
        owed.outcome, self._part = None, None
        return Ended(part, value) if part is not None else None

    def lost(self, error: Exception) -> Event | None:
        """The actor, its process or its machine is gone: ask for another one."""
        part = self._part
        _log.info("a worker on %s is gone: %s", self.host or "the cluster", str(error).partition("\n")[0])
        where = f" on {self.host}" if self.host else ""
        self._raise()
        return Died(part, "killed", f"the worker{where} is gone") if part is not None else None

    def _raise(self) -> None:
        self.handle = self._class.remote(self._threads)
        self.host = ""
        self._is_up = False
        self._part = None
        self._asked_s = 0.0
        self._owed = _Waiting(up=self.handle.where.remote())
