"""The time limit holds, whatever takes how long."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.train.models import tiny_data, tiny_model
from vidfill.train.clock import Clock
from vidfill.train.recipes import TINY
from vidfill.train.trainer import Trainer


class _Time:
    """Stands in for the clock of the machine."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def taking(self, seconds: Callable[[], float], then: Callable[[], object]) -> Callable[[], None]:
        def slow() -> None:
            then()
            self.now += seconds()

        return slow


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> _Time:
    fake = _Time()
    monkeypatch.setattr("vidfill.train.clock.time", fake)
    return fake


def test_what_is_left_must_hold_all_that_is_to_come(machine: _Time) -> None:
    clock = Clock(minutes=1)
    with clock.timed("step"):
        machine.now += 10
    with clock.timed("save"):
        machine.now += 4
    assert clock.has_time_for("step", "save"), "1.5 x 14 of 46 seconds"
    assert clock.has_time_for("validation"), "never timed"
    assert (clock.knows("save"), clock.knows("validation")) == (True, False)
    machine.now += 26
    assert not clock.has_time_for("step", "save")
    assert clock.has_time_for("step")
    machine.now += 21
    assert not clock.has_time_for("validation"), "the time is up"


def test_a_slow_step_fades_but_a_slow_start_of_a_stage_does_not(machine: _Time) -> None:
    clock = Clock(minutes=1)
    for part in ("step", "first step"):
        for seconds in (9, 0, 0):
            with clock.timed(part):
                machine.now += seconds
    machine.now = 1060 - 1.5 * 8
    assert clock.has_time_for("step"), "9 x 0.9 x 0.9 = 7.3"
    assert not clock.has_time_for("first step")


def test_without_a_limit_there_is_always_time(machine: _Time) -> None:
    clock = Clock(minutes=None)
    machine.now += 1e9
    assert clock.has_time_for("step", "validation")
    assert not clock.is_limited


@pytest.mark.parametrize("minutes", [3, 6, 7, 9, 12, 13, 15, 30])
def test_a_run_ends_in_time_though_stages_start_slowly(
    minutes: int, machine: _Time, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stages = tuple(replace(TINY.stages[0], name=str(i), share=0.25) for i in range(4))
    recipe = replace(TINY, stages=stages, n_steps=800, save_every=50, validate_every=90, compile_layers=False)
    trainer = Trainer(tiny_model(), "tiny", tiny_data(), recipe, tmp_path)
    saved = []

    def step() -> None:
        trainer.state.step += 1

    def step_s() -> float:
        return 100.0 if trainer.state.step % 200 == 1 else 1.0

    monkeypatch.setattr(trainer, "_train_step", machine.taking(step_s, step))
    monkeypatch.setattr(trainer, "_save", machine.taking(lambda: 2.0, lambda: saved.append(trainer.state.step)))
    monkeypatch.setattr(trainer, "_validate", machine.taking(lambda: 20.0, lambda: None))
    outcome = trainer.run(minutes=minutes)
    assert machine.now <= 1000 + 60 * minutes
    assert machine.now > 1000 + 60 * minutes - 250 or outcome.finished
    assert saved[-1] == outcome.step > 0
