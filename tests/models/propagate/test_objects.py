"""Things that move by themselves through a still scene, whose motion is known."""

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.align.scenes import box_hole, painted, seen_through, shift
from vidfill.models.propagate.candidates import Region
from vidfill.models.propagate.objects import bring_moving, find_moving
from vidfill.models.propagate.seen import Seen, look_at

Rgb = NDArray[np.uint8]
HEIGHT, WIDTH = 96, 160
HOLE = box_hole(HEIGHT, WIDTH, (88, 30, 116, 70))
CAMERA_PX, OBJECT_PX = 2.0, 3.0  # a frame, to the right: the picture's shift, the object's own motion on top of it
TARGET = 6


def _frame(i: int, *, with_object: bool = True) -> Rgb:
    scene = painted(HEIGHT + 40, WIDTH + 60)
    frame = seen_through(scene, shift(40 - CAMERA_PX * i, 20), (WIDTH, HEIGHT))
    if with_object:
        thing = painted(HEIGHT, WIDTH, seed=5)[:40, :60]
        x = round(20 + (CAMERA_PX + OBJECT_PX) * i)
        width = max(0, min(60, WIDTH - x))
        frame[28:68, x : x + width] = thing[:, :width]
    return frame


def _clip(n: int = 9, *, with_object: bool = True) -> tuple[Region, dict[int, Seen], dict[int, NDArray[np.float64]]]:
    """The target's region, the other frames behind their holes, and how the scene moves."""
    frames = [_frame(i, with_object=with_object) for i in range(n)]
    seen = {i: look_at(np.where(HOLE[..., None], np.uint8(0), frame), ~HOLE) for i, frame in enumerate(frames)}
    scene = {i: shift(CAMERA_PX * (TARGET - i), 0) for i in seen if i != TARGET}
    return Region(seen[TARGET].rgb, ~HOLE), seen, scene


def test_the_motion_of_an_object_is_found_and_followed() -> None:
    region, seen, scene = _clip()
    (moving,) = find_moving(TARGET, region, seen, scene)
    assert {TARGET - 2, TARGET - 1, TARGET + 1} <= set(moving.matrices)
    centre = np.array([[[98.0, 50.0]]])
    for i, matrix in moving.matrices.items():
        expected = centre[0, 0] + ((CAMERA_PX + OBJECT_PX) * (TARGET - i), 0)
        away_px = np.abs(cv2.perspectiveTransform(centre, matrix)[0, 0] - expected).max()
        assert away_px < (1 if abs(i - TARGET) <= 2 else 3)


def test_what_the_hole_hides_of_the_object_is_brought() -> None:
    region, seen, scene = _clip()
    (moving,) = find_moving(TARGET, region, seen, scene)
    truth = _frame(TARGET)[region.box.slices]
    brought = bring_moving(moving, TARGET, region, seen)
    assert brought
    inside = region.hole & box_hole(HEIGHT, WIDTH, (88, 31, 107, 65))[region.box.slices]
    shown = [c.valid & inside for c in brought]
    assert np.logical_or.reduce(shown)[inside].mean() > 0.9
    for candidate, where in zip(brought, shown, strict=True):
        if where.sum() > 50:
            assert np.abs(candidate.rgb.astype(int) - truth)[where].mean() < 12


def test_nothing_is_found_where_everything_goes_with_the_scene() -> None:
    assert find_moving(TARGET, *_clip(with_object=False)) == []


def test_nothing_is_found_without_detail_or_other_frames() -> None:
    plain = look_at(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), ~HOLE)
    region = Region(plain.rgb, ~HOLE)
    assert find_moving(0, region, {0: plain, 1: plain}, {1: np.eye(3)}) == []
    region, seen, _ = _clip()
    assert find_moving(TARGET, region, {TARGET: seen[TARGET]}, {}) == []
