"""Distances, belonging and remnants of features that are known."""

import math

import numpy as np
import pytest
import torch

from tests.align.scenes import box_hole, painted
from tests.evaluate.workers import colours
from vidfill.evaluate.appearance import _window_distances, feature_distance, feature_maps, rc_s_lite, residue_lite
from vidfill.evaluate.features import load_features, unit
from vidfill.evaluate.no_reference import judge_removal, sharpness
from vidfill.evaluate.protocol import EvaluationClip

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


def test_belonging_is_the_published_function_of_the_distance() -> None:
    angle = 0.6
    maps = _maps([math.cos(angle), math.sin(angle)], [1, 0])
    expected = math.exp(-10 / 3 * (2 - 2 * math.cos(angle)))
    assert rc_s_lite(maps, HOLE) == pytest.approx(expected, rel=1e-3)
    assert rc_s_lite(_maps([1, 0], [1, 0]), HOLE) == pytest.approx(1, abs=1e-3)
    assert rc_s_lite(maps, box_hole(128, 192, (64, 32, 72, 40))) is None, "too small"
    assert rc_s_lite(maps, np.ones_like(HOLE)) is None, "no background"


def test_noise_alone_does_not_make_a_fill_foreign() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [unit(torch.randn(1, 16, 240 // s, 432 // s, generator=generator))[0] for s in (2, 4, 8, 16, 32)]
    assert rc_s_lite(maps, box_hole(240, 432, (100, 60, 300, 180))) == pytest.approx(1, abs=0.05)


def test_windows_that_are_all_hole_count() -> None:
    features, inside = torch.zeros(2, 8, 24), torch.zeros(8, 24, dtype=torch.bool)
    features[1, :, :8] = features[0, :, 8:] = 1
    inside[:, :16] = True
    # Windows start at columns 0, 4, ...; the first and the third are all hole, the last is all background.
    found = _window_distances(features, inside)
    assert found.tolist() == pytest.approx([2, 0.5 - 0.5 / 63, 0, 0], abs=1e-5)


def test_residue_is_the_share_that_still_looks_like_the_object() -> None:
    source = _maps([1, 0], [0, 1])
    assert residue_lite(source, source, HOLE) == 1
    assert residue_lite(_maps([0.2, 0.9], [0, 1]), source, HOLE) == 0
    half = HOLE.copy()
    half[:, 96:] = False
    assert residue_lite(_maps([1, 0], [0, 1], half), source, HOLE) == pytest.approx(0.5)
    assert residue_lite(source, source, np.ones_like(HOLE)) is None


def test_sharpness_compares_detail_inside_and_around() -> None:
    checks = np.indices((96, 128)).sum(0) % 2  # a Laplacian of 4 times the contrast, and twice that, everywhere
    hole = box_hole(96, 128, (40, 30, 90, 70))
    contrast = np.where(hole, 10, 20)
    output = np.repeat((100 + checks * contrast)[..., None], 3, axis=2).astype(np.uint8)
    assert sharpness(output, hole) == pytest.approx((40**2 + 1) / (80**2 + 1))
    assert sharpness(np.full_like(output, 100), hole) == 1, "two even areas"
    assert sharpness(output, np.ones_like(hole)) is None
    assert sharpness(output, np.zeros_like(hole)) is None


def test_every_measure_prefers_the_truth_to_grey() -> None:
    frames = [painted(240, 432)] * 2
    hole = box_hole(240, 432, (150, 70, 280, 170))
    clip = EvaluationClip("x", frames, [hole] * 2)
    grey = clip.composited([np.full_like(frame, 90) for frame in frames])
    network = load_features()
    truth, found = (judge_removal(output, clip, [0, 1], network) for output in (frames, grey))
    assert truth["rc_s_lite"] > 2 * found["rc_s_lite"]
    assert abs(math.log(truth["sharpness"])) < abs(math.log(found["sharpness"]))
    assert truth["residue_lite"] > found["residue_lite"], "here the truth is what was to be removed"
    assert set(judge_removal(frames, clip, [0], None)) == {"flicker", "sharpness"}
    distance = feature_distance(feature_maps(network, grey[0]), feature_maps(network, frames[0]), hole)
    assert 0.5 < distance < 2
    assert len(feature_maps(colours, frames[0])) == 5
