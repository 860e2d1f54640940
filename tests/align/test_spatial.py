"""The membrane against a direct solution, and what it does to a slope."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.align.scenes import box_hole, painted
from vidfill.align.membrane import membrane
from vidfill.align.spatial import fill_smoothly


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
