"""A lock is held by one process at a time, outlives no dead one, and is never taken from a living one."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vidfill.files.lock import FileLock, Holder


def _write(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(Holder.here()._asdict() | changes))


def _age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def _dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_one_at_a_time(tmp_path: Path) -> None:
    one, two = FileLock(tmp_path / "a.lock"), FileLock(tmp_path / "a.lock")
    assert one.acquire()
    assert one.is_held
    assert not two.acquire()
    assert not two.is_held
    found = two.holder()
    assert found is not None
    assert found.pid == os.getpid()
    two.release()
    assert one.is_held, "who has no lock releases none"
    one.release()
    assert two.acquire()
    two.release()
    assert list(tmp_path.iterdir()) == []


def test_names_that_begin_alike_are_other_locks(tmp_path: Path) -> None:
    assert all(FileLock(tmp_path / name).acquire() for name in ("a.lock", "a.lock.x", "a"))


@pytest.mark.parametrize("age_s", [0, 1e6])
def test_a_living_process_keeps_its_lock(tmp_path: Path, age_s: float) -> None:
    path = tmp_path / "a.lock"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        _write(path, pid=process.pid, started=started)
        _age(path, age_s)
        assert not FileLock(path).acquire()
        process.kill()
        process.wait()
    assert FileLock(path).acquire(), "and loses it with its life, at once"


@pytest.mark.parametrize(
    "who",
    [lambda: {"pid": _dead_pid()}, lambda: {"started": "1"}],
    ids=["dead", "another process has its number now"],
)
def test_a_dead_process_holds_nothing(tmp_path: Path, who: Callable[[], dict[str, object]]) -> None:
    path = tmp_path / "a.lock"
    _write(path, **who())
    lock = FileLock(path)
    assert lock.acquire()
    assert lock.is_held
    lock.release()
    assert list(tmp_path.iterdir()) == [], "what the dead left behind is gone, too"


@pytest.mark.parametrize("content", ["another machine", "", "cut o", "[1]"])
def test_on_another_machine_the_heartbeat_counts(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.lock"
    if content == "another machine":
        _write(path, machine="elsewhere", host="elsewhere", pid=1)
    else:
        path.write_text(content)
    assert not FileLock(path, stale_s=5).acquire()
    _age(path, 6)
    assert FileLock(path, stale_s=5).acquire()


def test_a_held_lock_is_touched_until_released(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lock = FileLock(path, heartbeat_s=0.02)
    assert lock.acquire()
    _age(path, 1000)
    while time.time() - path.stat().st_mtime > 500:  # until the next heartbeat
        time.sleep(0.01)
    lock.release()
    assert not path.exists()


def test_a_lock_lost_while_suspended_stays_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    sleeper = FileLock(path)
    assert sleeper.acquire()
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"machine": "elsewhere"}))  # as another machine sees it
    _age(path, 1000)
    taker = FileLock(path)
    assert taker.acquire()
    assert not sleeper.is_held
    sleeper.release()
    assert taker.is_held
    assert not FileLock(path).acquire()


RACE = """
import json, sys, time
from pathlib import Path
from vidfill.files.lock import FileLock, Holder

path, log = Path(sys.argv[1]), Path(sys.argv[2])
sys.stdin.readline()
for n in range(20):
    lock = FileLock(path)
    while not lock.acquire():
        time.sleep(0.0005)
    for word in ("in", "out"):
        with log.open("a") as file:
            file.write(word + "\\n")
        time.sleep(0.001)
    if n % 2:
        lock.release()
    else:  # leave it as a process leaves it that was killed
        (mine,) = [file for file in path.parent.glob("a.lock*") if Holder.read(file) == lock.holder()]
        mine.write_text(json.dumps(lock.holder()._asdict() | {"started": "1"}))
"""


def test_of_many_takers_one_wins_though_others_die(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", RACE, str(tmp_path / "a.lock"), str(log)]
    runs = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
    for run in runs:
        assert run.stdin is not None
        run.stdin.write(b"\n")
        run.stdin.close()
    assert [run.wait() for run in runs] == [0] * 4
    assert log.read_text() == "in\nout\n" * 80
