"""Resampling against the formula written out, and known answers."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vidfill.video.frame import Float
from vidfill.video.resample import Axis, resample


def _picture(height: int, width: int) -> Float:
    return np.random.default_rng(height * width).uniform(0, 255, (height, width)).astype(np.float32)


def _slow(line: Float, axis: Axis) -> list[float]:
    """One line, sample by sample, from the kernel's definition."""
    width = max(1.0, axis.step)
    made = []
    for j in range(axis.n):
        place = axis.start + j * axis.step
        total = weights = 0.0
        for tap in range(-40, len(line) + 40):
            x = abs(tap - place) / width
            weight = 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0
            total += weight * float(line[min(max(tap, 0), len(line) - 1)])
            weights += weight
        made.append(total / weights)
    return made


@pytest.mark.parametrize("axis", [Axis.resize(30, 11), Axis.resize(30, 71), Axis(9, 3.3, 1.0), Axis(90, -4.0, 0.37)])
def test_each_axis_is_the_formula(axis: Axis) -> None:
    line = _picture(1, 30)
    expected = _slow(line[0], axis)
    across = resample(line, Axis.resize(1, 1), axis)[0]
    down = resample(line.T, axis, Axis.resize(1, 1))[:, 0]
    np.testing.assert_allclose(across, expected, atol=2e-3)
    np.testing.assert_allclose(down, expected, atol=2e-3)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_the_same_size_and_whole_shifts_are_bit_identical(kind: type) -> None:
    samples: NDArray[Any] = np.random.default_rng(0).integers(0, np.iinfo(kind).max + 1, (20, 150)).astype(kind)
    same = resample(samples, Axis.resize(20, 20), Axis.resize(150, 150))
    np.testing.assert_array_equal(same, samples)
    shifted = resample(samples, Axis(15, 5.0, 1.0), Axis(140, 7.0, 1.0))
    np.testing.assert_array_equal(shifted, samples[5:, 7:147])


def test_a_slope_stays_a_slope_and_edges_meet_edges() -> None:
    slope = np.tile(np.arange(64, dtype=np.float32) + 0.5, (8, 1))  # the value is the place in pixels from the edge
    half = resample(slope, Axis.resize(8, 8), Axis.resize(64, 32))
    np.testing.assert_allclose(half[0, 3:-3], 2 * (np.arange(32) + 0.5)[3:-3], atol=1e-3)


def test_nothing_aliases() -> None:
    stripes = np.tile(np.array([0, 255], np.float32), (4, 64))  # as fine as can be
    small = resample(stripes, Axis.resize(4, 4), Axis.resize(128, 40))
    np.testing.assert_allclose(small[:, 4:-4], 127.5, atol=8)


@pytest.mark.parametrize(("first", "spacing"), [(0.0, 2), (0.5, 2), (1.5, 4)])
def test_subsampled_planes_follow_the_full_one(first: float, spacing: int) -> None:
    """Chroma sited at `first`, `first + spacing`, ... of a slope has the slope's values there, before and after."""
    full = Axis.resize(80, 50)
    sited = np.array([first + spacing * i for i in range(80 // spacing)], np.float32)[None]
    made = resample(sited, Axis.resize(1, 1), full.on_grid(first, spacing)._replace(n=50 // spacing))[0]
    expected = [full.start + full.step * (first + spacing * j) for j in range(50 // spacing)]
    np.testing.assert_allclose(made[3:-3], expected[3:-3], atol=0.03)
