"""Thin holes are filled by what predicts the pixels beside them best, thick ones are painted."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vidfill.models.cleanplate.completion import complete
from vidfill.models.cleanplate.network import PainterNetwork, PainterSizes

Rgb = NDArray[np.uint8]
Bool = NDArray[np.bool_]
NETWORK = PainterNetwork(PainterSizes(widths=(8, 8, 8, 8), blocks=(1, 1, 1), n_middle=1, head=8))
ROWS, COLUMNS = np.mgrid[:64, :96]


def _paint_grey(network: PainterNetwork, rgb: Rgb, hole: Bool) -> Rgb:
    return np.where(hole[..., None], np.uint8(128), rgb)


def _paint_stripes(network: PainterNetwork, rgb: Rgb, hole: Bool) -> Rgb:
    return np.where(hole[..., None], STRIPES, rgb)


SLOPE = np.repeat((40 + ROWS + COLUMNS)[..., None], 3, axis=2).astype(np.uint8)
STRIPES = np.repeat(np.where(COLUMNS % 2, 220, 30)[..., None], 3, axis=2).astype(np.uint8)
THIN = (np.abs(ROWS - 32) < 4) & (np.abs(COLUMNS - 48) < 30)
THICK = (np.abs(ROWS - 32) < 24) & (np.abs(COLUMNS - 48) < 30)


def _error(picture: Rgb, hole: Bool) -> float:
    filled = complete(NETWORK, np.where(hole[..., None], np.uint8(0), picture), hole)
    assert (filled[~hole] == picture[~hole]).all()
    return float(np.abs(filled.astype(int) - picture)[hole].mean())


def test_text_on_smooth_ground_is_filled_smoothly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidfill.models.cleanplate.completion.paint", _paint_grey)
    assert _error(SLOPE, THIN) < 1


def test_texture_that_only_the_painter_knows_is_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidfill.models.cleanplate.completion.paint", _paint_stripes)
    assert _error(STRIPES, THIN) == 0


def test_a_thick_hole_is_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidfill.models.cleanplate.completion.paint", _paint_grey)
    assert _error(SLOPE, THICK) > 5


def test_a_picture_that_is_nearly_all_hole() -> None:
    hole = np.ones((20, 20), np.bool_)
    hole[0, 0] = False
    assert complete(NETWORK.eval(), np.zeros((20, 20, 3), np.uint8), hole).shape == (20, 20, 3)


def test_a_picture_without_a_hole_stays_as_it_is() -> None:
    assert (complete(NETWORK.eval(), STRIPES, np.zeros(STRIPES.shape[:2], np.bool_)) == STRIPES).all()
