"""Masks from clicks on the command line: mask, remove and preview."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.clips import Clip, write_clip
from vidfill.track import clip as tracking
from vidfill.video.frame import Bool

N_FRAMES = 16
BOX = "7,20,32,45"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return write_clip(tmp_path_factory.mktemp("clicks") / "in.mp4", n=N_FRAMES, with_object=True, audio_tracks=1)


@pytest.fixture(autouse=True)
def clip(made: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clip:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.mp4").symlink_to(made.path)
    monkeypatch.setenv("VIDFILL_MODEL_DIR", str(tmp_path / "models"))
    return made


def _overlap(one: Bool, other: Bool) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_masks_are_written_for_other_tools(clip: Clip, run: Run) -> None:
    done = run("mask", "in.mp4", "--object-box", BOX, "--point", "19,32", "--grow", 0, "-o", "masks/", "--json")
    assert done.code == 0, done.err
    assert done.json["result"]["n_masked"] == N_FRAMES
    assert done.json["result"]["tracker"] == "flow"
    paths = sorted(Path("masks").iterdir())
    assert len(paths) == N_FRAMES
    for path, truth in zip(paths, clip.masks, strict=True):
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        assert set(np.unique(mask)) <= {0, 255}
        assert _overlap(mask > 127, truth) > 0.7
    # They are what `remove --mask` takes.
    assert run("remove", "in.mp4", "--mask", "masks", "--dry-run").code == 0
    assert run("mask", "in.mp4", "--object-box", BOX, "--end", "#4", "-o", "masks.mkv").code == 0
    assert run("remove", "in.mp4", "--mask", "masks.mkv", "--dry-run").code == 0


def test_the_folder_is_as_safe_as_that_of_remove(run: Run) -> None:
    Path("masks").mkdir()
    Path("masks/letter.txt").write_text("keep me")
    for words in ((), ("-y",)):
        done = run("mask", "in.mp4", "--object-box", BOX, "-o", "masks/", *words)
        assert done.code == 5
    assert Path("masks/letter.txt").read_text() == "keep me"
    assert run("mask", "in.mp4", "--object-box", BOX, "-o", "masks.mp4").code == 2
    assert run("mask", "in.mp4", "--object-box", BOX, "-o", "in.mp4").code in (2, 5)
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["in.mp4", "masks"]


def test_remove_by_click(clip: Clip, run: Run) -> None:
    done = run("remove", "in.mp4", "--object-box", BOX, "--codec", "ffv1", "-o", "out.mkv", "--json")
    assert done.code == 0, done.err
    assert done.json["result"]["n_filled"] == N_FRAMES
    assert done.json["result"]["seconds"]["track"] > 0
    capture = cv2.VideoCapture("out.mkv")
    for background, truth in zip(clip.background, clip.masks, strict=True):
        is_read, frame = capture.read()
        assert is_read
        inside = np.abs(frame[..., ::-1].astype(int) - background)[truth].mean()
        with_object = np.abs(clip.pictures[0].astype(int) - clip.background[0])[clip.masks[0]].mean()
        assert inside < 0.5 * with_object
    assert [path.name for path in sorted(Path.cwd().iterdir())] == ["in.mp4", "out.mkv"]


def test_a_dry_run_tracks_and_leaves_nothing(run: Run) -> None:
    done = run("remove", "in.mp4", "--object-box", BOX, "--dry-run", "--json")
    assert done.code == 0, done.err
    assert done.json["plan"]["n_hole_frames"] == N_FRAMES
    assert [path.name for path in Path.cwd().iterdir()] == ["in.mp4"]


def test_lost_objects_exit_with_4(run: Run) -> None:
    words = ("in.mp4", "--point", "80,10", "--object-box", "70,5,90,15", "-o")
    done = run("remove", *words, "out.mp4", "--json")
    assert done.code == 4
    error = done.json["error"]
    assert error["kind"] == "MaskError"
    assert "is lost at 0.00 s" in error["found"]
    assert "--point X,Y@#0" in error["todo"]
    assert "--object-box X0,Y0,X1,Y1@#0" in error["todo"], "never known: what was clicked was not enough"
    assert [path.name for path in Path.cwd().iterdir()] == ["in.mp4"]
    allowed = run("mask", *words, "masks/", "--allow-lost", "--json")
    assert allowed.code == 0
    assert allowed.json["result"]["lost"][0]["start"] == 0
    assert any("is lost at" in warning for warning in allowed.json["warnings"])


def test_prompts_and_masks_exclude_each_other(run: Run) -> None:
    Path("m.png").write_bytes(b"")
    assert run("remove", "in.mp4", "--object-box", BOX, "--mask", "m.png", "-o", "out.mp4").code == 2
    assert run("remove", "in.mp4", "--object-box", BOX, "--invert", "-o", "out.mp4").code == 2
    assert run("mask", "in.mp4", "-o", "masks/").code == 2
    assert run("mask", "in.mp4", "--point", "x", "-o", "masks/").code == 2
    assert run("mask", "in.mp4", "--point", "500,5", "-o", "masks/").code == 4
    assert run("mask", "in.mp4", "--point", "5,5@9", "-o", "masks/").code == 4
    assert run("mask", "in.mp4", "--point", "5,5", "--tracker", "sam", "-o", "masks/").code == 6
    assert [path.name for path in sorted(Path.cwd().iterdir())] == ["in.mp4", "m.png"]


def test_boxes_are_added_and_times_limit(run: Run) -> None:
    words = ("in.mp4", "--object-box", BOX, "--box", "80,2,9,9@#3-#5", "--end", "#6", "-o", "masks/")
    assert run("mask", *words).code == 0
    masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(Path("masks").iterdir())]
    assert [bool(mask is not None and mask.any()) for mask in masks] == [True] * 6 + [False] * 10
    assert [bool(mask is not None and mask[5, 84]) for mask in masks] == [i in (3, 4) for i in range(16)]


def test_empty_masks_exit_with_4(run: Run) -> None:
    done = run("mask", "in.mp4", "--object-box", BOX, "--start", "#40", "-o", "masks/")
    assert done.code == 4
    assert "empty on all 16 frames" in done.err
    assert [path.name for path in Path.cwd().iterdir()] == ["in.mp4"]


def test_prompts_from_a_file(run: Run) -> None:
    edges = [int(edge) for edge in BOX.split(",")]
    content = {"schema_version": 1, "objects": [{"id": 1, "prompts": [{"time": "#0", "box": edges}]}]}
    Path("prompts.json").write_text(json.dumps(content))
    assert run("mask", "in.mp4", "--prompts", "prompts.json", "-o", "masks/").code == 0


def test_preview_of_prompts(run: Run) -> None:
    done = run("preview", "in.mp4", "--point", "80,10", "--object-box", "70,5,90,15", "-o", "lost.png", "--columns", 4)
    assert done.code == 0, done.err
    sheet = cv2.imread("lost.png")
    assert sheet is not None
    assert sheet.shape[1] == 4 * (96 + 6) + 6
    cell = sheet[6 : 6 + 80, 6 + 102 * 1 : 6 + 102 * 1 + 96]
    assert (cell[40, 0] == (40, 40, 200)).all()  # the border of a lost frame
    assert (cell[72, 80] == (40, 40, 200)).all()  # and the strip below it
    done = run("preview", "in.mp4", "--object-box", BOX, "--point", "19,32", "-o", "good.mp4")
    assert done.code == 0, done.err
    capture = cv2.VideoCapture("good.mp4")
    is_read, frame = capture.read()
    assert is_read
    assert frame.shape[:2] == (80, 96)
    strip = frame[66:78, 50].astype(int)
    assert (strip[:, 1] > strip[:, 2] + 40).all()  # green: known
    Path("there.mp4").write_bytes(b"keep me")
    assert run("preview", "in.mp4", "--object-box", BOX, "-o", "there.mp4").code == 5
    assert Path("there.mp4").read_bytes() == b"keep me"


def test_resume_tracks_only_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidfill.track import prompted

    n_tracked: list[int] = []
    real = tracking.track

    def counted(*given: object, **named: object) -> object:
        n_tracked.append(1)
        return real(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(prompted, "track", counted)
    words = ("remove", "in.mp4", "--object-box", BOX, "--codec", "ffv1", "-o", "out.mkv")
    assert run(*words, "--keep-work").code == 0
    before = Path("out.mkv").read_bytes()
    assert run(*words, "-y", "--resume").code == 0
    assert len(n_tracked) == 1
    assert Path("out.mkv").read_bytes() == before
    assert not Path(".out.mkv.vidfill").exists()


def test_finished_track_survives_a_kill(run: Run) -> None:
    """Killed after tracking and before the Plan: `--resume` takes the masks that are there."""
    program = (
        "import os, signal, vidfill.removal.run as p\n"
        "p.analysed = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from vidfill.cli import app\n"
        f"app(['remove', 'in.mp4', '--object-box', {BOX!r}, '-o', 'out.mp4', '-q'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ)
    assert done.returncode == -signal.SIGKILL
    kept = Path(".out.mp4.vidfill/masks.track")
    stamp = kept.stat().st_mtime_ns
    done_again = run("remove", "in.mp4", "--object-box", BOX, "-o", "out.mp4", "--resume", "--keep-work")
    assert done_again.code == 0, done_again.err
    assert kept.stat().st_mtime_ns == stamp
