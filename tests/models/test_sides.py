"""Sides of straight still borders are filled each from itself; a picture that is one is filled as ever."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.align.scenes import box_hole, painted, seen_through, shift
from tests.engine.models import Triplets
from vidfill.align.sides import find_sides
from vidfill.engine.clip import fill_clip
from vidfill.models.propagate.model import Propagate
from vidfill.settings import EngineSettings

Rgb = NDArray[np.uint8]
HEIGHT, WIDTH = 96, 160
HOLE = box_hole(HEIGHT, WIDTH, (60, 30, 100, 88))
CORNER = box_hole(HEIGHT, WIDTH, (60, 30, 92, 54))
ONE, OTHER = painted(180, 340, seed=1), painted(180, 340, seed=2)
N = 8


def _pan(scene: Rgb, n: int, step_px: float) -> list[Rgb]:
    return [seen_through(scene, shift(60 + step_px * i, 20), (WIDTH, HEIGHT)) for i in range(n)]


def _letterbox(n: int = N, level: int = 0) -> list[Rgb]:
    frames = _pan(ONE, n, 4)
    for frame in frames:
        frame[:12] = frame[80:] = level
    return frames


def _split(n: int = N) -> list[Rgb]:
    return [np.hstack((a[:, :80], b[:, 80:])) for a, b in zip(_pan(ONE, n, 4), _pan(OTHER, n, -3), strict=True)]


def _inset(n: int = N) -> list[Rgb]:
    frames = _pan(ONE, n, 4)
    for frame, other in zip(frames, _pan(OTHER, n, -3), strict=True):
        frame[40:, 72:] = other[40:, 72:]
    return frames


def _noisy(frames: list[Rgb], amount: int) -> list[Rgb]:
    rng = np.random.default_rng(0)
    return [np.clip(f + rng.integers(-amount, amount + 1, f.shape), 0, 255).astype(np.uint8) for f in frames]


def _soft(frames: list[Rgb]) -> list[Rgb]:
    return [np.asarray(cv2.blur(frame, (2, 2)), np.uint8) for frame in frames]


def _compressed(frames: list[Rgb]) -> list[Rgb]:
    packed = [cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, 85))[1] for frame in frames]
    return [np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8) for data in packed]


def _boxes(frames: list[Rgb], hole: NDArray[np.bool_] = HOLE) -> list[tuple[int, ...]]:
    """(x, y, width, height) of each side."""
    given = [np.where(hole[..., None], 0, frame).astype(np.uint8) for frame in frames]
    sides = find_sides(given, [~hole] * len(frames))
    if sides is None:
        return []
    return [
        tuple(cv2.boundingRect((sides.labels == k).astype(np.uint8))) for k in range(1, int(sides.labels.max()) + 1)
    ]


THREE = [(0, 0, 160, 12), (0, 12, 160, 68), (0, 80, 160, 16)]


def test_bars_are_found() -> None:
    assert _boxes(_letterbox()) == THREE
    assert _boxes(_letterbox(1)) == THREE
    assert _boxes(_letterbox()[:1] * 5) == THREE
    assert _boxes(_noisy(_letterbox(), 1)) == THREE
    assert _boxes(_noisy(_letterbox(level=16), 3)) == THREE
    turned = [np.ascontiguousarray(frame.transpose(1, 0, 2)) for frame in _letterbox()]
    assert _boxes(turned, HOLE.T) == [(y, x, h, w) for x, y, w, h in THREE]


def test_the_blur_of_a_border_belongs_to_no_side() -> None:
    assert _boxes(_soft(_letterbox())) == [(0, 0, 160, 12), (0, 13, 160, 67), (0, 81, 160, 15)]
    assert _boxes(_soft(_split())) == [(0, 0, 80, 96), (81, 0, 79, 96)]


def test_split_screens_and_insets_are_found() -> None:
    for change in (list, _compressed):
        assert _boxes(change(_split())) == [(0, 0, 80, 96), (80, 0, 80, 96)]
        assert _boxes(change(_inset()), CORNER) == [(0, 0, 160, 96), (72, 40, 88, 56)]


def _still_edge() -> list[Rgb]:
    """A window frame before a camera that stands, and somebody who walks past."""
    frames = []
    for i in range(N):
        frame = np.where(np.arange(HEIGHT)[:, None, None] < 40, ONE[:HEIGHT, :WIDTH], OTHER[:HEIGHT, :WIDTH])
        frame[20:70, 10 + 12 * i : 40 + 12 * i] = ONE[100:150, 100:130]
        frames.append(np.ascontiguousarray(frame))
    return _noisy(frames, 4)


def _moving_edge() -> list[Rgb]:
    scene = ONE.copy()
    scene[60:] = OTHER[60:]
    return [seen_through(scene, shift(60 + 4 * i, 20 + i % 3), (WIDTH, HEIGHT)) for i in range(N)]


def _night_sky() -> list[Rgb]:
    """Black above a jagged roof line."""
    rng = np.random.default_rng(4)
    heights = np.repeat(rng.integers(10, 30, WIDTH // 8), 8)
    return [np.where(np.arange(HEIGHT)[:, None, None] < heights[None, :, None], 0, f) for f in _pan(ONE, N, 4)]


@pytest.mark.parametrize("frames", [_pan(ONE, N, 4), _still_edge(), _moving_edge(), _night_sky(), [ONE * 0] * 3])
def test_ordinary_pictures_are_one(frames: list[Rgb]) -> None:
    assert _boxes([np.ascontiguousarray(f[:HEIGHT, :WIDTH]).astype(np.uint8) for f in frames]) == []


def test_a_row_behind_a_bar_is_no_picture() -> None:
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[-1] = 200
    for turned in (frame, frame[::-1], frame.swapaxes(0, 1), frame[::-1].swapaxes(0, 1)):
        assert find_sides([np.ascontiguousarray(turned)], [np.ones(turned.shape[:2], np.bool_)]) is None


def test_a_wall_of_many_screens() -> None:
    """More than a byte can count."""
    screens = np.random.default_rng(5).integers(0, 256, (N, 18, 18, 3), np.uint8)
    frames = list(screens.repeat(16, axis=1).repeat(16, axis=2))
    sides = find_sides(frames, [np.ones((288, 288), np.bool_)] * N)
    assert sides is not None
    assert sides.labels.max() == 18 * 18


def _fill(frames: list[Rgb], hole: NDArray[np.bool_]) -> list[Rgb]:
    given = [np.where(hole[..., None], 0, frame).astype(np.uint8) for frame in frames]
    return list(fill_clip(Propagate(), given, [hole] * len(frames), settings=EngineSettings(device="cpu")))


def test_a_bar_stays_black_and_its_edge_straight() -> None:
    frames = _letterbox()
    output = _fill(frames, HOLE)
    assert max(int(frame[80:].max()) for frame in output) == 0
    error = [np.abs(o[70:80].astype(int) - f[70:80])[HOLE[70:80]].mean() for o, f in zip(output, frames, strict=True)]
    assert np.mean(error) < 20  # the bar would have drawn it towards 0


def test_the_sides_of_an_inset_do_not_mix() -> None:
    """Each side gives the same whatever the other shows."""
    hole = CORNER
    frames = _inset()
    changed = [frame.copy() for frame in frames]
    for frame, other in zip(changed, _pan(ONE[:, ::-1], N, -3), strict=True):
        frame[40:, 72:] = 255 - other[40:, 72:]
    outer = np.ones_like(hole)
    outer[40:, 72:] = False
    for one, two in zip(_fill(frames, hole), _fill(changed, hole), strict=True):
        assert (one[outer] == two[outer]).all()
        assert (one[~outer & hole] != two[~outer & hole]).any()


def test_two_bars_that_meet() -> None:
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[HEIGHT // 2 :] = 230
    for filled in _fill([frame] * 2, HOLE):
        assert np.abs(filled.astype(int) - frame).max() <= 1


@pytest.mark.parametrize("size", [(5, 3), (21, 30), (1, 200)])
def test_small_pictures_are_not_parted(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(5)]
    assert find_sides(frames, [np.ones(size, np.bool_)] * 5) is None


def test_each_side_is_prepared_and_filled_several_frames_at_once() -> None:
    model, frames = Triplets(), _split()
    cpu = EngineSettings(device="cpu", precision="fp32")
    filled = list(fill_clip(model, frames, [HOLE] * N, settings=cpu))
    assert model.calls.count("prepare") == 2
    assert model.calls.count((1, 0)) == model.calls.count((1, 3)) == 2
    for side in (np.s_[:, :80], np.s_[:, 80:]):
        alone = fill_clip(Triplets(), [frame[side] for frame in frames], [HOLE[side]] * N, settings=cpu)
        for whole, own in zip(filled, alone, strict=True):
            assert np.abs(whole[side].astype(int) - own).max() <= 1
