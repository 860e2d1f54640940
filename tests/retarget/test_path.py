"""Smooth paths through corridors: against a dense solve, and known answers."""

import numpy as np
import pytest

from vidfill.retarget.path import Path1D, slow_path_below, smooth_path

WIDE = 1e9


def _free(wanted: Path1D, *, frames: float) -> Path1D:
    n = len(wanted)
    return smooth_path(wanted, np.full(n, -WIDE), np.full(n, WIDE), np.ones(n, bool), frames=frames)


def _dense(wanted: Path1D, *, frames: float) -> Path1D:
    """The same least squares, solved as a whole."""
    differences = np.diff(np.eye(len(wanted)), 2, axis=0)
    return np.asarray(np.linalg.solve(np.eye(len(wanted)) + frames**4 * differences.T @ differences, wanted))


@pytest.mark.parametrize("n", [3, 4, 5, 40])
def test_no_corridor_is_plain_least_squares(n: int) -> None:
    wanted = np.random.default_rng(n).normal(size=n) * 10
    np.testing.assert_allclose(_free(wanted, frames=3.0), _dense(wanted, frames=3.0), atol=1e-9)


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_frames(n: int) -> None:
    wanted = np.array([3.0, 7.0])[:n]
    np.testing.assert_allclose(_free(wanted, frames=5.0), wanted)


def test_very_high_frame_rates() -> None:
    """Half a second of a clip whose ticks are all frames."""
    wanted = 5 + 3.5 * np.arange(30.0)
    np.testing.assert_allclose(_free(wanted, frames=45_000.0), wanted, atol=0.01)
    np.testing.assert_array_equal(slow_path_below(wanted, np.ones(30, bool), frames=360_000), np.full(30, 5.0))


def test_straight_motion_is_kept() -> None:
    wanted = 5 + 3.5 * np.arange(60.0)
    np.testing.assert_allclose(_free(wanted, frames=12.0), wanted, atol=1e-6)


def test_no_lag() -> None:
    wanted = np.tanh((np.arange(81.0) - 40) / 10)
    path = _free(wanted, frames=8.0)
    np.testing.assert_allclose(path, -path[::-1], atol=1e-9)


def test_jitter_is_removed() -> None:
    jitter = np.array([4.0, -4.0] * 25)
    path = _free(100 + jitter, frames=6.0)
    assert np.abs(np.diff(path, 2)).max() < 0.02 * np.abs(np.diff(jitter, 2)).max()
    np.testing.assert_allclose(path, 100, atol=0.5)


def test_smooth_inside_the_corridor() -> None:
    n = 120
    low, high = np.zeros(n), np.full(n, 50.0)
    low[55:65] = 40  # a step that is known beforehand
    path = smooth_path(np.full(n, 10.0), low, high, np.ones(n, bool), frames=12.0)
    assert (path >= low).all()
    assert (path <= high).all()
    assert path[54] > 30  # it has begun to move before
    assert path[0] == pytest.approx(10, abs=4)
    assert np.abs(np.diff(path, 2)).max() < 1  # a step of 30 px would have second differences of 30


def test_unknown_frames_are_interpolated() -> None:
    wanted = 2.0 * np.arange(40)
    known = np.ones(40, bool)
    known[15:25] = False
    wanted_with_rubbish = np.where(known, wanted, -999)
    bounds = np.where(known, WIDE, -WIDE)
    path = smooth_path(wanted_with_rubbish, -np.abs(bounds), bounds, known, frames=5.0)
    np.testing.assert_allclose(path, wanted, atol=1e-6)


def test_slow_path_below_its_ceiling() -> None:
    ceiling = 1 + 0.3 * np.random.default_rng(0).uniform(size=300)
    ceiling[140:150] = 0.5
    path = slow_path_below(ceiling, np.ones(300, bool), frames=40)
    assert (path <= ceiling).all()
    assert path[145] == pytest.approx(0.5)
    assert path[0] > 0.99
    assert np.abs(np.diff(path)).max() < 0.02
    assert np.abs(np.diff(path, 2)).max() < 0.002


def test_slow_path_is_constant_near_the_minimum() -> None:
    ceiling = np.array([3.0, 1.0, 2.0, 9.0])
    known = np.array([True, True, False, True])
    np.testing.assert_allclose(slow_path_below(ceiling, known, frames=5), 1.0)
