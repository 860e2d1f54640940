"""The window rules, and the one time loop against a slow obvious twin."""

from typing import Any

import pytest
import torch
from torch import Tensor

from vidfill.models.base import Model, ReferenceSpec, Step, Window, WindowSpec, unroll


def test_neighbours_are_mirrored_at_both_ends() -> None:
    spec = WindowSpec(neighbours=(-6, -3, 3, 6))
    assert spec.neighbour_indices(0, 20) == (6, 3, 3, 6)
    assert spec.neighbour_indices(10, 20) == (4, 7, 13, 16)
    assert spec.neighbour_indices(19, 20) == (13, 16, 16, 13)
    assert spec.neighbour_indices(0, 1) == (0, 0, 0, 0)
    assert all(0 <= i < 3 for t in range(3) for i in spec.neighbour_indices(t, 3))


def test_references_share_one_bank_and_leave_the_target_out() -> None:
    assert ReferenceSpec(stride=5).indices(10, 21) == (0, 5, 15, 20)
    assert ReferenceSpec(stride=5, near=1).indices(7, 21) == (0, 5, 6, 8, 10, 15, 20)
    assert ReferenceSpec(stride=3, reach=4).indices(7, 21) == (3, 6, 9)


@pytest.mark.parametrize("n", [1, 2, 7, 30])
@pytest.mark.parametrize(
    "spec",
    [
        WindowSpec(neighbours=(-6, -3, 3, 6)),
        WindowSpec(references=ReferenceSpec(stride=3, near=2, reach=7)),
        WindowSpec(references=ReferenceSpec(stride=3)),
        WindowSpec(references=ReferenceSpec(stride=3, near=2, most=4), neighbours=(-4,)),
        WindowSpec(),
    ],
)
def test_nothing_is_dropped_that_a_later_step_needs(spec: WindowSpec, n: int) -> None:
    for t in range(n):
        later = [i for s in range(t, n) for i in spec.indices(s, n)]
        oldest, bank = spec.oldest_needed(t, n), spec.bank(n)
        assert all(i >= oldest or i in bank for i in later)
        assert oldest >= min([t, *(i for i in later if i not in bank)])


def test_the_last_pass_gives_the_output_so_it_must_be_forward() -> None:
    with pytest.raises(ValueError, match="forward"):
        WindowSpec(passes=("forward", "backward"))


class _Sum(Model):
    """Everything a step may look at ends up in the number it fills with."""

    sizes: dict[str, Any] = {}

    def __init__(self, spec: WindowSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoded: list[float] = []

    def encode(self, frame: Tensor, hole: Tensor) -> Tensor:
        self.encoded.append(float(frame.detach().max()))
        return frame.amax(dim=(1, 2, 3), keepdim=True)

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        target, previous = window.target, window.previous
        value = target.features + 10 * sum(v.features for v in window.neighbours)
        value = value + 100 * sum(v.features for v in window.references)
        if previous is not None:
            value = value + 0.5 * previous.frame.mean(dim=(1, 2, 3), keepdim=True)
        if target.record is not None:
            value = value + target.record
        count = 1 if state is None else state + 1
        return Step(value.expand_as(target.frame) + count, count, record=value * 0.001)


def _clip(n: int) -> tuple[Tensor, Tensor]:
    clip = torch.arange(1.0, n + 1).view(1, n, 1, 1, 1).expand(1, n, 3, 2, 2) / 10
    holes = torch.zeros(1, n, 1, 2, 2)
    holes[..., 0, 0] = 1
    return clip, holes


def test_unroll_feeds_windows_feedback_state_and_records() -> None:
    clip, holes = _clip(5)
    x = [0.1 * (i + 1) for i in range(5)]
    spec = WindowSpec(
        neighbours=(-1, 1), references=ReferenceSpec(stride=4), previous=True, passes=("backward", "forward")
    )
    model = _Sum(spec)
    out = unroll(model, clip, holes)
    expected: dict[int, float] = {}
    records: dict[int, float] = {}
    for order in (range(4, -1, -1), range(5)):
        previous, made = None, {}
        for count, t in enumerate(order, start=1):
            near = [x[1 if t == 0 else t - 1], x[3 if t == 4 else t + 1]]
            value = x[t] + 10 * sum(near) + 100 * sum(x[r] for r in (0, 4) if r != t)
            value += 0 if previous is None else 0.5 * previous
            value += records.get(t, 0.0)
            made[t] = value * 0.001
            expected[t] = value + count
            previous = (expected[t] + 3 * x[t]) / 4
        records = made
    assert torch.allclose(out[0, :, 0, 0, 0], torch.tensor([expected[t] for t in range(5)]), rtol=1e-5)
    assert len(model.encoded) == 5, "every frame is encoded once, in both passes"


def test_detach_cuts_the_gradient_through_feedback() -> None:
    clip, holes = _clip(4)
    clip = clip.clone().requires_grad_()
    out = unroll(_Sum(WindowSpec(previous=True)), clip, holes, detach_every=2)
    (gradient,) = torch.autograd.grad(out[:, 3].sum(), clip, retain_graph=True)
    assert gradient[:, 2].abs().sum() > 0
    assert gradient[:, 1].abs().sum() == 0
    uncut = unroll(_Sum(WindowSpec(previous=True)), clip, holes)
    (gradient,) = torch.autograd.grad(uncut[:, 3].sum(), clip)
    assert gradient[:, 0].abs().sum() > 0


def test_what_lies_in_the_hole_is_never_seen() -> None:
    clip, holes = _clip(6)
    other = torch.where(holes.bool(), torch.rand_like(clip) * 50, clip)
    spec = WindowSpec(neighbours=(-2, 2), previous=True)
    assert torch.equal(unroll(_Sum(spec), clip, holes), unroll(_Sum(spec), other, holes))


def test_targets_take_the_middle_of_a_clip() -> None:
    clip, holes = _clip(6)
    model = _Sum(WindowSpec(neighbours=(-1, 2)))
    assert torch.equal(
        unroll(model, clip, holes, targets=range(2, 4))[:, 0, :, 0, 0] - 1,
        unroll(model, clip, holes)[:, 2, :, 0, 0] - 3,
    )
    model = _Sum(WindowSpec(previous=True, passes=("backward", "forward")))
    assert unroll(model, clip, holes, targets=range(2, 5)).shape[1] == 3
