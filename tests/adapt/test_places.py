"""Extra holes: the real one's shape, in another place, never on it."""

import numpy as np
import pytest

from vidfill.adapt.places import ENOUGH, RIM_PX, draw_extra
from vidfill.frame import Bool


def _moving_l(n: int = 6, size: tuple[int, int] = (64, 120)) -> Bool:
    """An L that moves by 3 px a frame: no mirror image of it is itself."""
    holes = np.zeros((n, *size), np.bool_)
    for t in range(n):
        holes[t, 6:22, 8 + 3 * t : 12 + 3 * t] = True
        holes[t, 18:22, 8 + 3 * t : 20 + 3 * t] = True
    return holes


def _tight(hole: Bool) -> Bool:
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    return hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _left(hole: Bool) -> int:
    return int(np.flatnonzero(hole.any(axis=0))[0])


def test_a_hole_with_room_keeps_its_shape_and_its_motion() -> None:
    holes, whole = _moving_l(), 0
    for seed in range(40):
        extra = draw_extra(np.random.default_rng(seed), holes)
        assert extra is not None
        if extra.sum() != holes.sum():
            continue
        whole += 1
        shape = _tight(holes[0])
        assert all(np.array_equal(_tight(e), shape) or np.array_equal(_tight(e), shape[:, ::-1]) for e in extra)
        steps = {_left(later) - _left(earlier) for earlier, later in zip(extra[:-1], extra[1:], strict=True)}
        assert steps in ({3}, {-3})
    assert whole > 10


def test_it_never_comes_near_the_real_hole() -> None:
    holes = _moving_l()
    for seed in range(40):
        extra = draw_extra(np.random.default_rng(seed), holes)
        assert extra is not None and extra.any()
        for real, other in zip(holes, extra, strict=True):
            ys, xs = np.nonzero(real)
            oy, ox = np.nonzero(other)
            apart = np.maximum(np.abs(ys[:, None] - oy), np.abs(xs[:, None] - ox))
            assert not apart.size or apart.min() > RIM_PX


def test_places_are_drawn_and_the_same_seed_draws_the_same() -> None:
    holes = _moving_l()
    drawn = [draw_extra(np.random.default_rng(seed), holes) for seed in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1])  # type: ignore[arg-type]
    assert not np.array_equal(drawn[0], drawn[2])  # type: ignore[arg-type]


def test_frames_without_a_hole_borrow_the_nearest_one() -> None:
    holes = np.zeros((5, 64, 96), np.bool_)
    holes[1, 4:12, 4:12] = True
    holes[3, 4:20, 4:12] = True
    drawn = (draw_extra(np.random.default_rng(seed), holes) for seed in range(30))
    sizes = [[int(e.sum()) for e in extra] for extra in drawn if extra is not None]
    whole = [found for found in sizes if sum(found) == 448]
    assert whole and all(found in ([64, 64, 64, 128, 128], [128, 128, 64, 64, 64]) for found in whole)


def test_where_little_is_left_the_best_is_taken_and_where_nothing_is_none() -> None:
    holes = np.zeros((2, 60, 100), np.bool_)
    holes[:, :, :70] = True
    best = draw_extra(np.random.default_rng(0), holes)
    assert best is not None
    assert 0 < best.sum() < ENOUGH * holes.sum()
    holes[:, :, :95] = True
    assert draw_extra(np.random.default_rng(0), holes) is None
    with pytest.raises(ValueError, match="no frame"):
        draw_extra(np.random.default_rng(0), np.zeros((2, 8, 8), np.bool_))
