"""A sample is a function of seed, step and place in the batch, and of nothing else."""

from dataclasses import replace

import pytest
import torch

from tests.train.models import TinyModel, tiny_data
from vidfill.models.base import ReferenceSpec, WindowSpec
from vidfill.train.batches import EDGE_SHARE, Batch, Shape, drawn_window, make_batch, reach, validation_clip
from vidfill.train.recipes import TINY
from vidfill.train.synthesis import exact_flow

SHAPE = Shape(n_samples=4, n_targets=3, size=(32, 32))
SPEC = TinyModel().spec


def _batch(step: int, *, rank: int = 0, n_ranks: int = 1, share: float = 0.5) -> Batch:
    shape = SHAPE._replace(synthetic_share=share)
    return make_batch(tiny_data(), TINY, SPEC, shape, step=step, rank=rank, n_ranks=n_ranks)


def test_processes_share_the_batch_that_one_would_have() -> None:
    for step in range(3):
        whole = _batch(step)
        parts = [_batch(step, rank=rank, n_ranks=2) for rank in range(2)]
        assert torch.allclose(torch.cat([part.clip for part in parts]), whole.clip, atol=1e-6)
        assert torch.equal(torch.cat([part.holes for part in parts]), whole.holes)
        assert [*parts[0].synthetic, *(i + 2 for i in parts[1].synthetic)] == list(whole.synthetic)
        assert {part.targets for part in parts} == {whole.targets}


def test_steps_differ_and_repeat_themselves() -> None:
    assert torch.equal(_batch(1).clip, _batch(1).clip)
    assert not torch.equal(_batch(1).holes[:, 0], _batch(2).holes[:, 0])


def test_targets_have_their_window_beside_them_or_start_the_clip() -> None:
    at_edge = 0
    for step in range(60):
        batch = _batch(step)
        n_frames = batch.clip.shape[1]
        assert batch.holes.shape == (4, n_frames, 1, 32, 32)
        assert batch.targets.stop + 2 == n_frames
        at_edge += batch.targets.start == 0
        assert batch.targets.start in (0, 2)
    assert 0 < at_edge < 60 * 3 * EDGE_SHARE


@pytest.mark.parametrize(("share", "expected"), [(0.0, ()), (1.0, (0, 1, 2, 3))])
def test_the_synthetic_share(share: float, expected: tuple[int, ...]) -> None:
    batch = _batch(0, share=share)
    assert batch.synthetic == expected
    assert (batch.scene is None) == (share == 0)
    if batch.scene is not None:
        assert torch.equal(batch.clip, batch.scene.frames)
        flow, _ = exact_flow(batch.scene, 0, 1)
        assert flow.shape == (4, 2, 32, 32)


def test_clips_too_short_for_the_window_run_back_and_forth() -> None:
    data = replace(tiny_data(), clips=(tiny_data().clips[0][:3],))
    spec = WindowSpec(neighbours=(-6, 6))
    batch = make_batch(data, TINY, spec, SHAPE._replace(synthetic_share=0.0), step=0)
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
        drawn = drawn_window(spec, TINY, step=step, n_supports=1)
        assert drawn == drawn_window(spec, TINY, step=step, n_supports=1)
        assert (len(drawn.neighbours), len(set(drawn.neighbours)), drawn.previous) == (4, 1, True)
        seen |= set(drawn.neighbours)
    assert seen == {-6, -3, 3, 6}
    assert len(set(drawn_window(spec, TINY, step=0, n_supports=3).neighbours)) == 3
    assert drawn_window(spec, TINY, step=0, n_supports=0) is spec
    assert drawn_window(spec, TINY, step=0, n_supports=4) is spec


def test_validation_clips_are_held_back_and_stay_the_same() -> None:
    data = tiny_data()
    clip, holes = validation_clip(data, TINY, 0)
    again = validation_clip(data, TINY, 0)
    assert torch.equal(clip, again[0])
    assert torch.equal(holes, again[1])
    assert clip.shape == (1, 4, 3, 48, 48)
    assert torch.equal(clip[0, 0], data.held_back[0][0, :, 4:52].permute(2, 0, 1).float() / 255)
