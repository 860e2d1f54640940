"""Thin masks are grown by little, thick ones in proportion to the picture."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vidfill.masks.holes import automatic_growth, thickness


def _strokes(width_px: int, *, n: int = 6) -> NDArray[np.uint8]:
    mask = np.zeros((200, 300), np.uint8)
    for i in range(n):
        mask[20:180, 20 + 45 * i : 20 + 45 * i + width_px] = 1
    return mask


@pytest.mark.parametrize("width_px", [2, 4, 8, 20])
def test_thickness_of_strokes(width_px: int) -> None:
    assert thickness(_strokes(width_px) > 0) == pytest.approx(width_px, abs=1)


def test_crossings_and_blobs() -> None:
    strokes = _strokes(4)
    strokes[98:102] = 1
    cv2.circle(strokes, (290, 20), 10, 1, -1)
    assert thickness(strokes > 0) == pytest.approx(4, abs=2)


def test_thickness_of_solid_shapes() -> None:
    mask = np.zeros((200, 300), np.bool_)
    mask[50:150, 100:200] = True
    assert 50 <= thickness(mask) <= 100
    assert thickness(np.roll(mask, (-50, -100), (0, 1))) == thickness(mask)


def test_thickness_of_empty_mask() -> None:
    assert thickness(np.zeros((5, 7), np.bool_)) == 0


@pytest.mark.parametrize(
    ("thickness_px", "size", "growth"),
    [
        (4, (1080, 1920), 1),
        (10, (1080, 1920), 1),
        (24, (1080, 1920), 3),
        (200, (1080, 1920), 9),
        (200, (1920, 1080), 9),
        (60, (480, 854), 4),
        (60, (96, 160), 1),
        (0, (480, 854), 1),
    ],
)
def test_automatic_growth(thickness_px: float, size: tuple[int, int], growth: int) -> None:
    assert automatic_growth(thickness_px, height=size[0], width=size[1]) == growth
