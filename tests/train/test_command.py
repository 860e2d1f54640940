"""Both command lines of training, from files to weights; one of them with next to nothing installed."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.train.models import tiny_data
from tests.train.test_data import write_archive, write_clip
from vidfill.cli import app
from vidfill.errors import DeviceError, InputError, UsageError
from vidfill.models.checkpoint import build
from vidfill.train import __main__ as bare
from vidfill.train import command
from vidfill.train.command import build_network, run_training
from vidfill.train.data import TrainingData, is_held_back
from vidfill.train.recipes import RECIPE_NAMES, TINY, Stage, find_recipe
from vidfill.train.trainer import Outcome

ROOT = Path(__file__).parents[2]
# What a machine that was set up for training alone does not have.
MISSING = ("av", "click", "platformdirs", "rich", "segment_anything", "typer")
BARE = f"""
import runpy, sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {MISSING}:
            raise ModuleNotFoundError(f"no module named {{name}}", name=name)

sys.meta_path.insert(0, Refusing())
runpy.run_module("vidfill.train", run_name="__main__")
"""


def _data(folder: Path) -> Path:
    folder.mkdir()
    names = [f"clip{i}.mp4" for i in range(200)]
    for name in (next(filter(is_held_back, names)), "street.mp4"):
        write_clip(folder / name, n_frames=20, size=(48, 64))
    rng = np.random.default_rng(0)
    photos = {f"{i}.jpg": rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for i in range(3)}
    write_archive(folder / "photos.tar", photos)
    write_archive(folder / "silhouettes.tar", {"0.png": np.full((20, 12), 255, np.uint8)})
    return folder


def test_a_network_is_trained_from_files_and_its_weights_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    short = replace(TINY, n_steps=2, stages=(Stage("recurrent", share=1.0, batch=1, crop_px=32, n_targets=2),))
    outcome = run_training("vinet", [_data(tmp_path / "data")], tmp_path / "run", short, device="cpu")
    assert "1 clips, 1 held back, 3 photos, 1 shapes" in caplog.text
    assert command.describe(outcome, short).startswith("2 of 2 steps, finished, hole_psnr_db ")
    network = build("vinet", tmp_path / "run" / "vinet.safetensors", sha256="")
    assert sum(p.numel() for p in network.parameters()) < 100_000


def test_the_command_says_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no recipe"):
        find_recipe("huge")
    with pytest.raises(UsageError, match="no model"):
        build_network("nonsense", TINY)
    with pytest.raises(UsageError, match="nothing to learn"):
        build_network("propagate", TINY)
    with pytest.raises(DeviceError, match="abacus"):
        run_training("vinet", [tmp_path], tmp_path / "run", TINY, device="abacus")


def test_time_for_decoding_counts_and_memory_that_is_not_enough_is_a_device_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_arguments: object, **_options: object) -> TrainingData:
        time.sleep(0.3)
        return tiny_data()

    monkeypatch.setattr("vidfill.train.data.load_data", slow)
    outcome = run_training("vinet", [], tmp_path / "run", TINY, minutes=0.2 / 60, device="cpu")
    assert (outcome.step, outcome.finished) == (0, False)
    assert (tmp_path / "run" / "checkpoint.pt").is_file()

    def full(*_arguments: object, **_options: object) -> TrainingData:
        raise torch.OutOfMemoryError("140 GiB are not enough")

    monkeypatch.setattr("vidfill.train.data.load_data", full)
    with pytest.raises(DeviceError, match="memory of cpu is not enough for recipe tiny"):
        run_training("vinet", [], tmp_path / "run", TINY, device="cpu", resume=True)


def test_the_command_line_trains_resumes_and_reports(tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = ["train", "vinet", "--data", str(_data(tmp_path / "data")), "--out", str(run), "--recipe", "tiny", "--json"]
    first = CliRunner().invoke(app, [*line, "--steps", "1"])
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["outcome"]["step"] == 1
    assert "1 clips, 1 held back" in first.stderr, "it tells what it does unasked"
    assert "--resume" in CliRunner().invoke(app, line).stderr
    second = CliRunner().invoke(app, [*line, "--steps", "2", "--resume"])
    found = json.loads(second.stdout)
    assert (found["outcome"]["step"], found["outcome"]["finished"]) == (2, True)
    assert Path(found["weights"]).is_file()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What a command line would have run."""
    found: dict[str, object] = {}

    def note(*arguments: object, **options: object) -> Outcome:
        found.update(options, positional=arguments)
        return Outcome(3, finished=False, n_roll_backs=0, metrics={"hole_psnr_db": 20.0})

    monkeypatch.setattr(command, "run_training", note)
    monkeypatch.setattr(bare, "run_training", note)
    return found


@pytest.mark.parametrize("entry", ["vidfill train", "python -m vidfill.train"])
def test_both_command_lines_take_the_same_options(entry: str, seen: dict[str, object]) -> None:
    line = (
        "vinet --data a --data b.mp4 --out run --recipe cpu --steps 7 --minutes 2.5 --resume --no-compile --threads 1"
        " --start begin.safetensors,critics.safetensors"
    )
    if entry == "vidfill train":
        result = CliRunner().invoke(app, ["train", *line.split()])
        assert result.exit_code == 0, result.output
    else:
        assert bare.main(line.split()) == 0
    recipe = replace(find_recipe("cpu"), n_steps=7, compile_layers=False)
    assert seen["positional"] == ("vinet", [Path("a"), Path("b.mp4")], Path("run"), recipe)
    assert (seen["minutes"], seen["resume"], seen["device"], seen["threads"]) == (2.5, True, "auto", 1)
    assert seen["start"] == (Path("begin.safetensors"), Path("critics.safetensors"))


@pytest.mark.parametrize("entry", ["vidfill train", "python -m vidfill.train"])
def test_both_command_lines_have_the_same_defaults(entry: str, seen: dict[str, object]) -> None:
    line = ["vinet", "--data", "a", "--out", "run"]
    if entry == "vidfill train":
        assert CliRunner().invoke(app, ["train", *line]).exit_code == 0
    else:
        assert bare.main(line) == 0
    assert seen == {
        "positional": ("vinet", [Path("a")], Path("run"), find_recipe("gpu")),
        **{"minutes": None, "resume": False, "start": (), "device": "auto", "threads": 0},
    }


def test_the_bare_command_line_gives_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["vinet", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run"), "--recipe", "tiny"]
    assert bare.main(line) == InputError.exit_code
    assert bare.main([*line, "--steps", "-1"]) == UsageError.exit_code
    errors = capsys.readouterr().err
    assert "error: no training data at" in errors
    assert "error: -1 steps; expected 0" in errors


def test_the_first_signal_asks_to_stop_and_the_second_is_as_ever() -> None:
    with pytest.raises(KeyboardInterrupt), command.stop_signals() as should_stop:
        assert not should_stop()
        signal.raise_signal(signal.SIGINT)
        assert should_stop()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_every_recipe_builds_its_network_and_has_its_stages_in_order(name: str) -> None:
    recipe = find_recipe(name)
    assert sum(p.numel() for p in build_network("vinet", recipe).parameters()) < 15e6
    stages = [recipe.stage_at(step).name for step in range(0, recipe.n_steps, max(1, recipe.n_steps // 100))]
    assert list(dict.fromkeys(stages)) == [stage.name for stage in recipe.stages]
    assert recipe.stages[0].n_targets == 1, "no recurrence at first"
    assert recipe.stage_at(10 * recipe.n_steps) == recipe.stages[-1]


def test_torch_numpy_opencv_and_safetensors_are_enough(tmp_path: Path) -> None:
    line = ["vinet", "--data", str(_data(tmp_path / "data")), "--out", str(tmp_path / "run"), "--recipe", "tiny"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BARE, *line, "--steps", "1", "--minutes", "5", "--device", "cpu"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 of 1 steps, finished" in done.stderr
    assert (tmp_path / "run" / "vinet.safetensors").is_file()
