"""The painter's training: the same with and without a stop, on from files, by the clock, as a graph."""

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.train.models import tensors_of, tiny_data
from vidfill.errors import UsageError
from vidfill.evaluate.features import FeatureNetwork, load_features
from vidfill.settings.commands import TrainSettings
from vidfill.train import find_training
from vidfill.train.command import build_network, run_training, sorted_starts
from vidfill.train.data import TrainingData
from vidfill.train.painter.recipes import GPU, TINY
from vidfill.train.recipe import Recipe
from vidfill.train.report import read_metrics
from vidfill.train.state import refill
from vidfill.train.trainer import Trainer


@pytest.fixture(scope="module")
def features() -> FeatureNetwork:
    return load_features()


@pytest.fixture(autouse=True)
def _little_to_prepare(monkeypatch: pytest.MonkeyPatch, features: FeatureNetwork) -> None:
    monkeypatch.setattr("vidfill.train.objective.load_features", lambda: features)
    monkeypatch.setattr("vidfill.train.painter.holes.N_STROKES", 4)
    monkeypatch.setattr("vidfill.train.painter.holes.N_TEXTS", 2)


def _data() -> TrainingData:
    return replace(tiny_data(), held_back_photos=tiny_data().photos[:2])


def _trainer(run: Path, recipe: Recipe = TINY, *, seed: int = 0, resume: bool = False) -> Trainer:
    torch.manual_seed(seed)
    network = build_network("painter", recipe)
    return Trainer(network, "painter", find_training("painter"), _data(), recipe, run, resume=resume)


def _losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run) if "loss" in line]


def test_four_steps_are_two_then_save_resume_and_two_bit_for_bit(tmp_path: Path) -> None:
    whole = _trainer(tmp_path / "whole")
    assert whole.run().finished
    calls = itertools.count()
    first = _trainer(tmp_path / "parts").run(should_stop=lambda: next(calls) == 2)
    assert (first.step, first.finished) == (2, False)
    second = _trainer(tmp_path / "parts", seed=99, resume=True)
    result = second.run()
    assert result.finished

    expected, found = tensors_of(whole.state), tensors_of(second.state)
    assert expected.keys() == found.keys()
    assert {"critics", "critic_optimizer_0", "averaged"} <= {name.split(".")[1] for name in expected}
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert _losses(tmp_path / "whole") == _losses(tmp_path / "parts")
    assert len(_losses(tmp_path / "parts")) == 4
    assert result.metrics.keys() == {"hole_psnr_db", "telea_hole_psnr_db", "feature_distance"}
    assert (tmp_path / "parts" / "samples" / "step_000004.png").is_file()
    line = read_metrics(tmp_path / "parts")[3]
    assert {"rim", "known", "feature", "patches", "matching", "projected", "patch_critic"} <= line.keys()


def test_it_learns(tmp_path: Path) -> None:
    stage = replace(TINY.stages[0], ratio=1.0, batch=4, loss={"rim": 6.0, "known": 2.0})
    recipe = replace(TINY, n_steps=40, stages=(stage,), learning_rate=6e-3, save_every=99, n_validation=0)
    _trainer(tmp_path, recipe).run()
    losses = _losses(tmp_path)
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])


def test_the_gpu_recipe_follows_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = tuple(replace(s, batch=1, crop_px=32, width_px=s.width_px and 48) for s in GPU.stages)
    recipe = replace(
        GPU, stages=stages, sizes=TINY.sizes, critic_width=4, read_every=1, precision="fp32", n_validation=0
    )
    by_steps = replace(recipe, minutes=0.0, n_steps=2, stages=tuple(replace(s, ratio=0.5) for s in stages))
    assert _trainer(tmp_path / "steps", by_steps).run().step == 2
    trainer = _trainer(tmp_path / "clock", recipe)
    calls = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: 0.1 * next(calls))
    result = trainer.run(minutes=0.2)
    assert result.finished
    assert 5 < result.step < 30
    lines = [line for line in read_metrics(tmp_path / "clock") if "loss" in line]
    assert {line["stage"] for line in lines} == {"squares", "wide"}
    rates = [line["learning_rate"] / min(1, (line["step"] + 1) / recipe.warmup_steps) for line in lines]
    assert rates[-1] < 0.3 * rates[0], "the cosine comes to its end in the time there is"


def test_it_goes_on_from_weights_and_discriminators(tmp_path: Path) -> None:
    first = _trainer(tmp_path / "first", replace(TINY, n_validation=0))
    first.run()
    start = [tmp_path / "first" / name for name in ("painter.critics.safetensors", "painter.safetensors")]
    assert sorted_starts(start) == (start[1], start[0])
    with pytest.raises(UsageError, match="two files of a kind"):
        sorted_starts([start[0], start[0]])
    network = build_network("painter", TINY, start=start[1])
    averaged = first.state.averaged.state_dict()
    assert all(torch.equal(tensor, averaged[name].half().float()) for name, tensor in network.state_dict().items())
    second = _trainer(tmp_path / "second", seed=5)
    second.state.begin_critics_with(start[0])
    before = first.state.critics.state_dict()
    assert all(
        torch.equal(tensor, before[name].half().float()) for name, tensor in second.state.critics.state_dict().items()
    )
    plain = replace(TINY, stages=(replace(TINY.stages[0], ratio=1.0),))
    with pytest.raises(UsageError, match="has no use for"):
        _trainer(tmp_path / "third", plain).state.begin_critics_with(start[0])


def test_steps_captured_as_a_graph_are_the_eager_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code around the capture: fixed buffers, the warmup taken back in place, losses that are summed up."""
    recipe = replace(TINY, n_validation=0)
    eager = _trainer(tmp_path / "eager", recipe)
    eager.run()
    captures = []

    def capture(work: Callable[[], object]) -> Callable[[], object]:
        captures.append(work)
        for _ in range(3):
            work()
        return work

    monkeypatch.setattr("vidfill.train.graph.can_capture", lambda _device: True)
    monkeypatch.setattr("vidfill.train.graph.capture", capture)
    captured = _trainer(tmp_path / "captured", replace(recipe, acceleration="graph"))
    addresses = {name: tensor.data_ptr() for name, tensor in captured.model.state_dict().items()}
    captured.run()
    assert len(captures) == 2, "one for each stage"
    assert {name: tensor.data_ptr() for name, tensor in captured.model.state_dict().items()} == addresses
    expected, found = eager.state.averaged.state_dict(), captured.state.averaged.state_dict()
    assert all(torch.allclose(expected[name], found[name], atol=1e-6) for name in expected)
    assert _losses(tmp_path / "eager") == pytest.approx(_losses(tmp_path / "captured"), rel=1e-4)


def test_an_optimiser_is_set_back_in_place() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight])

    def step() -> None:
        weight.grad = torch.rand(3)
        optimizer.step()

    empty = optimizer.state_dict()
    step()
    saved = {"state": {0: {name: value.clone() for name, value in optimizer.state[weight].items()}}}
    step()
    places = {name: value.data_ptr() for name, value in optimizer.state[weight].items()}
    refill(optimizer, saved)
    assert all(torch.equal(optimizer.state[weight][name], value) for name, value in saved["state"][0].items())
    refill(optimizer, empty)
    assert not any(value.any() for value in optimizer.state[weight].values())
    assert {name: value.data_ptr() for name, value in optimizer.state[weight].items()} == places


def test_the_command_trains_it_from_packed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidfill.train.data.load_data", lambda *_a, **_k: _data())
    short = replace(TINY, n_steps=1)
    run_training("painter", [], tmp_path / "a", short, TrainSettings(device="cpu"))
    start = f"{tmp_path}/a/painter.safetensors,{tmp_path}/a/painter.critics.safetensors"
    assert run_training("painter", [], tmp_path / "b", short, TrainSettings(start=start, device="cpu")).finished
    assert json.loads((tmp_path / "b" / "recipe.json").read_text())["model"] == "painter"
