"""Growing and softening masks, against the slow obvious way."""

import numpy as np
import pytest

from vidfill.masks.edit import dilate, soft_alpha
from vidfill.video.frame import Bool


def _squared_distance(mask: Bool) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """To the nearest masked pixel, by looking at all of them."""
    rows, columns = np.nonzero(mask)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    result: np.ndarray[tuple[int, int], np.dtype[np.int64]] = (
        (y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2
    ).min(axis=2)
    return result


def _mask(seed: int) -> Bool:
    mask = np.random.default_rng(seed).random((47, 61)) > 0.995
    mask[20:26, 30:41] = True
    return mask


@pytest.mark.parametrize("px", [0, 1, 1.5, 2, 4, 5, 13, 100])
def test_dilate_is_an_exact_disc(px: float) -> None:
    for seed in range(4):
        mask = _mask(seed)
        np.testing.assert_array_equal(dilate(mask, px), _squared_distance(mask) <= px * px)


def test_dilate_by_0_is_a_copy() -> None:
    mask = _mask(0)
    grown = dilate(mask, 0)
    np.testing.assert_array_equal(grown, mask)
    assert grown is not mask


def test_dilate_corner_and_empty() -> None:
    mask = np.zeros((9, 12), np.bool_)
    assert not dilate(mask, 5).any()
    mask[0, 0] = True
    assert dilate(mask, 3).sum() == 4 + 3 + 3 + 1  # a quarter of a disc of radius 3, row by row


@pytest.mark.parametrize(("dilate_px", "feather_px"), [(0, 0), (4, 0), (0, 4), (4, 4), (2, 9)])
def test_soft_alpha_curve(dilate_px: int, feather_px: int) -> None:
    mask = _mask(1)
    squared = _squared_distance(mask)
    t = np.clip((np.sqrt(squared) - dilate_px) / (feather_px + 1), 0, 1)
    expected = np.maximum(1, 255 * (1 - 3 * t**2 + 2 * t**3))
    expected[squared > (dilate_px + feather_px) ** 2] = 0
    alpha = soft_alpha(mask, dilate_px=dilate_px, feather_px=feather_px)
    assert np.abs(alpha - expected).max() <= 0.51
    assert (alpha[squared <= dilate_px**2] == 255).all()


@pytest.mark.parametrize(("dilate_px", "feather_px"), [(0, 0), (3, 4), (4, 40)])
def test_soft_alpha_covers_dilated_mask(dilate_px: int, feather_px: int) -> None:
    mask = _mask(2)
    alpha = soft_alpha(mask, dilate_px=dilate_px, feather_px=feather_px)
    np.testing.assert_array_equal(alpha > 0, dilate(mask, dilate_px + feather_px))


def test_soft_alpha_falls_steadily() -> None:
    mask = np.zeros((1, 40), np.bool_)
    mask[0, 0] = True
    row = soft_alpha(mask, dilate_px=5, feather_px=12)[0].astype(int)
    assert (np.diff(row) <= 0).all()
    assert len(set(row[5:18])) == 13  # every pixel of the band is a step of its own
    assert row[17] > 0 and row[18] == 0


def test_negative_widths() -> None:
    mask = np.ones((4, 4), np.bool_)
    with pytest.raises(ValueError, match="0 or more"):
        dilate(mask, -1)
    with pytest.raises(ValueError, match="0 or more"):
        soft_alpha(mask, dilate_px=5, feather_px=-1)
