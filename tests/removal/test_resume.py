"""An interrupted run is picked up segment by segment and ends in the same bytes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clips import write_clip
from tests.engine.models import WINDOW, Chained, Raising, Recorder
from vidfill.errors import OutputError, UsageError
from vidfill.removal.run import Progress, remove

# Holes far enough apart for three segments, of 4 frames each.
BOXES = ("20,10,30,20@#2-#6", "40,20,30,20@#20-#24", "8,30,30,20@#38-#42")
SETTINGS: dict[str, Any] = {"box": BOXES, "codec": "ffv1", "device": "cpu", "threads": 1}
ROOT = Path(__file__).parent.parent


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "in.mkv", n=44, audio_tracks=1).path


def _use(monkeypatch: pytest.MonkeyPatch, model: Recorder) -> Recorder:
    monkeypatch.setattr("vidfill.removal.run.load_model", lambda name, **options: model)
    return model


def _whole(source: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Recorder] = Recorder) -> tuple[bytes, int]:
    """What an uninterrupted run gives, and how many steps it takes."""
    model = _use(monkeypatch, kind(WINDOW))
    result = remove(source, source.with_name("whole.mkv"), overwrite=True, **SETTINGS)
    return result.output.read_bytes(), len(model.windows)


def test_after_an_error_only_what_is_missing_is_done_and_the_bytes_are_the_same(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, n_steps = _whole(source, monkeypatch)
    output = source.with_name("out.mkv")
    k = n_steps * 2 // 3
    _use(monkeypatch, Raising(WINDOW, RuntimeError("power"), calls=[k]))
    with pytest.raises(RuntimeError, match="power"):
        remove(source, output, **SETTINGS)
    assert not output.exists()
    finished = list(source.with_name(".out.mkv.vidfill").glob("segment_*.patches"))
    assert 1 <= len(finished) <= 2

    model = _use(monkeypatch, Recorder(WINDOW))
    seen: list[Progress] = []
    remove(source, output, resume=True, progress=seen.append, **SETTINGS)
    assert output.read_bytes() == expected
    assert 0 < len(model.windows) < n_steps
    assert not [p for p in seen if p.stage == "analyse"], "the plan is there already"
    assert not source.with_name(".out.mkv.vidfill").exists()


def test_all_patches_stored_or_none_gives_the_same_bytes(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = _whole(source, monkeypatch)
    output = source.with_name("out.mkv")
    remove(source, output, keep_work=True, **SETTINGS)
    model = _use(monkeypatch, Recorder(WINDOW))
    remove(source, output, resume=True, overwrite=True, **SETTINGS)
    assert output.read_bytes() == expected
    assert model.windows == []


def test_a_resumed_run_may_change_how_it_is_written(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, Recorder(WINDOW))
    remove(source, source.with_name("out.mkv"), keep_work=True, **SETTINGS)
    model = _use(monkeypatch, Recorder(WINDOW))
    changed = SETTINGS | {"codec": "h264", "grain": False}
    remove(source, source.with_name("out.mkv"), resume=True, overwrite=True, **changed)
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
def test_other_settings_are_refused_with_their_names(
    source: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    _use(monkeypatch, Raising(WINDOW, RuntimeError("power"), calls=[6]))
    with pytest.raises(RuntimeError):
        remove(source, source.with_name("out.mkv"), **SETTINGS)
    with pytest.raises(UsageError, match=message):
        remove(source, source.with_name("out.mkv"), resume=True, **(SETTINGS | change))


def test_a_changed_source_is_refused(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, Raising(WINDOW, RuntimeError("power"), calls=[6]))
    with pytest.raises(RuntimeError):
        remove(source, source.with_name("out.mkv"), **SETTINGS)
    os.utime(source, ns=(1, 1))
    with pytest.raises(UsageError, match="source was"):
        remove(source, source.with_name("out.mkv"), resume=True, **SETTINGS)


def test_without_resume_a_run_starts_over(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, n_steps = _whole(source, monkeypatch)
    _use(monkeypatch, Raising(WINDOW, RuntimeError("power"), calls=[n_steps - 1]))
    with pytest.raises(RuntimeError):
        remove(source, source.with_name("out.mkv"), **SETTINGS)
    model = _use(monkeypatch, Recorder(WINDOW))
    result = remove(source, source.with_name("out.mkv"), **SETTINGS)
    assert len(model.windows) == n_steps
    assert result.output.read_bytes() == expected


def test_resume_without_earlier_work_is_a_plain_run(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = _whole(source, monkeypatch)
    assert remove(source, source.with_name("out.mkv"), resume=True, **SETTINGS).output.read_bytes() == expected


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


def test_a_second_run_on_the_same_work_folder_is_refused_and_the_first_goes_on(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = _whole(source, monkeypatch)
    output = source.with_name("out.mkv")
    refusals: list[str] = []

    def start_another(step: Progress) -> None:
        if step.stage == "fill" and not refusals:
            with pytest.raises(OutputError, match="in use by process") as refused:
                remove(source, output, **SETTINGS)
            refusals.append(str(refused.value))

    remove(source, output, progress=start_another, **SETTINGS)
    assert len(refusals) == 1
    assert output.read_bytes() == expected
    assert not source.with_name(".out.mkv.vidfill").exists()


@pytest.mark.parametrize(
    ("when", "left"),
    [
        ("7", ["00000.memory", "00000.patches"]),
        ("memory is kept", ["00000.memory", "00000.patches", "00001.memory"]),
    ],
)
def test_after_a_kill_without_warning_the_bytes_are_the_same(
    source: Path, monkeypatch: pytest.MonkeyPatch, when: str, left: list[str]
) -> None:
    expected, n_steps = _whole(source, monkeypatch, Chained)
    output = source.with_name("out.mkv")
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(source), str(output), when], cwd=ROOT, check=False, capture_output=True
    )
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    assert not output.exists()
    folder = source.with_name(".out.mkv.vidfill")
    assert sorted(path.name.removeprefix("segment_") for path in folder.glob("segment_*[sy]")) == left
    model = _use(monkeypatch, Chained(WINDOW))
    result = remove(source, output, resume=True, **SETTINGS)
    assert output.read_bytes() == expected
    assert 0 < len(model.windows) < n_steps
    assert result.invented == 0.25, "of stored patches as of new ones"


def test_what_a_model_remembers_changes_the_segments_after_it(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = _whole(source, monkeypatch, Chained)
    monkeypatch.setattr(Chained, "recall", lambda self, pictures: None)
    assert _whole(source, monkeypatch, Chained)[0] != expected, "else the tests above would say nothing"
