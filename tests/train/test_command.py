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
from vidfill.models import LEARNED_NAMES
from vidfill.models.checkpoint import build
from vidfill.settings.commands import TrainSettings
from vidfill.train import RECIPE_NAMES, command, find_recipe, find_training
from vidfill.train import __main__ as bare
from vidfill.train.command import build_network, run_training
from vidfill.train.data import TrainingData, is_held_back
from vidfill.train.objective import TERMS
from vidfill.train.trainer import TrainingResult
from vidfill.train.vinet.recipes import TINY

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
    stage = replace(TINY.stages[1], ratio=1.0, batch=1, n_targets=2)
    short = replace(TINY, n_steps=2, stages=(stage,))
    outcome = run_training("vinet", [_data(tmp_path / "data")], tmp_path / "run", short, TrainSettings(device="cpu"))
    assert "1 clips, 1 held back, 3 photos, 1 shapes" in caplog.text
    assert command.describe(outcome, short).startswith("2 of 2 steps, finished, hole_psnr_db ")
    network = build("vinet", tmp_path / "run" / "vinet.safetensors", sha256="")
    assert sum(p.numel() for p in network.parameters()) < 100_000


def test_the_command_says_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no recipe"):
        find_recipe("vinet", "huge")
    with pytest.raises(UsageError, match="no model"):
        build_network("nonsense", TINY)
    with pytest.raises(UsageError, match="nothing to learn"):
        build_network("propagate", TINY)
    with pytest.raises(UsageError, match="abacus"):
        run_training("vinet", [tmp_path], tmp_path / "run", TINY, TrainSettings(device="abacus"))


def test_decoding_counts_and_full_memory_is_a_device_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_arguments: object, **_options: object) -> TrainingData:
        time.sleep(0.3)
        return tiny_data()

    monkeypatch.setattr("vidfill.train.data.load_data", slow)
    outcome = run_training("vinet", [], tmp_path / "run", TINY, TrainSettings(minutes=0.2 / 60, device="cpu"))
    assert (outcome.step, outcome.finished) == (0, False)
    assert (tmp_path / "run" / "checkpoint.pt").is_file()

    def full(*_arguments: object, **_options: object) -> TrainingData:
        raise torch.OutOfMemoryError("140 GiB are not enough")

    monkeypatch.setattr("vidfill.train.data.load_data", full)
    with pytest.raises(DeviceError, match="memory of cpu is not enough for recipe tiny"):
        run_training("vinet", [], tmp_path / "run", TINY, TrainSettings(device="cpu", resume=True))


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
def seen(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What a command line would have run."""
    found: list[object] = []

    def note(*arguments: object) -> TrainingResult:
        found.extend(arguments)
        return TrainingResult(3, finished=False, n_roll_backs=0, metrics={"hole_psnr_db": 20.0})

    monkeypatch.setattr(command, "run_training", note)
    monkeypatch.setattr(bare, "run_training", note)
    return found


def _run(entry: str, line: str) -> None:
    if entry == "vidfill train":
        result = CliRunner().invoke(app, ["train", *line.split()])
        assert result.exit_code == 0, result.output
    else:
        assert bare.main(line.split()) == 0


@pytest.mark.parametrize("entry", ["vidfill train", "python -m vidfill.train"])
def test_both_command_lines_take_the_same_options(entry: str, seen: list[object]) -> None:
    _run(
        entry,
        "vinet --data a --data b.mp4 --out run --recipe cpu --steps 7 --minutes 2.5 --resume --no-compile --threads 1"
        " --start begin.safetensors,critics.safetensors --device cpu",
    )
    recipe = replace(find_recipe("vinet", "cpu"), n_steps=7, acceleration="")
    settings = TrainSettings(
        steps=7, minutes=2.5, resume=True, compile_layers=False, threads=1, device="cpu",
        start="begin.safetensors,critics.safetensors",
    )  # fmt: skip
    assert seen == ["vinet", [Path("a"), Path("b.mp4")], Path("run"), recipe, settings]


@pytest.mark.parametrize("entry", ["vidfill train", "python -m vidfill.train"])
def test_both_command_lines_have_the_same_defaults(entry: str, seen: list[object]) -> None:
    _run(entry, "vinet --data a --out run")
    assert seen == ["vinet", [Path("a")], Path("run"), find_recipe("vinet", "gpu"), TrainSettings()]


def test_the_bare_command_line_gives_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["vinet", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run"), "--recipe", "tiny"]
    assert bare.main(line) == InputError.exit_code
    assert bare.main([*line, "--steps", "-1"]) == UsageError.exit_code
    errors = capsys.readouterr().err
    assert "error: no training data at" in errors
    assert "error: --steps -1; expected 0 or more" in errors


def test_the_first_signal_asks_to_stop_and_the_second_is_as_ever() -> None:
    with pytest.raises(KeyboardInterrupt), command.stop_signals() as should_stop:
        assert not should_stop()
        signal.raise_signal(signal.SIGINT)
        assert should_stop()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("name", RECIPE_NAMES)
@pytest.mark.parametrize("model", LEARNED_NAMES)
def test_every_recipe_has_known_terms_and_its_stages_in_order(model: str, name: str) -> None:
    recipe = find_recipe(model, name)
    assert recipe.name == name
    assert recipe.terms <= TERMS.keys() | find_training(model).terms.keys()
    stages = [recipe.stage_at(step).name for step in range(0, recipe.n_steps, max(1, recipe.n_steps // 100))]
    assert list(dict.fromkeys(stages)) == [stage.name for stage in recipe.stages]
    assert recipe.stage_at(10 * recipe.n_steps) == recipe.stages[-1]


@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_vinet_starts_without_recurrence(name: str) -> None:
    recipe = find_recipe("vinet", name)
    assert sum(p.numel() for p in build_network("vinet", recipe).parameters()) < 15e6
    assert recipe.stages[0].n_targets == 1


def test_few_packages_are_enough(tmp_path: Path) -> None:
    line = ["vinet", "--data", str(_data(tmp_path / "data")), "--out", str(tmp_path / "run"), "--recipe", "tiny"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BARE, *line, "--steps", "1", "--minutes", "5", "--device", "cpu"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 of 1 steps, finished" in done.stderr
    assert (tmp_path / "run" / "vinet.safetensors").is_file()
