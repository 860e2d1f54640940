"""Files that have their name only when they are complete."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vidfill.errors import OutputError
from vidfill.files.atomic import atomic_write, remove_partials, write_file

KILLED = """
import os, signal, sys
from pathlib import Path
from vidfill.files.atomic import atomic_write
with atomic_write(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    print(partial, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _killed(path: Path) -> Path:
    """What a process leaves that was killed while it wrote."""
    command = [sys.executable, "-c", KILLED, str(path)]
    return Path(subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip())


@pytest.mark.parametrize("sync", [False, True])
def test_the_name_appears_at_the_end(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path, sync=sync) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.parent == tmp_path
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["nothing", "file", "folder"])
def test_an_exception_leaves_everything_as_it_was(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as partial:
        if kind == "file":
            partial.write_text("new")
        elif kind == "folder":
            (partial / "inside").mkdir(parents=True)
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("earlier", [False, True])
def test_a_folder_takes_the_place_of_an_earlier_one(tmp_path: Path, earlier: bool) -> None:
    path = tmp_path / "frames"
    if earlier:
        path.mkdir()
        (path / "old.png").touch()
    with atomic_write(path) as partial:
        partial.mkdir()
        (partial / "new.png").touch()
    assert [p.name for p in path.iterdir()] == ["new.png"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_of_any_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".json")
    left = _killed(path)
    assert left.exists()
    write_file(path, b"{}")
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    left = _killed(path)
    assert left.read_text() == "half"
    machine, _, process = left.name.removeprefix("a.txt.").rpartition("-")
    of_a_living_process = tmp_path / f"a.txt.{machine}-{os.getppid()}.part"
    of_another_machine = tmp_path / f"a.txt.elsewhere-{process}"
    of_another_file = tmp_path / f"b.{left.name}"
    others = {of_a_living_process, of_another_machine, of_another_file}
    for other in others:
        other.touch()
    write_file(path, b"whole")
    assert set(tmp_path.iterdir()) == {path} | others
    remove_partials(path)
    assert set(tmp_path.iterdir()) == {path, of_another_file}


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write .*file/a\.txt \("):
        write_file(tmp_path / "file" / "a.txt", b"")
    write_file(tmp_path / "new" / "folder" / "a.txt", b"content")
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == b"content"
