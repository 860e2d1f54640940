"""Adaptation: it helps or changes nothing, keeps its time, and looks at nothing that it may not see."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.adapt.models import opened, small_fuse, write_pan
from vidfill.adapt import Adaptation, fitting
from vidfill.adapt.excerpts import Excerpt
from vidfill.adapt.judge import is_better
from vidfill.adapt.samples import Sample, drawn, make_sample
from vidfill.adapter import Adapted, Clip, Score
from vidfill.engine import EngineSettings
from vidfill.errors import UsageError
from vidfill.models import network_class
from vidfill.models.base import Model
from vidfill.models.checkpoint import LearnedModel
from vidfill.train.objective import loss_terms
from vidfill.train.recipes import find_recipe
from vidfill.train.step import Stepper

CPU = EngineSettings(device="cpu", precision="fp32", threads=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clip]:
    folder = tmp_path_factory.mktemp("pan")
    write_pan(folder, n=9)
    clip = opened(folder)
    yield clip
    clip.reader.close()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One judged hole, few samples, small crops."""
    for name, value in {
        "N_JUDGED": 1,
        "N_SAMPLES": 2,
        "STEPS_PER_SAMPLE": 6,
        "CROP_PX": 48,
        "JUDGED_CROP_PX": 48,
    }.items():
        monkeypatch.setattr(fitting, name, value)


def _fitted(model: Model, clip: Clip, name: str = "fuse", **settings: Any) -> tuple[Adapted, list[tuple[int, int]]]:
    reports: list[tuple[int, int]] = []
    adaptation = Adaptation(**{"minutes": 5, **settings})
    return adaptation.fit(model, name, clip, CPU, lambda *report: reports.append(report)), reports


def _weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_what_is_wrong_with_a_network_on_this_clip_is_unlearned(clip: Clip) -> None:
    model = small_fuse(spoiled=0.1)
    before = _weights(model)
    adapted, reports = _fitted(model, clip, steps=12, learning_rate=1e-2)
    assert adapted.is_kept and adapted.before is not None and adapted.after is not None
    assert adapted.after.hole_psnr_db > adapted.before.hole_psnr_db + 2
    assert (adapted.n_steps, adapted.n_holes, adapted.obstacle) == (12, 2, "")
    assert not _same(before, _weights(model))
    assert not model.training
    assert reports[-1] == (300, 300) and [done for done, _ in reports] == sorted(done for done, _ in reports)


def test_what_makes_it_worse_is_dropped_to_the_last_bit(clip: Clip) -> None:
    model = small_fuse()
    before = _weights(model)
    adapted, _ = _fitted(model, clip, steps=4, learning_rate=0.3)
    assert not adapted.is_kept and adapted.before is not None and adapted.after is not None
    assert adapted.after.hole_psnr_db < adapted.before.hole_psnr_db
    assert _same(before, _weights(model))
    assert "not clearly better, so the weights stay as they were" in adapted.describe("fuse")


def test_a_loss_that_is_not_finite_ends_it(clip: Clip) -> None:
    model = small_fuse()
    before = _weights(model)
    adapted, _ = _fitted(model, clip, steps=9, learning_rate=1e30)
    assert adapted.obstacle == "the loss was not finite" and not adapted.is_kept
    assert _same(before, _weights(model))


def test_the_same_seed_learns_the_same_and_leaves_the_dice_alone(clip: Clip) -> None:
    models = [small_fuse(spoiled=0.1) for _ in range(3)]
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    for model, seed in zip(models, (1, 1, 2), strict=True):
        assert _fitted(model, clip, steps=2, seed=seed, learning_rate=1e-2)[0].is_kept
    assert torch.equal(torch.rand(1), expected)
    first, again, other = (_weights(model) for model in models)
    assert _same(first, again) and not _same(first, other)


class _Machine:
    """A machine that takes so many seconds for a frame of a sample, a verdict and a step."""

    def __init__(self, frame_s: float, verdict_s: float, step_s: float) -> None:
        self.now = 1000.0
        self._frame_s, self._verdict_s, self._step_s = frame_s, verdict_s, step_s

    def monotonic(self) -> float:
        return self.now

    def make_sample(self, *given: Any) -> Sample:
        for _ in range(20):
            self.now += self._frame_s
            given[-1]()
        return Sample({}, np.ones((8, 4, 4), np.bool_), range(8))

    def judge(self, *given: object) -> list[Score]:
        self.now += self._verdict_s
        return [Score(20.0, 1.0)]

    def step(self, *given: object) -> dict[str, float]:
        self.now += self._step_s
        return {}


@pytest.mark.parametrize(
    ("times", "n_steps"), [((0.1, 1, 0.2), 100), ((1, 3, 0.5), 8), ((0.5, 0.1, 4), 3), ((2.9, 1, 1), 0), ((7, 9, 9), 0)]
)
def test_it_keeps_its_minutes(
    times: tuple[float, float, float], n_steps: int, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = _Machine(*times)
    for module in ("vidfill.train.clock", "vidfill.adapt.fitting"):
        monkeypatch.setattr(f"{module}.time", machine)
    monkeypatch.setattr(fitting, "make_sample", machine.make_sample)
    monkeypatch.setattr(fitting, "judge", machine.judge)
    monkeypatch.setattr(fitting, "drawn", lambda *given: None)
    monkeypatch.setattr(Stepper, "step", machine.step)
    adapted, reports = _fitted(small_fuse(), clip, minutes=1)
    assert adapted.n_steps >= n_steps
    assert (adapted.n_steps == 0) == (n_steps == 0)
    assert adapted.obstacle == ("" if n_steps else "the time is too short")
    assert adapted.seconds <= 60 + times[0]
    assert adapted.seconds > 30
    assert all(done < 60 for done, _ in reports[:-1]) and reports[-1] == (60, 60)


def test_nothing_is_learned_from_what_the_object_hides() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (6, 48, 80, 3), np.uint8)
    holes = np.zeros((6, 48, 80), np.bool_)
    holes[:, 20:36, 30:46] = True
    model = small_fuse(spoiled=0.1)
    losses, seen = [], []
    for value in (0, 200):
        shown = np.where(holes[..., None], np.uint8(value), frames)
        sample = make_sample(model, Excerpt(shown, holes), range(2, 6), 48, np.random.default_rng(1), lambda: None)
        assert sample is not None and sample.frames["hole"].sum() > sample.extra.sum() > 0
        given = drawn(model, sample, sample.windows(3)[0])
        with torch.no_grad():
            steps = [given.model.step(given.source.view(t), (), (), None, None) for t in range(3)]
        terms = loss_terms(list(enumerate(steps)), given.batch, given.window, replace(fitting.LOSS, short=0), None)
        losses.append({name: float(term) for name, term in terms.items()})
        seen.append(torch.stack([step.fill * given.batch.holes[:, t] for t, step in enumerate(steps)]))
    assert torch.equal(seen[0], seen[1])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", ["vinet", "opn", "opn-tcn"])
def test_other_networks_that_can_be_trained_can_be_adapted(name: str, clip: Clip) -> None:
    torch.manual_seed(0)
    found = network_class(name)
    assert issubclass(found, LearnedModel)
    model = found.from_sizes(find_recipe("tiny", model=name).sizes[name]).eval()
    adapted, _ = _fitted(model, clip, name, steps=2, learning_rate=1e-3)
    assert adapted.n_steps == 2 and adapted.after is not None


def test_without_room_or_frames_it_says_so(tmp_path: Path) -> None:
    write_pan(tmp_path, n=4)
    short = opened(tmp_path)
    assert "no run of frames is long enough" in _fitted(small_fuse(), short)[0].obstacle
    (tmp_path / "full").mkdir()
    write_pan(tmp_path / "full", n=6, box=(0, 0, 108, 64))
    full = opened(tmp_path / "full")
    adapted, _ = _fitted(small_fuse(), full)
    assert (
        adapted.describe("fuse") == "fuse is not adapted to the clip (the object leaves no room for a hole beside it)"
    )
    for clip in (short, full):
        clip.reader.close()  # type: ignore[attr-defined]


def test_better_is_nearer_to_the_truth_much_worse_in_no_hole_and_no_less_steady() -> None:
    before = [Score(20.0, 1.0), Score(15.0, 2.0)]
    assert is_better([Score(20.3, 1.02), Score(14.95, 2.03)], before)
    assert not is_better([Score(20.1, 1.0), Score(15.0, 2.0)], before), "too little to be seen"
    assert not is_better([Score(21.0, 1.0), Score(14.8, 2.0)], before), "worse in one of them"
    assert not is_better([Score(20.3, 1.1), Score(15.3, 2.0)], before), "it flickers"


@pytest.mark.parametrize("wrong", [{"minutes": 0}, {"minutes": float("nan")}, {"steps": 0}, {"learning_rate": -1.0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="adapt"):
        Adaptation(**{"minutes": 1, **wrong})
