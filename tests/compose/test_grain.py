"""Grain is as strong and as coarse as asked for, only where it is lacking, and the same at each run."""

import cv2
import numpy as np
import pytest

from vidfill.compose.grain import add_missing, bands
from vidfill.video.frame import Bool, Float

SIZE = (140, 180)


def _hole() -> Bool:
    hole = np.zeros(SIZE, np.uint8)
    cv2.ellipse(hole, (90, 70), (50, 36), 0, 0, 360, 1, -1)
    return hole > 0


def _smooth() -> Float:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    return np.stack([0.4 + 0.1 * np.sin(x / 40), 0.5 + 0.1 * np.cos(y / 30), 0.5 + 0 * x], axis=-1)


def _noise(std: float, sigma_px: float, *, seed: int = 1) -> Float:
    """Luma noise: the same in all channels, `std` after filtering."""
    noise = np.random.default_rng(seed).standard_normal(SIZE, np.float32)
    if sigma_px:
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma_px), np.float32)
    return np.asarray((noise * (std / noise.std()))[..., None], np.float32)


def _correlation(values: Float) -> float:
    """Of horizontal neighbours."""
    return float(np.corrcoef(values[:, 1:].ravel(), values[:, :-1].ravel())[0, 1])


def _variances(noise: Float) -> Float:
    """(2, 3), from the noise itself."""
    return np.stack([np.square(band).mean(axis=(0, 1)) for band in bands(np.repeat(noise, 3, axis=-1))])


@pytest.mark.parametrize("std", [2.0, 4.0])
@pytest.mark.parametrize("sigma_px", [0.0, 0.7, 1.0])
def test_strength_and_coarseness_are_those_of_the_noise(std: float, sigma_px: float) -> None:
    clean, hole, noise = _smooth(), _hole(), _noise(std / 255, sigma_px)
    grain = add_missing(clean, hole, _variances(noise), seed=(0, 7)) - clean
    inner = np.s_[50:90, 60:120]
    assert float(np.std(grain[inner][..., 1]) * 255) == pytest.approx(std, rel=0.2)
    assert _correlation(grain[inner][..., 1]) == pytest.approx(_correlation(noise[..., 0]), abs=0.15)


def test_a_fill_that_has_its_grain_gets_none() -> None:
    hole, fill = _hole(), _smooth() + _noise(3 / 255, 0.7, seed=2)
    out = add_missing(fill, hole, _variances(_noise(3 / 255, 0.7)), seed=(0, 7))
    assert float(np.std((out - fill)[hole]) * 255) < 0.9


@pytest.mark.parametrize("std", [0, 0.3])
def test_noise_of_less_than_rounding_is_left_out(std: float) -> None:
    clean = _smooth()
    assert np.array_equal(add_missing(clean, _hole(), _variances(_noise(1 / 255, 0.0)) * std**2, seed=(0, 7)), clean)


def test_the_seed_decides_and_nothing_else() -> None:
    clean, hole, variances = _smooth(), _hole(), _variances(_noise(3 / 255, 0.7))
    first = add_missing(clean, hole, variances, seed=(0, 7))
    assert np.array_equal(first, add_missing(clean, hole, variances, seed=(0, 7)))
    assert not np.array_equal(first, add_missing(clean, hole, variances, seed=(0, 8)))
    assert not np.array_equal(first, add_missing(clean, hole, variances, seed=(1, 7)))


def test_frames_have_patterns_that_are_not_alike() -> None:
    clean, hole, variances = _smooth(), _hole(), _variances(_noise(3 / 255, 0.7))
    patterns = [(add_missing(clean, hole, variances, seed=(0, i)) - clean)[hole][:, 1] for i in range(6)]
    likeness = np.corrcoef(patterns) - np.eye(6)
    assert np.abs(likeness).max() < 0.15


def test_outside_the_hole_nothing_happens() -> None:
    clean, hole, variances = _smooth(), _hole(), _variances(_noise(3 / 255, 0.7))
    assert np.array_equal(add_missing(clean, hole, variances, seed=(0,))[~hole], clean[~hole])


def test_a_hole_larger_than_the_pattern_is_covered_without_a_seam() -> None:
    clean = np.full((160, 1100, 3), 0.5, np.float32)
    grain = add_missing(clean, np.ones((160, 1100), np.bool_), _variances(_noise(3 / 255, 0.7)), seed=(0,)) - clean
    steps = np.abs(np.diff(grain[..., 1], axis=1)).mean(axis=0)
    assert steps.max() < 1.6 * steps.mean()


def test_a_flat_place_has_no_negative_variance() -> None:
    # Running sums of float32 leave the window of a flat place a little below zero after strong detail.
    rng = np.random.default_rng(0)
    source = np.zeros((*SIZE, 3), np.float32)
    source[:, ::2] = rng.random((SIZE[0], SIZE[1] // 2, 3), np.float32) * 1000
    source[:, 20:] = 0
    out = add_missing(source, _hole(), np.full((2, 3), 1e-3, np.float32), seed=(0,))
    assert np.isfinite(out).all()
