"""Warp error and flicker of clips whose motion is known."""

import numpy as np
import pytest

from tests.align.scenes import box_hole, painted, seen_through, shift
from vidfill.evaluate.temporal import flicker, flow_to_earlier, ring_round, warp_error

SCENE = painted(120, 220)
TRUTH = [seen_through(SCENE, shift(20 + 3 * i, 10), (160, 96)) for i in range(4)]


def test_flow_leads_from_the_later_frame_to_the_earlier() -> None:
    flow = flow_to_earlier(TRUTH[0], TRUTH[1])[20:-20, 20:-20]
    assert np.median(flow[..., 0]) == pytest.approx(3, abs=0.3)
    assert np.median(flow[..., 1]) == pytest.approx(0, abs=0.3)


def test_the_truth_is_steady_and_flicker_is_not() -> None:
    steady = warp_error(TRUTH, TRUTH)
    assert steady < 1e-3
    flickering = [np.clip(f.astype(int) + 20 * (i % 2), 0, 255).astype(np.uint8) for i, f in enumerate(TRUTH)]
    assert warp_error(flickering, TRUTH) == pytest.approx((20 / 255) ** 2, rel=0.2)


def test_what_stands_still_in_a_moving_picture_is_not_steady() -> None:
    frozen = [TRUTH[0]] * 4
    assert warp_error(frozen, TRUTH) > 10 * warp_error(TRUTH, TRUTH)


def test_one_frame_has_no_error_and_scene_cuts_are_left_out() -> None:
    assert warp_error(TRUTH[:1], TRUTH[:1]) == 0
    black, white = np.zeros((96, 160, 3), np.uint8), np.full((96, 160, 3), 255, np.uint8)
    assert warp_error([black, white], [black, white]) == 0


HOLES = [box_hole(240, 432, (180 - 5 * i, 90, 260 - 5 * i, 160)) for i in range(4)]
PANNED = [seen_through(painted(280, 520), shift(10 + 5 * i, 10), (432, 240)) for i in range(4)]


def _filled(fills: list[np.ndarray]) -> list[np.ndarray]:
    return [np.where(hole[..., None], fill, frame) for fill, frame, hole in zip(fills, PANNED, HOLES, strict=True)]


def test_flicker_is_one_for_the_picture_itself() -> None:
    assert flicker(PANNED, HOLES) == pytest.approx(1, abs=0.15)
    shaken = [np.clip(frame.astype(int) + 20 * (i % 2), 0, 255).astype(np.uint8) for i, frame in enumerate(PANNED)]
    assert flicker(_filled(shaken), HOLES) > 3
    assert flicker(_filled([PANNED[0]] * 4), HOLES) > 3, "stands still while the picture moves"
    assert flicker(_filled([np.full_like(frame, 128) for frame in PANNED]), HOLES) < 1.1, "grey does not change"


def test_flicker_is_a_ratio_of_changes() -> None:
    hole = box_hole(40, 60, (20, 10, 40, 30))
    grey = np.full((40, 60, 3), 100, np.uint8)  # without keypoints: nothing moves
    output = [grey, np.where(hole[..., None], np.uint8(110), np.uint8(102)) * np.ones_like(grey)]
    assert flicker(output, [hole] * 2) == pytest.approx(10.5 / 2.5)
    assert flicker([grey] * 2, [hole] * 2) == 1
    assert flicker([grey], [hole]) == 1
    assert flicker([grey] * 2, [np.zeros_like(hole)] * 2) == 1


def test_a_ring_is_as_wide_as_it_says_and_outside() -> None:
    ring = ring_round(box_hole(40, 60, (20, 10, 40, 30)), 5)
    assert not ring[10:30, 20:40].any()
    assert list(np.flatnonzero(ring[20])) == [*range(15, 20), *range(40, 45)]
