"""The membrane against a direct solution, and the spatial fill beside other fills and beside copied pixels."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.align.scenes import box_hole, painted
from vidfill.align.membrane import membrane
from vidfill.models.propagate.candidates import Candidate, Region
from vidfill.models.propagate.spatial import fill_smoothly, spatial_candidate


def _exact(picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The same equation as one system of linear equations."""
    height, width = hole.shape
    number = np.full(hole.shape, -1)
    number[hole] = np.arange(hole.sum())
    matrix = np.zeros((hole.sum(), hole.sum()))
    right = np.zeros((hole.sum(), picture.shape[2]))
    for y, x in np.argwhere(hole):
        row = number[y, x]
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < height and 0 <= u < width:
                matrix[row, row] += 1
                if hole[v, u]:
                    matrix[row, number[v, u]] -= 1
                else:
                    right[row] += picture[v, u]
    filled = picture.astype(np.float64)
    filled[hole] = np.linalg.solve(matrix, right)
    return filled


@pytest.mark.parametrize("box", [(20, 12, 28, 20), (8, 3, 44, 27), (0, 0, 12, 32), (1, 0, 48, 32), (7, 5, 8, 30)])
def test_the_membrane_solves_its_equation(box: tuple[int, int, int, int]) -> None:
    picture = np.asarray(cv2.GaussianBlur(painted(32, 48), (0, 0), 1), np.uint8)
    hole = box_hole(32, 48, box)
    filled = membrane(np.where(hole[..., None], 99, picture).astype(np.float32), hole)
    assert (filled[~hole] == picture[~hole]).all()
    assert np.abs(filled - _exact(picture, hole))[hole].max() < 1


def test_a_ragged_hole_with_islands_and_one_channel() -> None:
    rng = np.random.default_rng(1)
    picture = np.asarray(cv2.GaussianBlur(painted(31, 43), (0, 0), 2), np.uint8)[..., :1]
    hole = cv2.GaussianBlur(rng.standard_normal((31, 43)), (0, 0), 3) > -0.05
    filled = membrane(picture.astype(np.float32), hole)
    assert filled.shape == (31, 43, 1)
    assert np.abs(filled - _exact(picture, hole))[hole].max() < 1


def test_nothing_to_fill_and_nothing_known() -> None:
    picture = painted(20, 30).astype(np.float32)
    assert (membrane(picture, np.zeros((20, 30), np.bool_)) == picture).all()
    assert (membrane(picture, np.ones((20, 30), np.bool_)) == 0).all()


def test_a_slope_in_the_picture_goes_on_through_the_hole() -> None:
    slope = np.tile(np.linspace(20, 230, 160).astype(np.uint8)[None, :, None], (96, 1, 3))
    hole = box_hole(96, 160, (40, 20, 120, 80))
    filled = fill_smoothly(np.where(hole[..., None], 0, slope).astype(np.uint8), ~hole)
    assert np.abs(filled.astype(int) - slope).max() <= 1


def _sky() -> NDArray[np.uint8]:
    y, x = np.mgrid[0:100, 0:160].astype(np.float32)
    sky = np.dstack((180 - 0.4 * y + 10 * np.sin(x / 40), 120 + 0.4 * y + 12 * np.sin(x / 30), 60 + 0.6 * y + 0.2 * x))
    return np.asarray(np.clip(sky, 0, 255), np.uint8)


def _roof() -> NDArray[np.uint8]:
    picture = np.full((100, 160, 3), 240, np.uint8)
    picture[72:, :] = 40
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.8), np.uint8)


@pytest.mark.parametrize("picture", [_sky(), _roof(), painted(100, 160)], ids=["sky", "roof", "texture"])
@pytest.mark.parametrize("shape", ["box", "text"])
def test_it_is_no_worse_than_the_simplest_fills(picture: NDArray[np.uint8], shape: str) -> None:
    hole = box_hole(100, 160, (50, 30, 110, 70))
    if shape == "text":
        drawn = np.asarray(cv2.putText(np.zeros((100, 160), np.uint8), "LOGO", (40, 60), 0, 0.9, 255, 2))
        hole = cv2.dilate(drawn, np.ones((3, 3), np.uint8)) > 0
    given = np.where(hole[..., None], 0, picture).astype(np.uint8)

    def decibels(filled: NDArray[np.uint8]) -> float:
        return float(10 * np.log10(255**2 / max(np.square(filled.astype(float) - picture)[hole].mean(), 0.1)))

    simple = [cv2.inpaint(given, hole.astype(np.uint8), 3, how) for how in (cv2.INPAINT_TELEA, cv2.INPAINT_NS)]
    best = max(decibels(np.asarray(filled, np.uint8)) for filled in simple)
    assert decibels(fill_smoothly(given, ~hole)) > best - 0.3


def test_what_is_invented_begins_at_the_level_of_what_is_copied() -> None:
    dark = np.full((96, 160, 3), 60, np.uint8)
    hole = box_hole(96, 160, (40, 20, 120, 80))
    bright = np.zeros_like(hole)
    bright[20:80, 40:80] = True
    region = Region(np.where(hole[..., None], 0, dark).astype(np.uint8), ~hole)
    part = np.s_[region.box.slices]
    copied = Candidate(np.full_like(region.rgb, 160), bright[part], np.full(region.hole.shape, 3, np.float32), 5)
    rgb = spatial_candidate(region, [copied], None).rgb.astype(int)
    at = 80 - region.box[0]
    assert (rgb[bright[part]] == 160).all()
    assert np.abs(rgb[30:40, at] - rgb[30:40, at - 1]).max() < 15
    # A poor copy is no boundary: the spatial fill competes with it.
    poor = copied._replace(error=np.full(region.hole.shape, 30, np.float32))
    assert np.abs(spatial_candidate(region, [poor], None).rgb[region.hole].astype(int) - 60).max() <= 1
