"""`remove --adapt`: what a user sees of it, before, meanwhile, after, and after an interruption."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vidfill
from tests.adapt.models import save_small, small_fuse, write_pan
from tests.cli.conftest import Run, run
from vidfill.adapt import fitting
from vidfill.errors import UsageError
from vidfill.frame import Patch
from vidfill.store import ADAPTED_WEIGHTS, SegmentWriter
from vidfill.weights import load_weights

__all__ = ["run"]  # the fixture

FUSE = ["--model", "fuse", "--checkpoint", "small.safetensors"]
WORDS = ["remove", "in.mkv", "--mask", "masks", *FUSE, "--codec", "ffv1", "-o", "out.mkv"]
QUICK: dict[str, Any] = {
    "mask": "masks", "model": "fuse", "checkpoint": "small.safetensors", "device": "cpu", "threads": 1,
    "codec": "ffv1", "work_dir": "work",
}  # fmt: skip
ADAPTATION = vidfill.Adaptation(minutes=5, steps=4, learning_rate=3e-2)


@pytest.fixture(autouse=True)
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pan with a mask, and a network that fills with a tint."""
    for name, value in {"N_JUDGED": 1, "N_SAMPLES": 1, "CROP_PX": 48, "JUDGED_CROP_PX": 48}.items():
        monkeypatch.setattr(fitting, name, value)
    monkeypatch.chdir(tmp_path)
    write_pan(tmp_path, n=8)
    save_small(tmp_path / "small.safetensors", small_fuse(spoiled=0.3))


@pytest.fixture
def two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line has no option for the number of steps."""
    fit = fitting.fit
    monkeypatch.setattr(fitting, "fit", lambda adaptation, *given: fit(replace(adaptation, steps=2), *given))


@pytest.mark.usefixtures("two_steps")
def test_json_has_the_numbers_and_nothing_is_left_behind(run: Run) -> None:
    outcome = run(*WORDS, "--adapt", "2", "--json", "--progress", "json")
    assert outcome.code == 0, outcome.err
    result = outcome.json["result"]
    adapted = result["adapted"]
    assert result["seconds"]["adapt"] > 0
    assert set(adapted) == {"is_kept", "before", "after", "n_steps", "n_holes", "seconds", "obstacle"}
    assert adapted["n_steps"] == 2 and adapted["before"]["hole_psnr_db"] > 0 and adapted["after"]["warp_error"] > 0
    events = [json.loads(line) for line in outcome.err.splitlines()]
    told = [event for event in events if event.get("stage") == "adapt"]
    assert told[-1] == {"event": "progress", "stage": "adapt", "done": 120, "total": 120, "fps": None, "eta_s": 0.0}
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["in.mkv", "masks", "out.mkv", "small.safetensors"]


@pytest.mark.usefixtures("two_steps")
def test_a_line_has_the_numbers_and_the_time_is_told_in_seconds(run: Run) -> None:
    outcome = run(*WORDS, "--adapt", "2")
    assert outcome.code == 0, outcome.err
    assert "\nfuse adapted in 2 steps; in held-out holes PSNR " in outcome.err
    assert "\nadapt 120/120 s\n" in outcome.err


def test_a_resumed_run_does_not_adapt_again_and_ends_in_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = vidfill.remove("in.mkv", "whole.mkv", adapt=ADAPTATION, keep_work=True, **QUICK)
    assert whole.adapted is not None and whole.adapted.is_kept
    weights = load_weights(Path("work", ADAPTED_WEIGHTS)).tensors
    plain = vidfill.remove("in.mkv", "plain.mkv", **{**QUICK, "work_dir": None})
    assert whole.output.read_bytes() != plain.output.read_bytes()
    again = {**QUICK, "work_dir": None, "checkpoint": Path("work", ADAPTED_WEIGHTS)}
    taken = vidfill.remove("in.mkv", "taken.mkv", **again)
    assert whole.output.read_bytes() == taken.output.read_bytes(), "the weights are there to be used again"

    def stop(self: SegmentWriter, patch: Patch) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(SegmentWriter, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            vidfill.remove("in.mkv", "out.mkv", adapt=ADAPTATION, **QUICK)
    repeated = load_weights(Path("work", ADAPTED_WEIGHTS)).tensors
    assert all(torch.equal(repeated[name], weights[name]) for name in weights), "the same seed, the same steps"
    monkeypatch.setattr(fitting, "fit", None)  # cannot be called
    with pytest.raises(UsageError, match="adapt was 5 minutes, 4 steps, seed 0, learning rate 0.03, is off"):
        vidfill.remove("in.mkv", "out.mkv", resume=True, **QUICK)
    result = vidfill.remove("in.mkv", "out.mkv", adapt=ADAPTATION, resume=True, **QUICK)
    assert result.adapted is not None and result.adapted.after == whole.adapted.after
    assert result.output.read_bytes() == whole.output.read_bytes()
    assert not Path("work").exists()


def test_sigterm_leaves_no_output_and_a_folder_to_resume_from(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "judge", lambda *given: os.kill(os.getpid(), signal.SIGTERM))
    outcome = run(*WORDS, "--adapt", "5", "--progress", "none")
    assert outcome.code == 143
    assert "--resume" in outcome.err and outcome.err.count("\n") == 1
    assert not Path("out.mkv").exists()
    assert sorted(path.name for path in Path(".out.mkv.vidfill").iterdir()) == ["fingerprint.json", "plan.json"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--model propagate --adapt 2", "propagate has nothing to adapt; expected one of vinet, fuse, opn"),
        ("--model propagate --adapt 2 --dry-run", "nothing to adapt"),
        ("--model fuse --adapt 0", "0 minutes to adapt; expected more than 0"),
        ("--model fuse --adapt nan", "nan minutes to adapt"),
        ("--model fuse --adapt soon", "--adapt"),
    ],
)
def test_bad_use_ends_in_one_line(words: str, says: str, run: Run) -> None:
    outcome = run("remove", "in.mkv", "--mask", "masks", "-o", "out.mkv", *words.split(), "--progress", "none")
    assert outcome.code == 2
    assert says in outcome.err and outcome.err.count("\n") == 1
    assert not list(Path.cwd().glob("*out.mkv*"))
