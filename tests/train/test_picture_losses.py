"""Losses of single pictures against slow twins, and who is told what."""

import pytest
import torch
from torch import Tensor

from vidfill.evaluate.features import load_features
from vidfill.train.picture_losses import (
    depth_weight,
    feature_distance,
    feature_matching,
    hinge_fill,
    hinge_tell,
    known_l1,
    rim_l1,
)


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
    assert float(hinge_tell(real, right, hole)) == 0
    assert float(hinge_tell(real, -right, hole)) == pytest.approx(3 * 4 / 5 + 0.5 * 3 * 12 / 13)
    assert float(hinge_tell(-real, right, hole)) == pytest.approx(3)
    scores = torch.ones(1, 1, 4, 4) * touched
    assert float(hinge_fill(scores, hole)) == pytest.approx(-4 / 5)
    assert float(hinge_fill(1 - touched, hole)) == 0


def test_matching_looks_at_the_hole_alone() -> None:
    hole = torch.zeros(1, 1, 32, 32)
    hole[..., :8, :8] = 1
    wanted = [torch.zeros(1, 5, 8, 8), torch.zeros(1, 7, 4, 4)]
    outside = [w + 1 for w in wanted]
    outside[0][..., :2, :2] = 0
    outside[1][..., :1, :1] = 0
    assert float(feature_matching(outside, wanted, hole)) == 0
    assert float(feature_matching([w + 1 for w in wanted], wanted, hole)) == pytest.approx((4 / 5 + 1 / 2) / 2)
