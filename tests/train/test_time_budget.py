"""The time limit holds, whatever takes how long."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.train.models import tiny_data
from vidfill.models.base import Model, Step, Window, WindowSpec
from vidfill.train import ModelTraining
from vidfill.train.batch import Batch
from vidfill.train.clips import ClipSamples
from vidfill.train.parallel import Ranks
from vidfill.train.recipe import TINY, Stage
from vidfill.train.state import TrainingState
from vidfill.train.time_budget import TimeBudget
from vidfill.train.trainer import Trainer


class _Time:
    """Stands in for the clock of the machine."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> _Time:
    fake = _Time()
    monkeypatch.setattr("vidfill.train.time_budget.time", fake)
    return fake


def test_all_phases_must_fit_into_what_is_left(machine: _Time) -> None:
    budget = TimeBudget(minutes=1)
    with budget.timed("step"):
        machine.now += 10
    with budget.timed("save"):
        machine.now += 4
    assert budget.has_time_for("step", "save"), "1.5 x 14 of 46 seconds"
    assert budget.has_time_for("validation"), "never timed"
    assert (budget.knows("save"), budget.knows("validation")) == (True, False)
    machine.now += 26
    assert not budget.has_time_for("step", "save")
    assert budget.has_time_for("step")
    machine.now += 21
    assert not budget.has_time_for("validation"), "the time is up"


def test_a_slow_step_fades_but_a_slow_first_step_does_not(machine: _Time) -> None:
    budget = TimeBudget(minutes=1)
    for phase in ("step", "first step"):
        for seconds in (9, 0, 0):
            with budget.timed(phase):
                machine.now += seconds
    machine.now = 1060 - 1.5 * 8
    assert budget.has_time_for("step"), "9 x 0.9 x 0.9 = 7.3"
    assert not budget.has_time_for("first step")


def test_without_a_limit_there_is_always_time(machine: _Time) -> None:
    budget = TimeBudget(minutes=None)
    machine.now += 1e9
    assert budget.has_time_for("step", "validation")
    assert not budget.is_limited


class _Scale(Model):
    """One weight."""

    def __init__(self) -> None:
        super().__init__()
        self.spec, self.sizes = WindowSpec(), {}
        self.gain = nn.Parameter(torch.ones(1))

    def encode(self, frame: Tensor, hole: Tensor) -> None:
        pass

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        return Step(self.gain * window.target.frame)


@pytest.mark.parametrize("minutes", [3, 7, 13, 30])
def test_a_run_ends_in_time_though_stages_start_slowly(
    minutes: int, machine: _Time, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saved = []

    class Slow(ClipSamples):
        def draw(self, stage: Stage, *, step: int, ranks: Ranks) -> Batch:
            machine.now += 100.0 if step % 15 == 0 else 13.0
            return super().draw(stage, step=step, ranks=ranks)

    def fill(_model: Model, _clip: Tensor, holes: Tensor) -> Tensor:
        machine.now += 20
        return holes.expand(-1, -1, 3, -1, -1)

    def save(state: TrainingState, _run: Path) -> None:
        machine.now += 2
        saved.append(state.step)

    monkeypatch.setattr(TrainingState, "save", save)
    stages = tuple(Stage(str(i), 0.25, batch=1, crop_px=16, loss={"frame": 1.0}) for i in range(4))
    recipe = replace(TINY, stages=stages, n_steps=60, save_every=5, validate_every=8)
    trainer = Trainer(_Scale(), "scale", ModelTraining(Slow, fill, {}), tiny_data(), recipe, tmp_path)
    result = trainer.run(minutes=minutes)
    assert machine.now <= 1000 + 60 * minutes
    assert machine.now > 1000 + 60 * minutes - 250 or result.finished
    assert saved[-1] == result.step > 0
