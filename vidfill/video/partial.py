"""Names of outputs that are not complete yet, and what runs that were killed have left of them."""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path


def partial_path(output: Path) -> Path:
    """Where an output grows until it is complete: beside its final name, with machine and process in its own."""
    output = output.absolute()
    return output.with_name(f"{output.name}.{_machine()}-{os.getpid()}.part")


def remove_stale(output: Path) -> None:
    """Remove what runs on this machine have left for this output that are no longer there to finish it (SIGKILL).

    A process that lives, or one on another machine, may still be writing: what belongs to it stays.
    """
    output = output.absolute()
    if os.name != "posix":  # elsewhere asking whether a process lives may end it
        return
    pattern = re.compile(re.escape(f"{output.name}.{_machine()}-") + r"(\d+)\.part")
    for path in output.parent.iterdir():
        name = pattern.fullmatch(path.name)
        if name is None or _is_alive(int(name[1])):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_partials(output: Path) -> None:
    """Remove what any run has left for an output that is complete; for whoever knows that nobody writes it any more."""
    output = output.absolute()
    pattern = re.compile(re.escape(output.name) + r"\.[\w-]+-\d+\.part")
    for path in output.parent.iterdir():
        if pattern.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


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
