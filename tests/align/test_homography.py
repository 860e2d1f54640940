"""Registration against homographies that are known by construction."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.align.scenes import box_hole, painted, seen_through, shift
from vidfill.align.homography import HomographyRefiner, find_keypoints, fit_homography, is_still, match
from vidfill.models.propagate.seen import look_at

SIZE_WH = (160, 96)
HOLE = box_hole(96, 160, (60, 30, 100, 70))
TILT = np.array([[1.02, 0.03, 22.0], [-0.02, 0.99, 31.0], [1e-4, -5e-5, 1.0]])


def _corners() -> NDArray[np.float32]:
    return np.array([[[20, 20]], [[140, 20]], [[20, 76]], [[140, 76]]], np.float32)


def _pair() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64]]:
    """Two frames of a scene, and the first from the second."""
    scene = painted(180, 240)
    first = seen_through(scene, shift(30, 30), SIZE_WH)
    second = seen_through(scene, TILT, SIZE_WH)
    return first, second, np.linalg.inv(shift(30, 30)) @ TILT


def test_a_known_homography_is_found_beside_the_holes() -> None:
    first, second, truth = _pair()
    found = fit_homography(*match(look_at(second, ~HOLE).keypoints, look_at(first, ~HOLE).keypoints))
    assert found is not None
    expected = cv2.perspectiveTransform(_corners(), truth)
    assert np.abs(cv2.perspectiveTransform(_corners(), found) - expected).max() < 1


def test_tracking_mends_a_guess_that_is_pixels_off() -> None:
    first, second, truth = _pair()
    target = look_at(first, ~HOLE)
    tracker = HomographyRefiner(target.grey, target.keypoints.points)
    guess = shift(5, -4) @ truth
    mended = tracker.refine(guess, look_at(second, ~HOLE).grey, ~HOLE)
    assert mended is not None
    expected = cv2.perspectiveTransform(_corners(), truth)
    assert np.abs(cv2.perspectiveTransform(_corners(), mended) - expected).max() < 0.5


def test_no_keypoint_lies_in_or_next_to_the_hole() -> None:
    points = find_keypoints(cv2.cvtColor(painted(96, 160), cv2.COLOR_RGB2GRAY).astype(np.uint8), ~HOLE).points
    assert len(points) > 50
    x, y = points.T
    assert not ((x > 54) & (x < 105) & (y > 24) & (y < 75)).any()


@pytest.mark.parametrize("size_wh", [(320, 192), (321, 193)])
def test_large_frames_are_registered_from_half_their_size(size_wh: tuple[int, int]) -> None:
    scene = painted(260, 400)
    known = np.ones((size_wh[1], size_wh[0]), np.bool_)
    first, second = (look_at(seen_through(scene, shift(x, 20), size_wh), known) for x in (10, 33))
    found = fit_homography(*match(second.keypoints, first.keypoints))
    assert found is not None
    assert found / found[2, 2] == pytest.approx(shift(23, 0), abs=0.3)


@pytest.mark.parametrize("n", [0, 1, 14])
def test_too_few_pairs_give_no_homography(n: int) -> None:
    points = np.random.default_rng(0).uniform(0, 90, (n, 2)).astype(np.float32)
    assert fit_homography(points, points) is None


def test_unrelated_pictures_do_not_register() -> None:
    one, other = look_at(painted(96, 160), ~HOLE), look_at(painted(96, 160, seed=1), ~HOLE)
    assert fit_homography(*match(one.keypoints, other.keypoints)) is None


def test_stillness_is_judged_where_both_are_seen() -> None:
    grey = np.full((40, 40), 90, np.uint8)
    other = grey.copy()
    other[10:20, 10:20] = 255
    hole = box_hole(40, 40, (10, 10, 20, 20))
    assert is_still(grey, ~hole, other, ~hole)
    everywhere = np.ones_like(hole)
    assert not is_still(grey, everywhere, other, everywhere)
    assert not is_still(grey, ~hole, np.full_like(grey, 120), ~hole)
    assert not is_still(grey, np.zeros_like(hole), grey, ~hole)
