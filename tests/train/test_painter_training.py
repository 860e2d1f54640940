"""The painter's training: the same with and without a stop, back from an explosion, on from files, graphs."""

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.train.models import tiny_data
from vidfill.errors import InputError, UsageError
from vidfill.evaluate.features import Features, load_features
from vidfill.models.cleanplate.painter import Painter
from vidfill.train.command import build_network, run_training, sorted_starts
from vidfill.train.data import TrainingData
from vidfill.train.painter_recipes import PAINTER_GPU, PAINTER_TINY
from vidfill.train.parallel import Place
from vidfill.train.picture_trainer import PictureTrainer
from vidfill.train.recipes import Recipe
from vidfill.train.report import read_metrics
from vidfill.train.state import _refill


@pytest.fixture(scope="module")
def features() -> Features:
    return load_features()


@pytest.fixture(autouse=True)
def _little_to_prepare(monkeypatch: pytest.MonkeyPatch, features: Features) -> None:
    monkeypatch.setattr("vidfill.train.picture_objective.load_features", lambda: features)
    monkeypatch.setattr("vidfill.train.picture_holes.N_STROKES", 4)
    monkeypatch.setattr("vidfill.train.picture_holes.N_TEXTS", 2)


def _data() -> TrainingData:
    return replace(tiny_data(), held_back_photos=tiny_data().photos[:2])


def _trainer(run: Path, recipe: Recipe = PAINTER_TINY, *, seed: int = 0, resume: bool = False) -> PictureTrainer:
    torch.manual_seed(seed)
    painter = build_network("painter", recipe)
    assert isinstance(painter, Painter)
    return PictureTrainer(painter, "painter", _data(), recipe, run, resume=resume)


def _tensors(value: object, name: str = "") -> dict[str, Tensor]:
    if isinstance(value, Tensor):
        return {name: value}
    found: dict[str, Tensor] = {}
    for key, item in value.items() if isinstance(value, dict) else ():
        found |= _tensors(item, f"{name}.{key}")
    return found


def test_four_steps_are_two_then_save_resume_and_two_bit_for_bit(tmp_path: Path) -> None:
    whole = _trainer(tmp_path / "whole")
    assert whole.run().finished
    calls = iter(range(100))
    first = _trainer(tmp_path / "parts").run(should_stop=lambda: next(calls) == 2)
    assert (first.step, first.finished) == (2, False)
    second = _trainer(tmp_path / "parts", seed=99, resume=True)
    outcome = second.run()
    assert outcome.finished

    expected, found = _tensors(whole.state.snapshot()), _tensors(second.state.snapshot())
    assert expected.keys() == found.keys()
    assert {"picture_critics", "picture_critic_optimizer", "averaged"} <= {name.split(".")[1] for name in expected}
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    losses = [[line["loss"] for line in read_metrics(tmp_path / run) if "loss" in line] for run in ("whole", "parts")]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4
    assert outcome.metrics.keys() == {"hole_psnr_db", "telea_hole_psnr_db", "feature_distance"}
    assert (tmp_path / "parts" / "samples" / "step_000004.png").is_file()
    line = read_metrics(tmp_path / "parts")[3]
    assert {"rim", "known", "feature", "patches", "matching", "projected", "patch_critic"} <= line.keys()


def test_it_learns(tmp_path: Path) -> None:
    stage = replace(PAINTER_TINY.stages[0], share=1.0, batch=4)
    recipe = replace(PAINTER_TINY, n_steps=60, stages=(stage,), learning_rate=3e-3, save_every=60, validate_every=60)
    _trainer(tmp_path, recipe).run()
    losses = [line["loss"] for line in read_metrics(tmp_path) if "loss" in line]
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])


def test_an_explosion_goes_back_to_weights_from_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vidfill.train.picture_trainer.SNAPSHOT_EVERY", 10)
    stage = replace(PAINTER_TINY.stages[0], share=1.0)
    recipe = replace(PAINTER_TINY, n_steps=45, stages=(stage,), save_every=100, validate_every=100)
    trainer = _trainer(tmp_path, recipe)
    update = trainer._pictures._update

    def spoiled(*arguments: object) -> None:
        if trainer.state.step == 34:
            with torch.no_grad():
                for parameter in trainer.model.parameters():
                    parameter.mul_(5)
        update(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer._pictures, "_update", spoiled)
    assert trainer.run().n_roll_backs == 1
    assert "step 36: the loss explodes, back to the weights of step 30" in caplog.text
    losses = [line["loss"] for line in read_metrics(tmp_path) if "loss" in line]
    assert max(losses[:34]) * 3 < max(losses), "it has exploded"
    assert max(losses[-8:]) < 1.5 * max(losses[:34]), "and is as before"


def test_the_gpu_recipe_runs_on_tiny_pictures_and_follows_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = tuple(replace(s, batch=1, crop_px=32, width_px=s.width_px and 48) for s in PAINTER_GPU.stages)
    recipe = replace(PAINTER_GPU, stages=stages, sizes=PAINTER_TINY.sizes, read_every=1, precision="float32")
    by_steps = replace(recipe, minutes=0.0, n_steps=2, stages=tuple(replace(s, share=0.5) for s in stages))
    assert _trainer(tmp_path / "steps", by_steps).run().step == 2
    trainer = _trainer(tmp_path / "clock", recipe)
    calls = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: 0.1 * next(calls))
    outcome = trainer.run(minutes=0.2)
    assert outcome.finished
    assert 5 < outcome.step < 30
    lines = [line for line in read_metrics(tmp_path / "clock") if "loss" in line]
    assert {line["stage"] for line in lines} == {"squares", "wide"}
    rates = [line["learning_rate"] / min(1, (line["step"] + 1) / recipe.warm_up) for line in lines]
    assert rates[-1] < 0.3 * rates[0], "the cosine comes to its end in the time there is"


def test_it_goes_on_from_weights_and_discriminators(tmp_path: Path) -> None:
    first = _trainer(tmp_path / "first")
    first.run()
    start = [tmp_path / "first" / name for name in ("painter.critics.safetensors", "painter.safetensors")]
    assert sorted_starts(start) == (start[1], start[0])
    with pytest.raises(UsageError, match="two files of a kind"):
        sorted_starts([start[0], start[0]])
    network = build_network("painter", PAINTER_TINY, start=start[1])
    averaged = first.state.averaged.state_dict()
    assert all(torch.equal(tensor, averaged[name].half().float()) for name, tensor in network.state_dict().items())
    second = _trainer(tmp_path / "second", seed=5)
    second.state.begin_critics_with(start[0])
    critics = second.state.picture_critics
    assert critics is not None and first.state.picture_critics is not None
    before = first.state.picture_critics.state_dict()
    assert all(torch.equal(tensor, before[name].half().float()) for name, tensor in critics.state_dict().items())
    plain = replace(PAINTER_TINY, stages=(replace(PAINTER_TINY.stages[0], share=1.0),))
    with pytest.raises(UsageError, match="has no use for"):
        _trainer(tmp_path / "third", plain).state.begin_critics_with(start[0])


class _Graph:
    """A stand-in for a CUDA graph: notes the work of its capture and does it again on the same buffers."""

    def __init__(self) -> None:
        self.work: Callable[[], None] = lambda: None

    def replay(self) -> None:
        self.work()


def test_steps_captured_as_a_graph_are_the_eager_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code around the capture: fixed buffers, the warmup taken back in place, losses that are summed up."""
    eager = _trainer(tmp_path / "eager")
    eager.run()
    captured = _trainer(tmp_path / "captured")
    state, stepper = captured.state, captured._pictures
    stepper._is_graphed = state._in_graph = True
    update = stepper._update
    graph = _Graph()

    class Capture:
        def __init__(self, made: _Graph) -> None:
            self._made = made

        def __enter__(self) -> None:
            def note(*arguments: object) -> None:
                self._made.work = lambda: update(*arguments)  # type: ignore[arg-type]

            monkeypatch.setattr(stepper, "_update", note)

        def __exit__(self, *_: object) -> None:
            monkeypatch.setattr(stepper, "_update", update)

    class Stream:
        def wait_stream(self, _other: object) -> None:
            pass

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    addresses = {name: tensor.data_ptr() for name, tensor in captured.model.state_dict().items()}
    captured.run()
    assert {name: tensor.data_ptr() for name, tensor in captured.model.state_dict().items()} == addresses
    expected, found = eager.state.averaged.state_dict(), state.averaged.state_dict()
    assert all(torch.allclose(expected[name], found[name], atol=1e-6) for name in expected)
    losses = [
        [line["loss"] for line in read_metrics(tmp_path / run) if "loss" in line] for run in ("eager", "captured")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_an_optimiser_is_set_back_where_its_tensors_lie() -> None:
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
    _refill(optimizer, saved)
    assert all(torch.equal(optimizer.state[weight][name], value) for name, value in saved["state"][0].items())
    _refill(optimizer, empty)
    assert not any(value.any() for value in optimizer.state[weight].values())
    assert {name: value.data_ptr() for name, value in optimizer.state[weight].items()} == places


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    painter = build_network("painter", PAINTER_TINY)
    assert isinstance(painter, Painter)
    nothing = replace(tiny_data(), clips=(), photos=())
    with pytest.raises(InputError, match="no pictures"):
        PictureTrainer(painter, "painter", nothing, PAINTER_TINY, tmp_path)
    with pytest.raises(UsageError, match="several processes"):
        PictureTrainer(painter, "painter", _data(), PAINTER_TINY, tmp_path, place=Place(0, 2))


def test_the_command_trains_it_from_packed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidfill.train.data.load_data", lambda *_a, **_k: _data())
    short = replace(PAINTER_TINY, n_steps=1)
    run_training("painter", [], tmp_path / "a", short, device="cpu")
    start = (tmp_path / "a" / "painter.safetensors", tmp_path / "a" / "painter.critics.safetensors")
    assert run_training("painter", [], tmp_path / "b", short, start=start, device="cpu").finished
    assert json.loads((tmp_path / "b" / "recipe.json").read_text())["model"] == "painter"
