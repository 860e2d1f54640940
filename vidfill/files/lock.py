"""Locks that processes on several machines share through files; a lock is never taken from a holder that lives.

On one machine the process itself is looked up: its number and the time when it started. Across machines, and across
containers, whose process numbers mean nothing to one another, a lock counts as long as its holder touches its file.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

HEARTBEAT_S = 5.0
"""Seconds between two touches of a lock that is held."""
STALE_S = 60.0
"""Seconds without a touch after which a lock of another machine expires: far more than a busy server's delay."""


class Holder(NamedTuple):
    """Who holds a lock."""

    host: str
    pid: int
    machine: str  # tells machines, boots and containers apart
    started: str  # when the process started, in the system's own ticks; "" where it does not tell
    token: str  # of this one lock

    @classmethod
    def here(cls) -> Self:
        """This process, with a new token."""
        return cls(platform.node(), os.getpid(), _machine(), _start_of(os.getpid()) or "", uuid.uuid4().hex)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Who a lock file names; None where it is gone or names nobody."""
        try:
            found = json.loads(path.read_text())
            return cls(found["host"], int(found["pid"]), found["machine"], found["started"], found["token"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class FileLock:
    """An exclusive lock with a name, in a folder that all who want it share.

    The lock is a file made with O_EXCL. Where all its files are those of dead holders, a taker makes one with the next
    number (".2", ".3"), so that of several takers one wins; it looks once more whether a living holder has come in
    between, and then removes the files of the dead.

    Args:
        path: the lock's file.
        heartbeat_s: seconds between two touches while it is held.
        stale_s: seconds without a touch after which a holder on another machine counts as dead.
    """

    def __init__(self, path: Path, *, heartbeat_s: float = HEARTBEAT_S, stale_s: float = STALE_S) -> None:
        self._path = path
        self._heartbeat_s, self._stale_s = heartbeat_s, stale_s
        self._mine: tuple[Path, Holder] | None = None
        self._released = threading.Event()

    def acquire(self) -> bool:
        """Try to get the lock, without waiting.

        Raises:
            OSError: the folder is not there or cannot be written.
        """
        files = self._files()
        if self._living(files) is not None:
            return False
        path, holder = self._numbered(max(files, default=0) + 1), Holder.here()
        try:
            with path.open("x") as file:
                json.dump(holder._asdict(), file)
        except FileExistsError:
            return False
        others = {number: other for number, other in self._files().items() if other != path}
        if self._living(others) is not None:
            path.unlink(missing_ok=True)
            return False
        for other in others.values():
            other.unlink(missing_ok=True)
        self._mine, self._released = (path, holder), threading.Event()
        threading.Thread(target=self._beat, args=(path, self._released), name="heartbeat", daemon=True).start()
        return True

    def release(self) -> None:
        """Release the lock, unless it is not held or was taken from this process because it seemed dead."""
        self._released.set()
        if self._mine is not None and self.is_held:
            with suppress(OSError):
                self._mine[0].unlink()
        self._mine = None

    @property
    def is_held(self) -> bool:
        """Whether this object still has the lock: a process that was suspended for long may have lost it."""
        if self._mine is None:
            return False
        path, holder = self._mine
        found = Holder.read(path)
        return found is not None and found.token == holder.token

    def holder(self) -> Holder | None:
        """The living holder; None where there is none, or its file does not name it."""
        living = self._living(self._files())
        return None if living is None else Holder.read(living)

    def _beat(self, path: Path, released: threading.Event) -> None:
        while not released.wait(self._heartbeat_s):
            with suppress(OSError):
                os.utime(path)

    def _files(self) -> dict[int, Path]:
        """The lock's files by number."""
        found = {}
        with os.scandir(self._path.parent) as entries:
            for entry in entries:
                name, _, number = entry.name.rpartition(".")
                if entry.name == self._path.name:
                    found[1] = Path(entry.path)
                elif name == self._path.name and number.isdecimal():
                    found[int(number)] = Path(entry.path)
        return found

    def _numbered(self, number: int) -> Path:
        return self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number}")

    def _living(self, files: dict[int, Path]) -> Path | None:
        """The newest of the files whose holder lives."""
        return next((files[number] for number in sorted(files, reverse=True) if self._is_living(files[number])), None)

    def _is_living(self, path: Path) -> bool:
        holder = Holder.read(path)
        if holder is not None and holder.machine == _machine() and holder.started:
            return _start_of(holder.pid) == holder.started
        try:
            return _now(path.parent) - path.stat().st_mtime < self._stale_s
        except FileNotFoundError:
            return False


def _machine() -> str:
    """Equal for processes that see one another's process numbers."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _start_of(pid: int) -> str | None:
    """When a process of this machine started, in ticks since boot; None where it does not live."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _now(folder: Path) -> float:
    """The time by the clock that sets the times of a folder's files, which may be a server's."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        return os.fstat(probe.fileno()).st_mtime
