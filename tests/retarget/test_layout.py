"""Where objects go: known answers, and what must hold of any track."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.retarget.test_size import INFO, UPRIGHT
from vidfill.errors import UsageError
from vidfill.retarget.layout import Placement, place
from vidfill.retarget.objects import ObjectTrack
from vidfill.settings.commands import RetargetSettings

WIDTH, HEIGHT = 1280, 720
HALF = (720, 640)  # (height, width): half as wide


def _track(boxes: Any) -> ObjectTrack:
    rounded = np.rint(np.array(boxes)).astype(np.int32)
    return ObjectTrack(0, rounded, np.ones(len(rounded), np.bool_))


def _still(*box: int, n: int = 30) -> ObjectTrack:
    return _track([box] * n)


def _shown(track: ObjectTrack, placement: Placement) -> NDArray[np.float64]:
    """(N, 4), the boxes in the new picture."""
    x0, y0, x1, y1 = track.boxes.T
    scale = placement.scale
    return np.stack(
        [scale * x0 + placement.dx, scale * y0 + placement.dy, scale * x1 + placement.dx, scale * y1 + placement.dy],
        axis=1,
    )


def _placed(track: ObjectTrack, size: tuple[int, int], object_scale: float = 1.0) -> NDArray[np.float64]:
    return _shown(track, place(track, INFO, size, RetargetSettings(object_scale=object_scale)))


def test_at_the_same_size_nothing_moves() -> None:
    track = _track([(100 + 13 * t, 200, 300 + 13 * t, 500 + (t % 3)) for t in range(40)])
    placement = place(track, INFO, (HEIGHT, WIDTH), RetargetSettings())
    np.testing.assert_array_equal(placement.scale, 1)
    np.testing.assert_array_equal(placement.dx, 0)
    np.testing.assert_array_equal(placement.dy, 0)


def test_half_width_keeps_size_at_proportional_place() -> None:
    shown = _placed(_still(400, 200, 500, 500), HALF)
    np.testing.assert_allclose(shown, np.tile([175.0, 200, 275, 500], (30, 1)), atol=1e-6)  # its centre at 450 / 2


@pytest.mark.parametrize(
    ("size", "scale"),
    [((720, 2560), 1), ((1440, 1280), 1), ((360, 2560), 1), ((1440, 3840), 2), ((360, 320), 0.5), ((1440, 2560), 2)],
)
def test_scale_between_both_axes_nearest_to_one(size: tuple[int, int], scale: float) -> None:
    placement = place(_still(400, 300, 500, 400), INFO, size, RetargetSettings())
    np.testing.assert_allclose(placement.scale, scale)


def test_object_moves_in_proportion() -> None:
    track = _track([(200 + 10 * t, 200, 300 + 10 * t, 500) for t in range(50)])
    shown = _placed(track, HALF)
    np.testing.assert_allclose((shown[:, 0] + shown[:, 2]) / 2, (250 + 10 * np.arange(50)) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("anchor", "box"),
    [
        ("bottom", (175.0, 100.0, 225.0, 250.0)),
        ("top", (175.0, 100.0, 225.0, 250.0)),
        ("center", (175.0, 100.0, 225.0, 250.0)),
    ],
)
def test_uniform_shrinking_keeps_the_layout(anchor: Any, box: tuple[float, ...]) -> None:
    shown = _shown(
        _still(350, 200, 450, 500),
        place(_still(350, 200, 450, 500), INFO, (360, 640), RetargetSettings(anchor=anchor)),
    )
    np.testing.assert_allclose(shown[0], box, atol=1e-6)


@pytest.mark.parametrize(
    ("anchor", "y0", "y1"), [("bottom", 350.0, 500.0), ("top", 200.0, 350.0), ("center", 275.0, 425.0)]
)
def test_the_anchor_stays_at_its_place(anchor: Any, y0: float, y1: float) -> None:
    track = _still(400, 200, 500, 500)
    shown = _shown(track, place(track, INFO, HALF, RetargetSettings(object_scale=0.5, anchor=anchor)))
    np.testing.assert_allclose(shown[0], [200, y0, 250, y1], atol=1e-6)


def test_anchor_of_a_rotated_picture() -> None:
    """Turned counter-clockwise to be shown: what is shown at the bottom is coded at the left."""
    upright = replace(INFO, orientation=UPRIGHT)
    track = _still(400, 200, 500, 500)
    shown = _shown(track, place(track, upright, (HEIGHT, WIDTH), RetargetSettings(object_scale=0.5)))
    np.testing.assert_allclose(shown[0], [400, 275, 450, 425], atol=1e-6)


def test_wide_object_is_made_to_fit() -> None:
    shown = _placed(_still(100, 200, 1100, 500), HALF)
    width, height = shown[:, 2] - shown[:, 0], shown[:, 3] - shown[:, 1]
    np.testing.assert_allclose(width / height, 1000 / 300)
    assert (width < 640).all()
    assert (width > 0.9 * 640).all()


def test_object_as_wide_as_the_picture() -> None:
    shown = _placed(_still(0, 200, WIDTH, 500), HALF)
    np.testing.assert_allclose(shown[0, [0, 2]], [0, 640], atol=1e-6)


@pytest.mark.parametrize("size", [HALF, (480, 270), (360, 1280), (720, 1600), (1000, 500)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_objects_stay_inside_and_do_not_shake(size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 150
    t = np.arange(n)
    centres = 640 + 400 * np.sin(t / (20 + 10 * seed)), 360 + 150 * np.cos(t / 33)
    widths = 260 + 150 * np.sin(t / 15) + rng.normal(0, 6, n)  # legs and arms
    heights = 300 + rng.normal(0, 6, n)
    boxes = np.stack(
        [centres[0] - widths / 2, centres[1] - heights / 2, centres[0] + widths / 2, centres[1] + heights / 2], axis=1
    )
    limits = [WIDTH, HEIGHT, WIDTH, HEIGHT]
    track = _track(np.clip(boxes, 0, limits))
    placement = place(track, INFO, size, RetargetSettings())
    shown = _shown(track, placement)
    assert shown[:, :2].min() > -1e-6
    assert shown[:, 2].max() < size[1] + 1e-6
    assert shown[:, 3].max() < size[0] + 1e-6
    # What the layout adds to the object's own motion: slow (its path itself bends by 1), where the boxes shake.
    assert np.percentile(np.abs(np.diff(track.boxes, 2, axis=0)), 95) > 10
    assert np.percentile(np.abs(np.diff(placement.dx, 2)), 95) < 1.2
    assert np.abs(np.diff(placement.scale, 2)).max() < 0.001


def test_cut_off_objects_stay_at_the_border() -> None:
    for object_scale in (1.0, 0.5):
        left = _placed(_still(0, 300, 200, 720), HALF, object_scale=object_scale)
        np.testing.assert_allclose(left[:, 0], 0, atol=1e-6)
        np.testing.assert_allclose(left[:, 3], 720, atol=1e-6)
        right = _placed(_still(1000, 0, 1280, 300), HALF, object_scale=object_scale)
        np.testing.assert_allclose(right[:, 2], 640, atol=1e-6)
        np.testing.assert_allclose(right[:, 1], 0, atol=1e-6)


def test_entering_object_leaves_the_border_smoothly() -> None:
    speed = 8
    x1 = np.arange(10, 900, speed)
    track = _track([(max(0, x - 200), 300, x, 600) for x in x1])
    placement = place(track, INFO, HALF, RetargetSettings(object_scale=0.4))
    is_cut = x1 <= 200
    np.testing.assert_allclose(placement.dx[is_cut], 0, atol=1e-6)
    assert np.abs(np.diff(placement.dx)).max() < speed
    assert np.abs(np.diff(placement.dx, 2)).max() < 1.5
    centre = (placement.scale * track.boxes[:, 0] + placement.dx)[-20] + 0.4 * 100
    assert centre == pytest.approx((x1[-20] - 100) / 2, abs=3)


def test_nearer_objects_cover_farther_ones() -> None:
    far, near = (place(_still(100, y, 200, y + 100), INFO, HALF, RetargetSettings()) for y in (100, 400))
    assert near.nearness > far.nearness
    upright = replace(INFO, orientation=UPRIGHT)
    near, far = (place(_still(x, 100, x + 100, 200), upright, HALF, RetargetSettings()) for x in (100, 400))
    assert near.nearness > far.nearness


@pytest.mark.parametrize("wrong", [{"object_scale": 0.0}, {"object_scale": 99.0}, {"feather": -1}, {"anchor": "feet"}])
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        RetargetSettings(**wrong)
