"""`python -m vidfill.train` from files to weights, and without PyAV."""

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from tests.train.test_data import write_archive, write_clip
from vidfill.errors import DeviceError, UsageError
from vidfill.models.checkpoint import build
from vidfill.train import command
from vidfill.train.command import build_network, run_training
from vidfill.train.data import is_held_back
from vidfill.train.recipes import RECIPE_NAMES, TINY, Stage, find_recipe
from vidfill.train.trainer import Outcome

ROOT = Path(__file__).parents[2]
WITHOUT_PYAV = """
import sys, pkgutil, importlib
sys.modules["av"] = None
import vidfill.align, vidfill.models, vidfill.train, vidfill.weights
for package in (vidfill.align, vidfill.models, vidfill.train):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
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


def test_the_command_line_trains_resumes_and_reports(tmp_path: Path) -> None:
    from vidfill.cli import app

    run = tmp_path / "run"
    line = ["train", "vinet", "--data", str(_data(tmp_path / "data")), "--out", str(run), "--recipe", "tiny", "--json"]
    first = CliRunner().invoke(app, [*line, "--steps", "1"])
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["outcome"]["step"] == 1
    assert "--resume" in CliRunner().invoke(app, line).stderr
    second = CliRunner().invoke(app, [*line, "--steps", "2", "--resume"])
    found = json.loads(second.stdout)
    assert (found["outcome"]["step"], found["outcome"]["finished"]) == (2, True)
    assert Path(found["weights"]).is_file()


def test_the_options_reach_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    def note(*arguments: object, **options: object) -> Outcome:
        seen.update(options, positional=arguments)
        return Outcome(3, finished=False, n_roll_backs=0, metrics={"hole_psnr_db": 20.0})

    monkeypatch.setattr(command, "run_training", note)
    app = typer.Typer()
    app.command()(command.train)
    line = "vinet --data a --data b.mp4 --out run --recipe cpu --steps 7 --minutes 2.5 --resume --threads 1"
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 0, result.output
    recipe = replace(find_recipe("cpu"), n_steps=7)
    assert seen["positional"] == ("vinet", [Path("a"), Path("b.mp4")], Path("run"), recipe)
    assert (seen["minutes"], seen["resume"], seen["device"], seen["threads"]) == (2.5, True, "auto", 1)


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


def test_training_needs_no_pyav() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYAV], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
