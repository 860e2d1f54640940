"""An interrupted run is picked up segment by segment and ends in the same bytes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clips import write_clip
from tests.engine.models import WINDOW, Chained, Raising, Recorder, loading
from vidfill.errors import OutputError, UsageError
from vidfill.models.base import Model
from vidfill.progress import Progress
from vidfill.removal.run import RemoveResult, remove

# Holes far enough apart for three segments, of 4 frames each.
BOXES = ("20,10,30,20@#2-#6", "40,20,30,20@#20-#24", "8,30,30,20@#38-#42")
SETTINGS: dict[str, Any] = {"box": BOXES, "codec": "ffv1", "device": "cpu", "threads": 1}
ROOT = Path(__file__).parent.parent


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "in.mkv", n=44, audio_tracks=1).path


def _remove(source: Path, model: Model | None = None, *, output: str = "out.mkv", **changes: Any) -> RemoveResult:
    """By a model that fills with a flat colour unless another is given."""
    settings = SETTINGS | {"load": loading(model or Recorder(WINDOW))} | changes
    return remove(source, source.with_name(output), **settings)


def _whole(source: Path, kind: type[Recorder] = Recorder) -> tuple[bytes, int]:
    """The bytes that an uninterrupted run writes, and how many steps it takes."""
    model = kind(WINDOW)
    result = _remove(source, model, output="whole.mkv", overwrite=True)
    return result.output.read_bytes(), len(model.windows)


def _broken(at: int) -> Raising:
    return Raising(WINDOW, RuntimeError("power"), calls=[at])


def test_resume_after_an_error(source: Path) -> None:
    expected, n_steps = _whole(source)
    with pytest.raises(RuntimeError, match="power"):
        _remove(source, _broken(n_steps * 2 // 3))
    assert not source.with_name("out.mkv").exists()
    finished = list(source.with_name(".out.mkv.vidfill").glob("segment_*.patches"))
    assert 1 <= len(finished) <= 2

    model = Recorder(WINDOW)
    seen: list[Progress] = []
    result = _remove(source, model, resume=True, progress=seen.append)
    assert result.output.read_bytes() == expected
    assert 0 < len(model.windows) < n_steps
    assert not [p for p in seen if p.stage == "analyse"], "the plan is there already"
    assert not source.with_name(".out.mkv.vidfill").exists()


def test_resume_with_all_patches_stored(source: Path) -> None:
    expected, _ = _whole(source)
    _remove(source, keep_work=True)
    model = Recorder(WINDOW)
    assert _remove(source, model, resume=True, overwrite=True).output.read_bytes() == expected
    assert model.windows == []


def test_resume_with_other_output_settings(source: Path) -> None:
    _remove(source, keep_work=True)
    model = Recorder(WINDOW)
    _remove(source, model, resume=True, overwrite=True, codec="h264", grain=False)
    assert model.windows == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dilate": 6}, "dilate was auto, is 6"),
        ({"box": BOXES[:2]}, "box was .*, is "),
        ({"working_size": "64x64"}, "working size was None, is 64x64"),
        ({"precision": "bf16"}, "precision was auto, is bf16"),
    ],
)
def test_resume_with_other_fill_settings_is_refused(source: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RuntimeError):
        _remove(source, _broken(6))
    with pytest.raises(UsageError, match=message):
        _remove(source, resume=True, **change)


def test_resume_of_a_changed_source_is_refused(source: Path) -> None:
    with pytest.raises(RuntimeError):
        _remove(source, _broken(6))
    os.utime(source, ns=(1, 1))
    with pytest.raises(UsageError, match="source was"):
        _remove(source, resume=True)


def test_without_resume_a_run_starts_over(source: Path) -> None:
    expected, n_steps = _whole(source)
    with pytest.raises(RuntimeError):
        _remove(source, _broken(n_steps - 1))
    model = Recorder(WINDOW)
    assert _remove(source, model).output.read_bytes() == expected
    assert len(model.windows) == n_steps


def test_resume_without_earlier_work(source: Path) -> None:
    expected, _ = _whole(source)
    assert _remove(source, resume=True).output.read_bytes() == expected


KILLED = """
import os, signal, sys
from tests.engine.models import WINDOW, Chained
from tests.removal.test_resume import SETTINGS
from vidfill.removal.run import remove
from vidfill.removal.work_folder import WorkFolder

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Killed(Chained):
    def step(self, *views):
        if sys.argv[3] == str(len(self.windows)):
            die()
        return super().step(*views)

keep = WorkFolder.keep

def keep_and_die(self, segment, pictures):
    keep(self, segment, pictures)
    if sys.argv[3] == "memory is kept" and segment == 1:
        die()

WorkFolder.keep = keep_and_die
remove(sys.argv[1], sys.argv[2], load=lambda name, **options: Killed(WINDOW), **SETTINGS)
"""


def test_second_run_in_the_same_work_folder_is_refused(source: Path) -> None:
    expected, _ = _whole(source)
    refusals: list[str] = []

    def start_another(step: Progress) -> None:
        if step.stage == "fill" and not refusals:
            with pytest.raises(OutputError, match="in use by process") as refused:
                _remove(source)
            refusals.append(str(refused.value))

    result = _remove(source, progress=start_another)
    assert len(refusals) == 1
    assert result.output.read_bytes() == expected
    assert not source.with_name(".out.mkv.vidfill").exists()


@pytest.mark.parametrize(
    ("when", "left"),
    [
        ("7", ["00000.memory", "00000.patches"]),
        ("memory is kept", ["00000.memory", "00000.patches", "00001.memory"]),
    ],
)
def test_resume_after_a_kill(source: Path, when: str, left: list[str]) -> None:
    expected, n_steps = _whole(source, Chained)
    output = source.with_name("out.mkv")
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(source), str(output), when], cwd=ROOT, check=False, capture_output=True
    )
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    assert not output.exists()
    folder = source.with_name(".out.mkv.vidfill")
    assert sorted(path.name.removeprefix("segment_") for path in folder.glob("segment_*[sy]")) == left
    model = Chained(WINDOW)
    result = _remove(source, model, resume=True)
    assert result.output.read_bytes() == expected
    assert 0 < len(model.windows) < n_steps
    assert result.invented == 0.25, "of stored patches as of new ones"


def test_memory_changes_later_segments(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = _whole(source, Chained)
    monkeypatch.setattr(Chained, "recall", lambda self, pictures: None)
    assert _whole(source, Chained)[0] != expected, "else the tests above would say nothing"
