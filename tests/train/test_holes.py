"""The holes have the stated areas, and stand or move as stated."""

import numpy as np
import pytest
import torch
from torch import Tensor

from vidfill.train.holes import KINDS, HoleKind, HoleRanges, draw_hole, render_holes
from vidfill.train.motion import smooth_path

SIZE = (64, 80)
CPU = torch.device("cpu")


def _shapes() -> Tensor:
    shape = torch.zeros(1, 32, 32, dtype=torch.uint8)
    shape[0, 4:28, 8:24] = 1
    return shape


def _holes(kind: HoleKind, ranges: HoleRanges, *, n_frames: int = 6, n_samples: int = 24) -> Tensor:
    paths = [
        draw_hole(np.random.default_rng(i), n_frames, SIZE, _shapes(), ranges=ranges, kinds=(kind,))
        for i in range(n_samples)
    ]
    return render_holes(paths, SIZE, device=CPU)


@pytest.mark.parametrize("kind", ["square", "flying square"])
@pytest.mark.parametrize("area", [0.04, 0.2])
def test_squares_lie_inside_and_cover_the_stated_area(kind: HoleKind, area: float) -> None:
    holes = _holes(kind, HoleRanges(min_area=area, max_area=area))
    assert holes.shape == (24, 6, 1, *SIZE)
    assert ((holes == 0) | (holes == 1)).all()
    covered = holes.mean(dim=(2, 3, 4))
    assert (covered / area - 1).abs().max() < 0.25, "edges fall between pixels"
    assert abs(float(covered.mean()) / area - 1) < 0.03


@pytest.mark.parametrize("kind", ["strokes", "object"])
def test_other_shapes_cover_no_more_than_the_stated_area(kind: HoleKind) -> None:
    holes = _holes(kind, HoleRanges(min_area=0.1, max_area=0.1, moving_ratio=0, ragged_ratio=0))
    covered = holes[:, 0].mean(dim=(1, 2, 3))
    assert covered.max() < 0.115, "part of a shape may lie outside the frame"
    assert covered.mean() > 0.05


def test_what_stands_still_does_and_what_moves_does() -> None:
    still = HoleRanges(moving_ratio=0)
    for kind in ("square", "strokes", "object"):
        holes = _holes(kind, still)
        is_same = (holes == holes[:, :1]).flatten(1).all(dim=1)
        assert is_same.all(), kind
    moving = _holes("flying square", HoleRanges(speed_px=3))
    assert ((moving[:, 1:] != moving[:, :-1]).flatten(1).sum(dim=1) > 0).all()


def test_a_flying_square_moves_at_the_stated_speed() -> None:
    holes = _holes("flying square", HoleRanges(min_area=0.05, max_area=0.05, speed_px=1.5), n_samples=200, n_frames=2)
    columns = torch.arange(SIZE[1]).float()
    centre = (holes.sum(dim=(2, 3)) * columns).sum(-1) / holes.sum(dim=(2, 3, 4))
    moved = (centre[:, 1] - centre[:, 0]).std()
    assert 1.2 < moved < 1.8


def test_a_ragged_outline_only_ever_grows() -> None:
    plain = HoleRanges(moving_ratio=0, ragged_ratio=0)
    ragged = HoleRanges(moving_ratio=0, ragged_ratio=1)
    grown = 0.0
    for seed in range(12):
        pair = [
            render_holes(
                [draw_hole(np.random.default_rng(seed), 2, SIZE, _shapes(), ranges=r, kinds=("object",))],
                SIZE,
                device=CPU,
            )
            for r in (plain, ragged)
        ]
        assert (pair[1] >= pair[0]).all()
        grown += float(pair[1].sum() - pair[0].sum())
    assert grown > 0


def test_without_shapes_there_are_no_objects() -> None:
    none = torch.zeros(0, 32, 32, dtype=torch.uint8)
    kinds = {draw_hole(np.random.default_rng(i), 2, SIZE, none).kind for i in range(60)}
    assert kinds == set(KINDS) - {"object"}


def test_a_smooth_path_has_the_stated_speed() -> None:
    rng = np.random.default_rng(0)
    changes = np.array([np.diff(smooth_path(rng, 20, speed=2.0)) for _ in range(400)])
    assert 1.8 < changes.std() < 2.2
    together = np.mean(changes[:, 1:] * changes[:, :-1]) / np.mean(changes**2)
    assert together > 0.9
    assert smooth_path(rng, 5, speed=1.0, shake=1.0)[0] == 0
