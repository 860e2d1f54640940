"""Each loss against a slow twin, and its meaning at the extremes."""

import math

import pytest
import torch
from torch import Tensor

from vidfill.evaluate.features import load_features
from vidfill.train.losses import (
    depth_weight,
    feature_distance,
    feature_matching,
    flow_l1,
    frame_l1,
    hinge_discriminator,
    hinge_generator,
    hole_l1,
    known_l1,
    rim_l1,
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


def _hole(size: int = 96) -> Tensor:
    hole = torch.zeros(2, 1, size, size)
    hole[0, :, 10:80, 10:80] = 1
    return hole


def test_a_hole_counts_most_at_its_rim() -> None:
    weight = depth_weight(_hole())
    assert float(weight[0, 0, 45, 10]) == 1
    assert float(weight[0, 0, 45, 45]) == pytest.approx(0.12)
    across = weight[0, 0, 45, 10:46]
    assert bool((across.diff() <= 0).all())
    assert not weight[1].any() and not weight[0, 0, :10].any()


def test_rim_and_known_l1() -> None:
    torch.manual_seed(0)
    hole = _hole()
    truth, fill = torch.rand(2, 2, 3, 96, 96)
    weight = depth_weight(hole)
    error = (fill - truth).abs()
    slow = float((error.mean(dim=1, keepdim=True) * weight)[0].sum() / (weight[0].sum() + 1)) / 2
    assert float(rim_l1(fill, truth, hole)) == pytest.approx(slow, rel=1e-5)
    assert float(known_l1(fill, truth, hole)) == pytest.approx(float(error[(hole == 0).expand_as(error)].sum()) / 55296)
    assert float(known_l1(torch.where(hole > 0, fill, truth), truth, hole)) == 0
    assert float(rim_l1(torch.where(hole > 0, truth, fill), truth, hole)) == 0


def test_features_are_compared_near_the_hole() -> None:
    torch.manual_seed(0)
    features = load_features()
    truth = torch.rand(2, 3, 96, 96)
    hole = torch.zeros(2, 1, 96, 96)
    hole[:, :, 8:24, 8:24] = 1
    wanted = features(truth)
    assert float(feature_distance(wanted, wanted, hole)) == 0
    inside, far = truth.clone(), truth.clone()
    inside[:, :, 8:24, 8:24] = 0.5
    far[:, :, 72:88, 72:88] = 0.5
    near = feature_distance(features(inside), wanted, hole)
    assert near > 0.5
    assert feature_distance(features(far), wanted, hole) < 0.2 * near


def test_cells_outside_the_hole_are_real() -> None:
    hole = torch.zeros(1, 1, 32, 32)
    hole[..., :10, :10] = 1
    touched = torch.zeros(1, 1, 4, 4)
    touched[..., :2, :2] = 1
    real = torch.full((1, 1, 4, 4), 2.0)
    right = torch.where(touched > 0, -2.0, 2.0)
    assert float(hinge_discriminator(real, right, hole)) == 0
    assert float(hinge_discriminator(real, -right, hole)) == pytest.approx(3 * 4 / 5 + 0.5 * 3 * 12 / 13)
    assert float(hinge_discriminator(-real, right, hole)) == pytest.approx(3)
    scores = torch.ones(1, 1, 4, 4) * touched
    assert float(hinge_generator(scores, hole)) == pytest.approx(-4 / 5)
    assert float(hinge_generator(1 - touched, hole)) == 0


def test_matching_looks_at_the_hole_alone() -> None:
    hole = torch.zeros(1, 1, 32, 32)
    hole[..., :8, :8] = 1
    wanted = [torch.zeros(1, 5, 8, 8), torch.zeros(1, 7, 4, 4)]
    outside = [w + 1 for w in wanted]
    outside[0][..., :2, :2] = 0
    outside[1][..., :1, :1] = 0
    assert float(feature_matching(outside, wanted, hole)) == 0
    assert float(feature_matching([w + 1 for w in wanted], wanted, hole)) == pytest.approx((4 / 5 + 1 / 2) / 2)
