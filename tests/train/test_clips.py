"""A sample is a function of seed, step and place in the batch, and of nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.train.models import TinyModel, tiny_data
from vidfill.models.base import ReferenceSpec, WindowSpec
from vidfill.train.batch import Batch
from vidfill.train.clips import EDGE_RATIO, MAX_DISTANCE, ClipSamples, drawn_window, reach
from vidfill.train.data import TrainingData
from vidfill.train.parallel import Ranks
from vidfill.train.recipe import TINY, Stage
from vidfill.train.synthesis import exact_flow

STAGE = Stage("s", 1.0, batch=4, crop_px=32, loss={}, n_targets=3)
SPREAD = Stage("s", 1.0, batch=3, crop_px=32, loss={}, n_targets=2, n_references=4)
SPEC = TinyModel().spec
DATA = tiny_data()
WHOLE = Ranks()


def _batch(step: int, *, ranks: Ranks = WHOLE, ratio: float = 0.5) -> Batch:
    return ClipSamples(DATA, TINY, SPEC).draw(replace(STAGE, synthetic_ratio=ratio), step=step, ranks=ranks)


def _window(spec: WindowSpec, *, n_supports: int, step: int = 0) -> WindowSpec:
    return drawn_window(spec, replace(STAGE, n_supports=n_supports), seed=0, step=step)


def test_processes_share_the_batch_that_one_would_have() -> None:
    for step in range(3):
        whole = _batch(step)
        parts = [_batch(step, ranks=Ranks(rank, 2)) for rank in range(2)]
        assert torch.allclose(torch.cat([part.clip for part in parts]), whole.clip, atol=1e-6)
        assert torch.equal(torch.cat([part.holes for part in parts]), whole.holes)
        assert [*parts[0].synthetic, *(i + 2 for i in parts[1].synthetic)] == list(whole.synthetic)
        assert {part.targets for part in parts} == {whole.targets}


def test_steps_differ_and_repeat_themselves() -> None:
    assert torch.equal(_batch(1).clip, _batch(1).clip)
    assert not torch.equal(_batch(1).holes[:, 0], _batch(2).holes[:, 0])


def test_targets_have_their_window_beside_them_or_start_the_clip() -> None:
    at_edge = 0
    samples = ClipSamples(DATA, TINY, SPEC)
    small = replace(STAGE, crop_px=16, synthetic_ratio=0.0)
    for step in range(60):
        batch = samples.draw(small, step=step, ranks=WHOLE)
        n_frames = batch.clip.shape[1]
        assert batch.holes.shape == (4, n_frames, 1, 16, 16)
        assert batch.targets.stop + 2 == n_frames
        at_edge += batch.targets.start == 0
        assert batch.targets.start in (0, 2)
    assert 0 < at_edge < 60 * 3 * EDGE_RATIO


@pytest.mark.parametrize(("ratio", "expected"), [(0.0, ()), (1.0, (0, 1, 2, 3))])
def test_the_synthetic_ratio(ratio: float, expected: tuple[int, ...]) -> None:
    batch = _batch(0, ratio=ratio)
    assert batch.synthetic == expected
    assert (batch.scene is None) == (ratio == 0)
    if batch.scene is not None:
        assert torch.equal(batch.clip, batch.scene.frames)
        flow, _ = exact_flow(batch.scene, 0, 1)
        assert flow.shape == (4, 2, 32, 32)


def test_clips_too_short_for_the_window_run_back_and_forth() -> None:
    data = replace(DATA, clips=(DATA.clips[0][:3],))
    samples = ClipSamples(data, TINY, WindowSpec(neighbours=(-6, 6)))
    batch = samples.draw(replace(STAGE, synthetic_ratio=0.0), step=0, ranks=WHOLE)
    frames = batch.clip[0]
    assert len(frames) >= 9
    assert torch.equal(frames[0], frames[4])


def test_reach_covers_neighbours_and_the_nearest_references() -> None:
    assert reach(WindowSpec(neighbours=(-6, -3, 3, 6))) == 6
    assert reach(WindowSpec(references=ReferenceSpec(stride=5))) == 15
    assert reach(WindowSpec()) == 0


def test_a_window_of_few_supports_repeats_what_was_drawn() -> None:
    spec = WindowSpec(neighbours=(-6, -3, 3, 6), previous=True)
    seen = set()
    for step in range(40):
        drawn = _window(spec, n_supports=1, step=step)
        assert drawn == _window(spec, n_supports=1, step=step)
        assert (len(drawn.neighbours), len(set(drawn.neighbours)), drawn.previous) == (4, 1, True)
        seen |= set(drawn.neighbours)
    assert seen == {-6, -3, 3, 6}
    assert len(set(_window(spec, n_supports=3).neighbours)) == 3
    assert _window(spec, n_supports=0) is spec
    assert _window(spec, n_supports=4) is spec


def test_validation_clips_are_held_back_and_stay_the_same() -> None:
    (clip, holes), *others = ClipSamples(DATA, TINY, SPEC).held_back()
    again = ClipSamples(DATA, TINY, SPEC).held_back()[0]
    assert not others
    assert torch.equal(clip, again[0])
    assert torch.equal(holes, again[1])
    assert clip.shape == (1, 4, 3, 48, 48)
    assert torch.equal(clip[0, 0], DATA.held_back[0][0, :, 4:52].permute(2, 0, 1).float() / 255)


def _counting_data() -> TrainingData:
    """One clip whose every pixel says which frame it is."""
    numbers = torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1).expand(200, 40, 40, 3)
    return replace(DATA, clips=(numbers,), photos=())


def test_references_are_drawn_from_near_and_far() -> None:
    before, gaps, near, far = set(), set(), 0, 0
    samples = ClipSamples(_counting_data(), TINY, SPEC)
    for step in range(40):
        batch = samples.draw(SPREAD, step=step, ranks=WHOLE)
        assert batch.clip.shape[1] == batch.holes.shape[1] == 6
        before.add(batch.targets.start)
        for clip in batch.clip:
            numbers = (clip[:, 0, 0, 0] * 255).round().int().numpy()
            moves = np.diff(numbers) * (1 if numbers[-1] > numbers[0] else -1)
            assert (moves >= 0).all(), "in order of time, forwards or backwards"
            own = numbers[batch.targets.start : batch.targets.stop]
            stride = abs(int(own[1] - own[0]))
            gaps.add(stride)
            away = np.min(np.abs(np.delete(numbers, batch.targets)[:, None] - own[None]), axis=1) / stride
            assert 2 <= away.min() <= away.max() <= MAX_DISTANCE
            near, far = near + int((away <= 6).sum()), far + int((away >= 15).sum())
    assert before == {0, 1, 2, 3, 4}
    assert gaps <= {1, 2, 3}
    assert min(near, far) > 0.2 * 40 * 3 * 4


def test_processes_share_spread_batches() -> None:
    samples, stage = ClipSamples(DATA, TINY, SPEC), replace(SPREAD, batch=4)
    whole = samples.draw(stage, step=3, ranks=WHOLE)
    parts = [samples.draw(stage, step=3, ranks=Ranks(rank, 2)) for rank in range(2)]
    assert torch.allclose(torch.cat([part.clip for part in parts]), whole.clip, atol=1e-6)
    assert torch.equal(torch.cat([part.holes for part in parts]), whole.holes)
    assert whole.scene is not None
    assert whole.scene.motions.shape[2] == whole.scene.frames.shape[1] == 6


def test_spread_targets_lie_as_far_apart_as_references_do() -> None:
    stage = replace(SPREAD, n_targets=5, n_references=0, spread_targets=True)
    samples = ClipSamples(_counting_data(), TINY, SPEC)
    spans: list[int] = []
    for step in range(40):
        batch = samples.draw(stage, step=step, ranks=WHOLE)
        assert batch.targets == range(5)
        assert batch.clip.shape[1] == batch.holes.shape[1] == 5
        for clip in batch.clip:
            numbers = (clip[:, 0, 0, 0] * 255).round().int().numpy()
            moves = np.diff(numbers) * (1 if numbers[-1] > numbers[0] else -1)
            assert (moves >= 0).all()
            spans.append(int(moves.sum()))
    assert min(spans) < 15 < 60 < max(spans)


def test_frames_of_a_spread_clip_are_references() -> None:
    spec = WindowSpec(references=ReferenceSpec(stride=5, reach=10))
    assert drawn_window(spec, SPREAD, seed=0, step=0).indices(2, 6) == set(range(6))
    assert drawn_window(spec, STAGE, seed=0, step=0) == spec
