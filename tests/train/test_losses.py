"""Each loss against a slow twin, and its meaning at the extremes."""

import math

import pytest
import torch
from torch import Tensor

from vidfill.train.discriminator import Discriminator
from vidfill.train.losses import (
    flow_l1,
    frame_l1,
    hinge_discriminator,
    hinge_generator,
    hole_l1,
    ssim_loss,
    warp_l1,
)


def _pair(height: int = 9, width: int = 11) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, height, width, generator=generator)
    return a, (a + 0.2 * torch.randn(a.shape, generator=generator)).clamp(0, 1)


def _pixels(x: Tensor) -> list[tuple[int, int, int]]:
    return [(b, i, j) for b in range(x.shape[0]) for i in range(x.shape[2]) for j in range(x.shape[3])]


def test_frame_and_hole_l1() -> None:
    a, b = _pair()
    hole = torch.zeros(2, 1, 9, 11)
    hole[0, :, 2:5, 3:7] = 1
    slow = sum(abs(float(a[p[0], c, p[1], p[2]] - b[p[0], c, p[1], p[2]])) for p in _pixels(a) for c in range(3))
    assert float(frame_l1(a, b)) == pytest.approx(slow / a.numel(), rel=1e-5)
    inside = [abs(float(a[0, c, i, j] - b[0, c, i, j])) for c in range(3) for i in range(2, 5) for j in range(3, 7)]
    mean_of_samples = (sum(inside) / len(inside) + 0.0) / 2
    assert float(hole_l1(a, b, hole)) == pytest.approx(mean_of_samples, rel=1e-5)


def test_ssim_loss() -> None:
    a, b = _pair()
    values = []
    for s in range(2):
        for c in range(3):
            for i in range(3, 6):
                for j in range(3, 8):
                    x = a[s, c, i - 3 : i + 4, j - 3 : j + 4].double()
                    y = b[s, c, i - 3 : i + 4, j - 3 : j + 4].double()
                    mx, my = x.mean(), y.mean()
                    vx, vy, cov = ((x - mx) ** 2).mean(), ((y - my) ** 2).mean(), ((x - mx) * (y - my)).mean()
                    top = (2 * mx * my + 1e-4) * (2 * cov + 9e-4)
                    values.append(float(top / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))))
    assert float(ssim_loss(a, b)) == pytest.approx(1 - sum(values) / len(values), rel=1e-4)
    assert float(ssim_loss(a, a)) == pytest.approx(0, abs=1e-6)


def test_flow_l1_at_a_coarser_scale() -> None:
    generator = torch.Generator().manual_seed(1)
    exact = torch.randn(2, 2, 8, 12, generator=generator) * 5
    visible = (torch.rand(2, 1, 8, 12, generator=generator) < 0.7).float()
    flow = torch.randn(2, 2, 2, 3, generator=generator)
    samples = []
    for b in range(2):
        errors = []
        for i in range(2):
            for j in range(3):
                seen = [
                    (y, x) for y in range(4 * i, 4 * i + 4) for x in range(4 * j, 4 * j + 4) if visible[b, 0, y, x] > 0
                ]
                if len(seen) < 8:
                    continue
                for c in range(2):
                    truth = sum(float(exact[b, c, y, x]) for y, x in seen) / len(seen)
                    errors.append(abs(4 * float(flow[b, c, i, j]) - truth))
        samples.append(sum(errors) / len(errors))
    assert float(flow_l1(flow, exact, visible)) == pytest.approx(sum(samples) / 2, rel=1e-5)
    assert float(flow_l1(flow, exact, torch.zeros_like(visible))) == 0


def test_warp_l1_weighs_by_the_agreement_of_the_truth() -> None:
    truth, other_truth = _pair()
    fill, other = _pair()[::-1]
    still = torch.zeros(2, 2, 9, 11)
    total = 0.0
    for b, i, j in _pixels(truth):
        away = sum(float(truth[b, c, i, j] - other_truth[b, c, i, j]) ** 2 for c in range(3))
        total += math.exp(-50 * away) * sum(abs(float(fill[b, c, i, j] - other[b, c, i, j])) for c in range(3))
    assert float(warp_l1(fill, other, truth, other_truth, still)) == pytest.approx(total / fill.numel(), rel=1e-4)


def test_warp_l1_follows_the_flow() -> None:
    truth, _ = _pair()
    moved = torch.roll(truth, 2, dims=-1)
    right = torch.zeros(2, 2, 9, 11)
    right[:, 0] = 2
    inside = (truth - moved.roll(-2, dims=-1)).abs().max()
    assert inside == 0
    with_flow = warp_l1(truth, moved, truth, moved, right)
    without = warp_l1(truth, moved, truth, truth, torch.zeros_like(right))
    assert with_flow < 0.2 * without


def test_hinge_losses() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, 0.0, 1.0])
    assert float(hinge_discriminator(real, fake)) == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1 + 2) / 3)
    assert float(hinge_generator(fake)) == pytest.approx(1 / 3)


def test_the_discriminator_scores_patches_and_sees_time() -> None:
    torch.manual_seed(0)
    critic = Discriminator(4).eval()
    clip, holes = torch.rand(1, 3, 3, 32, 48), torch.zeros(1, 3, 1, 32, 48)
    scores = critic(clip, holes)
    assert scores.shape == (1, 1, 3, 2, 3)
    other = clip.clone()
    other[:, 2] = 0
    assert not torch.equal(critic(other, holes)[:, :, 0], scores[:, :, 0])
    assert not torch.equal(critic(clip, holes + 1), scores)
