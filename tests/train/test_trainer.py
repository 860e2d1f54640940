"""Stopping and going on changes nothing; time limits, faults and wrong checkpoints are handled."""

import itertools
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import cv2
import pytest
import torch
from torch import Tensor, nn

from tests.train.models import TRAINING, TinyModel, tensors_of, tiny_data, tiny_model
from vidfill.errors import OutputError, UsageError, VidfillError, WeightsError
from vidfill.models.base import Model
from vidfill.models.propagate.model import Propagate
from vidfill.train import ModelTraining, find_training
from vidfill.train.batch import Batch
from vidfill.train.clips import ClipSamples
from vidfill.train.command import build_network
from vidfill.train.parallel import Ranks
from vidfill.train.recipe import Recipe, Stage
from vidfill.train.report import read_metrics
from vidfill.train.state import TrainingState
from vidfill.train.trainer import Trainer, called_parts
from vidfill.train.vinet.recipes import PAPER_LOSS, TINY
from vidfill.weights import load_weights

SINGLE = Stage("single", ratio=1.0, batch=2, crop_px=32, loss=PAPER_LOSS)


def _trainer(
    run: Path,
    *,
    recipe: Recipe = TINY,
    resume: bool = False,
    model: Model | None = None,
    training: ModelTraining = TRAINING,
) -> Trainer:
    return Trainer(model or tiny_model(), "tiny", training, tiny_data(), recipe, run, resume=resume)


def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    whole = _trainer(tmp_path / "whole")
    assert whole.run().finished
    expected = tensors_of(whole.state)
    assert len(expected) > 50, "weights, averages, moments of both optimisers"
    for stop_after in (1, 2, 3):
        run = tmp_path / str(stop_after)
        calls = itertools.count()
        first = _trainer(run).run(should_stop=lambda calls=calls, stop=stop_after: next(calls) == stop)  # type: ignore[misc]
        assert (first.step, first.finished) == (stop_after, False)
        second = _trainer(run, resume=True, model=tiny_model(seed=99))
        assert second.run().finished
        found = tensors_of(second.state)
        assert expected.keys() == found.keys()
        assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
        losses = [[line["loss"] for line in read_metrics(path) if "loss" in line] for path in (tmp_path / "whole", run)]
        assert losses[0] == losses[1]
        assert len(losses[0]) == 4


def test_the_run_learns(tmp_path: Path) -> None:
    stage = replace(SINGLE, batch=4, loss={"frame": 1.0, "ssim": 1.0, "hole": 5.0})
    recipe = replace(TINY, n_steps=30, stages=(stage,), learning_rate=1.5e-2, save_every=40, validate_every=40)
    _trainer(tmp_path, recipe=recipe).run()
    losses = [line["loss"] for line in read_metrics(tmp_path) if "loss" in line]
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])


def test_it_stops_when_the_time_is_over(tmp_path: Path) -> None:
    recipe = replace(TINY, n_steps=10_000, validate_every=5000, save_every=5000)
    result = _trainer(tmp_path, recipe=recipe).run(minutes=0.5 / 60)
    assert 0 < result.step < 10_000
    assert not result.finished
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == result.step


def test_what_a_run_leaves_in_its_folder(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path)
    outcome = trainer.run()
    assert {path.name for path in tmp_path.iterdir()} == {
        *("checkpoint.pt", "tiny.safetensors", "metrics.jsonl", "curves.png", "recipe.json", "samples")
    }
    for picture in (tmp_path / "curves.png", tmp_path / "samples" / "step_000004.png"):
        assert cv2.imread(str(picture)) is not None
    weights = load_weights(tmp_path / "tiny.safetensors")
    assert (weights.model, weights.sizes) == ("tiny", {"channels": 4})
    averaged = trainer.state.averaged.state_dict()
    assert all(torch.equal(tensor, averaged[name].half()) for name, tensor in weights.tensors.items())
    assert json.loads((tmp_path / "recipe.json").read_text())["recipe"]["n_steps"] == 4
    lines = read_metrics(tmp_path)
    assert {"frame", "hole", "ssim", "flow", "short", "adversarial", "clip_critic"} <= lines[3].keys()
    assert outcome.metrics.keys() == {"hole_psnr_db", "telea_hole_psnr_db"}
    assert 3 < outcome.metrics["hole_psnr_db"] < 40


def test_a_failed_save_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = _trainer(tmp_path, recipe=replace(TINY, n_steps=1))
    trainer.run()
    before = (tmp_path / "checkpoint.pt").read_bytes()
    files = set(tmp_path.iterdir())

    def write_half(error: BaseException) -> None:
        def save(_content: object, file: IO[bytes]) -> None:
            file.write(before[: len(before) // 2])
            raise error

        monkeypatch.setattr(torch, "save", save)

    write_half(OSError(28, "No space left on device"))
    with pytest.raises(OutputError, match="No space left"):
        trainer.state.save(tmp_path)
    assert set(tmp_path.iterdir()) == files
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    write_half(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        trainer.state.save(tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    monkeypatch.undo()
    assert _trainer(tmp_path, resume=True).state.step == 1
    trainer.state.save(tmp_path)
    assert set(tmp_path.iterdir()) == files, "what was cut off is written over"


def test_a_changed_recipe_is_followed_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    _trainer(tmp_path, recipe=replace(TINY, n_steps=2)).run()
    assert caplog.messages[0].startswith("step 2 of 2, stage recurrent, loss ")
    assert "changed" not in caplog.text
    stages = (replace(TINY.stages[-1], ratio=0.1, batch=4), replace(SINGLE, name="last", ratio=0.9))
    longer = replace(TINY, n_steps=10, stages=stages, learning_rate=1e-3)
    trainer = _trainer(tmp_path, recipe=longer, resume=True)
    assert "going on at step 2 of 10, stage last, learning rate 0.001" in caplog.text
    changes = [line.split("has changed: ")[1] for line in caplog.messages if "has changed" in line]
    assert changes == [
        "learning_rate: 0.001, was 0.0002",
        "n_steps: 10, was 2",
        "stages.recurrent.batch: 4, was 2",
        "stages.recurrent.ratio: 0.1, was 0.5",
        "stages: recurrent, last, was support, window, recurrent",
    ]
    assert trainer.run().step == 10
    caplog.clear()
    _trainer(tmp_path, recipe=longer, resume=True)
    assert caplog.messages == ["step 10 of 10: nothing left to do"]


class _Spoiling(TinyModel):
    """Gives NaN at given calls of `step`."""

    def __init__(self, calls: range) -> None:
        super().__init__()
        self._calls, self._count = calls, 0

    def step(self, *arguments):  # type: ignore[no-untyped-def]
        self._count += 1
        made = super().step(*arguments)
        return made._replace(fill=made.fill * float("nan")) if self._count - 1 in self._calls else made


def _watched(before_step: Callable[[int], None]) -> ModelTraining:
    """Training that calls a function with the number of each step before it."""

    class Watched(ClipSamples):
        def draw(self, stage: Stage, *, step: int, ranks: Ranks) -> Batch:
            before_step(step)
            return super().draw(stage, step=step, ranks=ranks)

    return TRAINING._replace(samples=Watched)


def test_a_loss_that_is_not_finite_rolls_back_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = replace(TINY, n_steps=6, stages=(SINGLE,), save_every=2, validate_every=100)
    torch.manual_seed(0)
    model = _Spoiling(range(3, 4))
    before: dict[int, Tensor] = {}
    training = _watched(lambda step: before.update({step: model.rgb.weight.detach().clone()}))
    trainer = _trainer(tmp_path, recipe=recipe, model=model, training=training)
    result = trainer.run()
    assert "step 3: not finite, back to the weights of step 2" in caplog.text
    assert torch.equal(before[4], before[2])
    assert not torch.equal(before[3], before[2])
    assert (result.finished, result.n_roll_backs) == (True, 1)
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())


@pytest.mark.parametrize(("read_every", "noticed"), [(1, 33), (5, 44)])
def test_a_loss_that_explodes_rolls_back_too(
    read_every: int, noticed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidfill.train.trainer.SNAPSHOT_EVERY", 10)
    monkeypatch.setattr("vidfill.train.loss_guard.MIN_LOSSES", 6)
    recipe = replace(
        TINY, n_steps=60, stages=(replace(SINGLE, loss={"frame": 1.0}),), save_every=100, validate_every=100,
        read_every=read_every,
    )  # fmt: skip
    model = tiny_model()

    def spoil(step: int) -> None:
        if step == 31:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.copy_(-20 * parameter)

    trainer = _trainer(tmp_path, recipe=recipe, model=model, training=_watched(spoil))
    assert trainer.run().n_roll_backs == 1
    assert f"step {noticed}: the loss explodes, back to the weights of step 30" in caplog.text
    losses = [line["loss"] for line in read_metrics(tmp_path) if "loss" in line]
    assert max(losses[-3:]) < 1.5 * max(losses[: 30 // read_every])


def test_clips_can_be_trained_with_terms_of_pictures(tmp_path: Path) -> None:
    loss = {"hole": 5.0, "rim": 1.0, "feature": 0.1, "patches": 0.1, "matching": 1.0, "projected": 0.1}
    recipe = replace(TINY, n_steps=2, stages=(replace(SINGLE, batch=1, n_targets=2, loss=loss),))
    Trainer(build_network("vinet", recipe), "vinet", find_training("vinet"), tiny_data(), recipe, tmp_path).run()
    line = read_metrics(tmp_path)[0]
    assert loss.keys() | {"patch_critic", "projected_critic"} <= line.keys()
    assert (tmp_path / "vinet.critics.safetensors").is_file()


def test_a_term_that_nobody_has_is_refused(tmp_path: Path) -> None:
    recipe = replace(TINY, stages=(replace(SINGLE, loss={"peel": 1.0}),))
    with pytest.raises(UsageError, match="tiny has no loss term 'peel'"):
        _trainer(tmp_path, recipe=recipe)


def test_a_loss_that_is_never_finite_ends_the_run(tmp_path: Path) -> None:
    recipe = replace(TINY, n_steps=100, save_every=1000)
    with pytest.raises(VidfillError, match="not finite"):
        _trainer(tmp_path, recipe=recipe, model=_Spoiling(range(1000))).run()


def test_wrong_runs_are_refused(tmp_path: Path) -> None:
    short = replace(TINY, n_steps=1)
    _trainer(tmp_path, recipe=short).run()
    with pytest.raises(UsageError, match="holds a run already"):
        _trainer(tmp_path)
    with pytest.raises(UsageError, match=r"tiny of other sizes \(channels: 5, was 4\)"):
        _trainer(tmp_path, resume=True, model=TinyModel(channels=5))
    with pytest.raises(UsageError, match="is of tiny, not of vinet"):
        Trainer(tiny_model(), "vinet", TRAINING, tiny_data(), short, tmp_path, resume=True)
    (tmp_path / "checkpoint.pt").write_bytes(b"cut off")
    with pytest.raises(WeightsError, match="not a whole checkpoint"):
        _trainer(tmp_path, resume=True)
    with pytest.raises(UsageError, match="nothing to learn"):
        _trainer(tmp_path / "other", model=Propagate())


def test_a_run_without_a_discriminator_cannot_go_on_with_one(tmp_path: Path) -> None:
    plain = replace(TINY, stages=(SINGLE,))
    TrainingState(tiny_model(), "tiny", plain).save(tmp_path)
    with pytest.raises(UsageError, match="has no critic_optimizer_0"):
        TrainingState(tiny_model(), "tiny", TINY).load(tmp_path)


def test_the_learning_rate_rises_and_falls(tmp_path: Path) -> None:
    recipe = replace(TINY, n_steps=1000, warmup_steps=100, learning_rate=1.0, min_lr_ratio=0.1)
    rates = [_trainer(tmp_path, recipe=recipe).learning_rate(step) for step in (0, 49, 99, 100, 550, 999, 2000)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 1.0, 0.55, 0.1, 0.1], abs=1e-3)


def test_the_parts_to_compile_hold_every_weight() -> None:
    model = build_network("vinet", TINY)
    parts = called_parts(model)
    assert not any(isinstance(part, nn.ModuleDict) for part in parts)
    assert sum(p.numel() for part in parts for p in part.parameters()) == sum(p.numel() for p in model.parameters())
