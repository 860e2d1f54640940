"""Distances of features that are known."""

import numpy as np
import pytest
import torch

from tests.align.scenes import box_hole, painted
from vidfill.metrics.appearance import feature_distance, feature_maps
from vidfill.metrics.features import load_features, unit

HOLE = box_hole(128, 192, (64, 32, 128, 96))


def _maps(inside: list[float], outside: list[float], hole: np.ndarray = HOLE) -> list[torch.Tensor]:
    """Five maps with one vector in the hole and another outside."""
    mask = torch.from_numpy(hole).float()
    pictures = torch.stack([mask * a + (1 - mask) * b for a, b in zip(inside, outside, strict=True)])
    return [unit(pictures[None, :, :: 2**k, :: 2**k])[0] for k in range(1, 6)]


def test_distance_is_that_of_the_vectors_inside_the_hole_alone() -> None:
    one, other = _maps([1, 0], [0, 1]), _maps([0, 1], [0, 1])
    assert feature_distance(one, one, HOLE) == 0
    assert feature_distance(one, other, HOLE) == pytest.approx(2)
    elsewhere = box_hole(128, 192, (0, 0, 32, 32))
    assert feature_distance(one, other, elsewhere) == 0


def test_a_cell_counts_by_the_share_that_the_hole_covers() -> None:
    truth, output = torch.zeros(2, 1, 2), torch.zeros(2, 1, 2)
    truth[0], output[0, 0, 1], output[1, 0, 0] = 1, 1, 1  # orthogonal on the left, equal on the right
    hole = np.zeros((4, 8), np.bool_)
    hole[:, 1:6] = True  # three quarters of the left cell, half of the right one
    assert feature_distance([output], [truth], hole) == pytest.approx(2 * 0.75 / 1.25)


def test_grey_is_far_from_the_truth_for_a_real_network() -> None:
    frame, hole = painted(240, 432), box_hole(240, 432, (150, 70, 280, 170))
    grey = np.where(hole[..., None], np.uint8(90), frame)
    network = load_features()
    assert 0.5 < feature_distance(feature_maps(network, grey), feature_maps(network, frame), hole) < 2
