"""Files and folders that get their final name only when they are complete.

Until then they lie beside it under a name with the machine and the process in it, so that what a killed process has
left can be told from what another one is writing.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vidfill.errors import OutputError

_MAX_NAME_BYTES = 150  # of the final name in a temporary one; file systems take 255 in all


@contextmanager
def atomic_write(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` for a file or a folder; it is renamed when the block ends well, else removed.

    Leftovers of dead processes for the same path are removed first. A folder takes the place of an earlier folder.

    Args:
        path: the final name; its folder exists.
        sync: whether a file must be on the disk before it is renamed, so that it survives a loss of power.

    Raises:
        OSError: the temporary file cannot be renamed.
    """
    path = path.absolute()
    _remove_stale(path)
    partial = path.with_name(f"{_stem(path)}.{_machine()}-{os.getpid()}.part")
    try:
        yield partial
        if sync:
            with partial.open("r+b") as file:
                os.fsync(file.fileno())
        if partial.is_dir() and path.is_dir():
            earlier = partial.with_suffix(".old")
            path.replace(earlier)
            partial.replace(path)
            shutil.rmtree(earlier)
        else:
            partial.replace(path)
    finally:
        _remove(partial)


def write_file(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Write a file, and its folder where there is none, by `atomic_write`.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, sync=sync) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror})", todo="free some space on the disk") from error


def remove_partials(path: Path) -> None:
    """Remove the temporary files of all machines for a path that nobody writes any more."""
    for partial in _partials(path.absolute(), r"[\w-]+"):
        _remove(partial)


def _remove_stale(path: Path) -> None:
    """Remove what killed processes of this machine have left; other machines and living processes may still write."""
    if os.name != "posix":  # elsewhere asking whether a process lives may end it
        return
    for partial, pid in _partials(path, re.escape(_machine())).items():
        if not _is_alive(pid):
            _remove(partial)


def _partials(path: Path, machine: str) -> dict[Path, int]:
    """The temporary files for a path, and the processes that made them; `machine` is a regular expression."""
    pattern = re.compile(re.escape(_stem(path)) + rf"\.{machine}-(\d+)\.part")
    with os.scandir(path.parent) as entries:
        named = [(Path(entry.path), pattern.fullmatch(entry.name)) for entry in entries]
    return {partial: int(match[1]) for partial, match in named if match is not None}


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        with suppress(OSError):
            partial.unlink()


def _stem(path: Path) -> str:
    raw = os.fsencode(path.name)
    return path.name if len(raw) <= _MAX_NAME_BYTES else hashlib.sha256(raw).hexdigest()[:32]


def _machine() -> str:
    return re.sub(r"[^\w-]", "_", platform.node()) or "here"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
