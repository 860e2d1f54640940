"""Fuse: what its network may and may not depend on, and that it starts where propagate stands."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.align.scenes import box_hole, painted, seen_through, shift
from vidfill.engine import EngineSettings, fill_clip
from vidfill.errors import WeightsError
from vidfill.models.base import ClipSource, composite, recur, unroll
from vidfill.models.fuse import Fuse
from vidfill.models.fuse_candidates import N_FACTS, NOTHING, CandidateSet, box_on_grid, pack
from vidfill.models.fuse_network import PREVIOUS_ERROR, Decider
from vidfill.models.layers import Memory
from vidfill.models.propagate import TEMPERATURE, TEMPERATURE_PER_ERROR, Decision, Propagate, State

Rgb = NDArray[np.uint8]
HEIGHT, WIDTH = 72, 112
SMALL = {"target": (8, 8, 12, 16), "candidate": (8, 8), "key": 4, "score": 4, "n_candidates": 3}


def _small(seed: int = 0) -> Fuse:
    """A network whose last layers are not zero, as if it had been trained."""
    torch.manual_seed(seed)
    model = Fuse.from_sizes(SMALL).eval()
    for layer in (model.decider.score, model.decider.score_composite, model.decider.synthesis):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return model


def _never_take_the_composite(decider: Decider) -> None:
    assert decider.score_composite.bias is not None
    torch.nn.init.constant_(decider.score_composite.bias, -1000)


def _given(n_set: int = 4, size: tuple[int, int] = (48, 64)) -> CandidateSet:
    generator = torch.Generator().manual_seed(1)
    hole = torch.zeros(1, 1, *size)
    hole[..., 12:36, 20:50] = 1
    error = 3 + 20 * torch.rand(1, n_set, 1, *size, generator=generator)
    error[:, 0, :, 20:] = NOTHING
    return CandidateSet(
        torch.rand(1, 3, *size, generator=generator),
        hole,
        torch.rand(1, n_set, 3, *size, generator=generator),
        error,
        torch.rand(1, n_set, N_FACTS, generator=generator),
        torch.eye(3)[None],
    )


def _pan(n: int) -> tuple[Tensor, Tensor]:
    scene = painted(HEIGHT + 40, WIDTH + 40 + 5 * n)
    frames = np.stack([seen_through(scene, shift(20 + 5 * i, 20), (WIDTH, HEIGHT)) for i in range(n)])
    hole = box_hole(HEIGHT, WIDTH, (50, 24, 74, 50))
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255
    return clip, torch.from_numpy(hole).float().expand(1, n, 1, HEIGHT, WIDTH)


@torch.no_grad()
def test_new_weights_give_nearly_what_propagate_gives() -> None:
    clip, holes = _pan(6)
    torch.manual_seed(0)
    ours, theirs = (unroll(model, clip, holes) for model in (Fuse.from_sizes(SMALL), Propagate()))
    difference = ((ours - theirs).abs() * holes).sum() / (3 * holes.sum())
    assert 0 < float(difference) < 1.5 / 255
    assert torch.equal(ours * (1 - holes), theirs * (1 - holes)), "only the hole is decided about"


@torch.no_grad()
def test_the_order_of_the_candidates_does_not_matter_nor_does_one_that_shows_nothing() -> None:
    decider, given = _small().decider, _given()
    fill, memory = decider(given, None, None)
    order = torch.tensor([2, 0, 3, 1])
    turned = given._replace(rgb=given.rgb[:, order], error=given.error[:, order], facts=given.facts[:, order])
    again, memory_again = decider(turned, None, None)
    assert torch.allclose(fill, again, atol=1e-5) and torch.allclose(memory.hidden, memory_again.hidden, atol=1e-5)
    nothing = given._replace(
        rgb=torch.cat((given.rgb, torch.zeros_like(given.rgb[:, :1])), dim=1),
        error=torch.cat((given.error, torch.full_like(given.error[:, :1], NOTHING)), dim=1),
        facts=torch.cat((given.facts, given.facts[:, :1]), dim=1),
    )
    assert float((decider(nothing, None, None)[0] - fill).abs().max()) < 0.02
    louder = nothing._replace(rgb=torch.cat((given.rgb, torch.ones_like(given.rgb[:, :1])), dim=1))
    assert torch.equal(decider(louder, None, None)[0], decider(nothing, None, None)[0]), (
        "unseen pixels are not looked at"
    )


@torch.no_grad()
def test_candidates_are_copied_pixel_by_pixel_by_their_errors() -> None:
    decider, given = Fuse.from_sizes(SMALL).decider, _given()
    _never_take_the_composite(decider)
    fill, _ = decider(given, None, None)
    for y, x in ((13, 22), (30, 40)):
        errors = given.error[0, :, 0, y, x].double()
        least = errors.min()
        weights = torch.exp((least - errors) / (TEMPERATURE + TEMPERATURE_PER_ERROR * least)) * (errors < NOTHING)
        expected = (weights[:, None] * given.rgb[0, :, :, y, x]).sum(dim=0) / weights.sum()
        assert torch.allclose(fill[0, :, y, x].double(), expected, atol=1e-5)
    assert torch.equal(fill * (1 - given.hole), given.composite * (1 - given.hole))


@torch.no_grad()
def test_the_output_before_is_a_candidate_in_its_moved_place() -> None:
    decider, given = Fuse.from_sizes(SMALL).decider, _given(n_set=1)
    _never_take_the_composite(decider)
    given = given._replace(
        error=torch.full_like(given.error, NOTHING), motion=torch.from_numpy(shift(3, -2)).float()[None]
    )
    before = torch.rand(1, 3, 48, 64)
    fill, _ = decider(given, before, None)
    assert PREVIOUS_ERROR < NOTHING
    assert torch.allclose(fill[..., 14:30, 25:45], before[..., 16:32, 22:42], atol=1e-4)
    unknown = given._replace(motion=torch.zeros(1, 3, 3))
    assert torch.equal(decider(unknown, before, None)[0], decider(unknown, None, None)[0])
    blind = Fuse.from_sizes({**SMALL, "feedback": False}).decider
    assert torch.equal(blind(given, before, None)[0], blind(given, None, None)[0])


@torch.no_grad()
def test_clips_side_by_side_give_what_they_give_alone_and_the_engine_gives_the_same() -> None:
    model = _small()
    clip, holes = _pan(4)
    other = clip.flip(-1).contiguous()
    together = unroll(model, torch.cat((clip, other)), torch.cat((holes, holes.flip(-1))))
    for row, frames, hole in ((0, clip, holes), (1, other, holes.flip(-1))):
        assert torch.allclose(together[row], unroll(model, frames, hole)[0], atol=1e-5)
    pictures = list((clip[0] * 255).round().byte().permute(0, 2, 3, 1).numpy())
    masks = [np.asarray(hole[0].numpy() > 0) for hole in holes[0]]
    settings = EngineSettings(device="cpu", precision="fp32")
    filled = np.stack(list(fill_clip(model, pictures, masks, settings=settings)))
    expected = composite(clip[0], holes[0], together[0].clamp(0, 1)).permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(filled - expected).max() <= 1


@torch.no_grad()
def test_memory_matters_in_the_box_and_is_left_alone_outside() -> None:
    model = _small()
    decider, given = model.decider, _given()
    memory = Memory(torch.randn(1, 16, 3, 4), torch.randn(1, 16, 3, 4))
    assert not torch.equal(decider(given, None, None)[0], decider(given, None, memory)[0])
    wide = torch.rand(1, 3, 64, 256)
    holes = torch.zeros(1, 5, 1, 64, 256)
    holes[..., 20:40, 8:24] = 1
    steps = list(recur(model, ClipSource(model, wide[:, None].expand(1, 5, 3, 64, 256), holes)))
    assert all(bool(torch.isfinite(step.fill).all()) for _, step in steps)
    hidden = steps[-1][1].state.memory.hidden
    assert hidden.shape == (1, 16, 4, 16)
    assert hidden[..., :6].any() and not hidden[..., 6:].any(), "64 px of context beside the hole"


def test_every_weight_gets_a_gradient() -> None:
    decider = _small().decider.train()
    given = _given()
    first, memory = decider(given, None, None)
    second, _ = decider(given, first, memory)
    (first.square().mean() + second.square().mean()).backward()
    assert not [name for name, p in decider.named_parameters() if p.grad is None or not p.grad.any()]


def test_boxes_lie_on_the_grid_and_candidates_outside_of_them_are_cut_off() -> None:
    assert box_on_grid((17, 0, 33, 50), (50, 60)) == (16, 0, 48, 50)
    nothing = pack(Decision(np.zeros((8, 8, 3), np.float32), State({}, None, {})), (0, 0, 8, 8), 3)
    assert nothing.rgb.shape == (0, 8, 8, 3) and not nothing.motion.any()


def test_sizes_build_the_same_network_and_strangers_have_no_weights_for_it() -> None:
    model = Fuse.from_sizes(SMALL)
    again = Fuse.from_sizes(model.sizes)
    assert again.sizes == model.sizes
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert isinstance(model.decider, Decider)
    assert sum(p.numel() for p in Fuse().parameters()) < 4e6
    with pytest.raises(WeightsError, match="cannot be weights of fuse"):
        Fuse.from_authors({}, source="x.pth")
