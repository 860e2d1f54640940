"""The warp error of clips whose motion is known."""

import numpy as np
import pytest

from tests.align.scenes import painted, seen_through, shift
from vidfill.metrics.temporal import flow_to_earlier, warp_error

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
