"""The level of a fill meets the picture; what the object left behind does not enter the hole."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vidfill.compose.seam import match_rim
from vidfill.video.frame import Bool, Float


def _texture(height: int = 90, width: int = 120, *, contrast: float = 0.06) -> Float:
    rng = np.random.default_rng(3)
    rough = sum(
        cv2.GaussianBlur(rng.standard_normal((height, width, 3)).astype(np.float32), (0, 0), sigma) * sigma
        for sigma in (1, 3, 9)
    )
    ramp = np.linspace(0, 0.3, width, dtype=np.float32)[None, :, None]
    return np.asarray(0.35 + ramp + contrast * rough / np.std(rough), np.float32)


def _hole() -> Bool:
    hole = np.zeros((90, 120), np.uint8)
    cv2.ellipse(hole, (60, 45), (34, 22), 20, 0, 360, 1, -1)
    return hole > 0


def _error(fill: NDArray[np.floating], truth: Float, where: Bool) -> float:
    return float(np.abs(fill - truth)[where].mean() * 255)


def test_a_constant_brightness_offset_disappears() -> None:
    truth, hole = _texture(), _hole()
    offset = np.array([12, 8, -10], np.float32) / np.float32(255)
    fill = match_rim(truth + offset, truth, hole)
    assert _error(truth + offset, truth, hole) > 9
    assert np.abs(np.mean((fill - truth)[hole], axis=0)).max() * 255 < 1
    assert _error(fill, truth, hole) < 1.5


def test_a_slowly_varying_offset_disappears() -> None:
    truth, hole = _texture(contrast=0.02), _hole()
    offset = np.linspace(-8, 8, 120, dtype=np.float32)[None, :, None] / np.float32(255)
    rim = hole & (cv2.erode(hole.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0)
    fill = match_rim(truth + offset, truth, hole)
    assert _error(fill, truth, rim) < 0.5 * _error(truth + offset, truth, rim)


def test_a_perfect_fill_stays_nearly_as_it_is() -> None:
    truth, hole = _texture(), _hole()
    assert _error(match_rim(truth, truth, hole), truth, hole) < 0.7


def test_a_slope_is_not_taken_for_a_jump() -> None:
    hole = _hole()
    ramp = np.broadcast_to(np.linspace(0, 1, 120, dtype=np.float32)[None, :, None], (90, 120, 3)).copy()
    assert _error(match_rim(ramp, ramp, hole), ramp, hole) < 0.1


def test_a_shadow_left_beside_the_hole_is_not_drawn_into_it() -> None:
    truth, hole = _texture(contrast=0.02), _hole()
    source = truth.copy()
    source[50:, 50:80] -= 60 / 255  # the object stood on the ground and the mask did not cover its shadow
    fill = match_rim(truth, source, hole)
    assert _error(fill, truth, hole) < 2.5


def test_nothing_inside_the_hole_of_the_source_is_read() -> None:
    truth, hole = _texture(), _hole()
    poisoned = np.where(hole[..., None], np.float32(9), truth)
    fill = truth + 0.03
    assert np.array_equal(match_rim(fill, truth, hole)[hole], match_rim(fill, poisoned, hole)[hole])


def test_a_hole_over_the_whole_picture_or_at_its_border_is_taken() -> None:
    truth = _texture()
    everything = np.ones(truth.shape[:2], bool)
    assert np.allclose(match_rim(truth, truth, everything), truth)
    corner = np.zeros_like(everything)
    corner[:20, :30] = True
    assert _error(match_rim(truth + 0.03, truth, corner), truth, corner) < 2.5


def test_single_pixels_and_slivers_are_taken() -> None:
    truth = _texture()
    for box in (np.s_[40:41, 60:61], np.s_[40:41, 10:90], np.s_[10:80, 60:61]):
        hole = np.zeros(truth.shape[:2], bool)
        hole[box] = True
        assert np.isfinite(match_rim(truth, truth, hole)).all()


@pytest.mark.parametrize("bottom", [110, 118])
def test_a_rim_along_something_dark_draws_no_cloud_into_a_sky(bottom: int) -> None:
    source = np.full((160, 200, 3), 235 / 255, np.float32)
    source += np.linspace(-6 / 255, 6 / 255, 200, dtype=np.float32)[None, :, None]
    source[110:] = 40 / 255
    hole = np.zeros((160, 200), np.bool_)
    hole[40:bottom, 60:140] = True
    fill = np.where(hole[..., None], np.float32(235 / 255), source)
    error = np.abs(match_rim(fill, source, hole) - source)[40:108, 60:140] * 255
    assert error.max() < 3
