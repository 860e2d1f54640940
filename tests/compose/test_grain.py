"""Grain of the surroundings: as strong, as coarse, and the same at each run."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from vidfill.compose.grain import add_missing
from vidfill.frame import Bool, Float

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


def test_a_bent_strip_is_all_that_is_known() -> None:
    """More of it is seen from within its bend, which is hole, than from anywhere on it."""
    hole = np.ones(SIZE, np.bool_)
    hole[40:53, 40:160] = hole[40:130, 40:53] = False
    source = _smooth() + _noise(2 / 255, 0.0)
    grain = add_missing(_smooth(), source, hole, seed=(0, 0)) - _smooth()
    assert float(np.std(grain[80:120, 80:140, 1]) * 255) == pytest.approx(2, rel=0.4)


@pytest.mark.parametrize("std", [2.0, 4.0])
@pytest.mark.parametrize("sigma_px", [0.0, 0.7, 1.0])
def test_strength_and_coarseness_match_the_surroundings(std: float, sigma_px: float) -> None:
    clean, hole = _smooth(), _hole()
    source = clean + _noise(std / 255, sigma_px)
    grain = add_missing(clean, source, hole, seed=(0, 7)) - clean
    inner = np.s_[50:90, 60:120]
    measured = float(np.std(grain[inner][..., 1]) * 255)
    assert measured == pytest.approx(std, rel=0.2)
    outside = source - clean
    assert _correlation(grain[inner][..., 1]) == pytest.approx(_correlation(outside[..., 0]), abs=0.15)


def test_a_fill_that_has_its_grain_gets_none() -> None:
    clean, hole = _smooth(), _hole()
    fill = clean + _noise(3 / 255, 0.7, seed=2)
    out = add_missing(fill, clean + _noise(3 / 255, 0.7), hole, seed=(0, 7))
    assert float(np.std((out - fill)[hole]) * 255) < 0.9


def test_a_clean_picture_gets_none() -> None:
    clean = _smooth()
    assert np.array_equal(add_missing(clean, clean, _hole(), seed=(0, 7)), clean)


def _rounded_rgb(picture: Float) -> Float:
    return np.asarray(np.rint(picture * 255) / 255, np.float32)


def _rounded_yuv420(picture: Float) -> Float:
    """Through limited-range planes of 8 bits, chroma at half size."""
    y, *chroma = np.moveaxis(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb), -1, 0)
    halves = [cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for plane in chroma]
    wide = [cv2.resize(np.rint(half * 224) / 224, SIZE[::-1], interpolation=cv2.INTER_LINEAR) for half in halves]
    planes = np.dstack([np.rint(y * 219) / 219, *wide]).astype(np.float32)
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB), np.float32)


@pytest.mark.parametrize("rounded", [_rounded_rgb, _rounded_yuv420])
@pytest.mark.parametrize("slope", [0.0, 1 / 3000, 1 / 1500, 1 / 800, 1 / 450, 1 / 300])
def test_a_drawn_gradient_gets_none(rounded: Callable[[Float], Float], slope: float) -> None:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    source = rounded(np.stack([0.2 + slope * x, 0.3 + 0.8 * slope * (x + y), 0.9 - slope * x], axis=-1))
    fill = np.asarray(cv2.GaussianBlur(source, (0, 0), 6), np.float32)
    assert np.array_equal(add_missing(fill, source, _hole(), seed=(0, 7)), fill)


def test_texture_is_not_taken_for_grain() -> None:
    clean, hole = _smooth(), _hole()
    source = clean + _noise(2 / 255, 0.5)
    source[:, :60] += np.where(np.arange(60) % 4 < 2, 0.2, -0.2).astype(np.float32)[None, :, None]
    grain = add_missing(clean, source, hole, seed=(0, 7)) - clean
    assert float(np.std(grain[50:90, 60:120]) * 255) < 3


def test_the_seed_decides_and_nothing_else() -> None:
    clean, hole = _smooth(), _hole()
    source = clean + _noise(3 / 255, 0.7)
    first = add_missing(clean, source, hole, seed=(0, 7))
    assert np.array_equal(first, add_missing(clean, source, hole, seed=(0, 7)))
    assert not np.array_equal(first, add_missing(clean, source, hole, seed=(0, 8)))
    assert not np.array_equal(first, add_missing(clean, source, hole, seed=(1, 7)))


def test_outside_the_hole_and_in_tiny_pictures_nothing_happens() -> None:
    clean, hole = _smooth(), _hole()
    source = clean + _noise(3 / 255, 0.7)
    assert np.array_equal(add_missing(clean, source, hole, seed=(0,))[~hole], clean[~hole])
    full = np.ones(SIZE, bool)
    assert np.array_equal(add_missing(clean, source, full, seed=(0,)), clean)


def test_a_perfectly_flat_place_beside_strong_detail_is_no_negative_variance() -> None:
    # Running sums of float32 leave the window of a flat place a little below zero after strong detail.
    rng = np.random.default_rng(0)
    source = np.zeros((*SIZE, 3), np.float32)
    source[:, ::2] = rng.random((SIZE[0], SIZE[1] // 2, 3), np.float32) * 1000
    source[:, 20:] = 0
    out = add_missing(source, source, _hole(), seed=(0,))
    assert np.array_equal(out, source)
