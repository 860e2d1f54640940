"""Plates on targets whose place is known, and the layer that they make together."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.align.scenes import box_hole, painted, seen_through, shift
from vidfill.align.homography import HomographyRefiner, Matrix
from vidfill.models.cleanplate import layer as layers
from vidfill.models.cleanplate.choice import choose_frames
from vidfill.models.cleanplate.layer import NOTHING, PaintedLayer, lowest_error
from vidfill.models.cleanplate.plates import Brought, Plate, PlateTarget, bring, make_plate, render
from vidfill.models.propagate.candidates import Candidate, Region
from vidfill.models.propagate.poses import Pose
from vidfill.models.propagate.seen import look_at

HEIGHT, WIDTH = 96, 160
HOLE = box_hole(HEIGHT, WIDTH, (60, 30, 100, 66))
SCENE = painted(HEIGHT + 80, WIDTH + 80)
SHAPE = (36, 40)


def _target(x: float, *, motion_px: float | None = None, gain: float = 1.0) -> PlateTarget:
    """The frame that begins at x of the scene, which is the place of its pose too."""
    picture = np.clip(seen_through(SCENE, shift(x, 40), (WIDTH, HEIGHT)) * gain, 0, 255).astype(np.uint8)
    motion = None if motion_px is None else shift(-motion_px, 0)
    given = np.where(HOLE[..., None], np.uint8(0), picture)
    return PlateTarget(look_at(given, ~HOLE), Pose(0, shift(x, 0)), Region(given, ~HOLE), motion)


def _plate(x: float, *, pose: bool = True) -> Plate:
    return make_plate(
        seen_through(SCENE, shift(x, 40), (WIDTH, HEIGHT)), (HEIGHT, WIDTH), Pose(0, shift(x, 0)) if pose else None
    )


def _brought(plate: Plate, target: PlateTarget, refiner: type[HomographyRefiner] = HomographyRefiner) -> Brought:
    seen = target.seen
    brought = bring(plate, target, refiner(seen.grey, seen.keypoints.points))
    assert brought is not None
    return brought


def _truth(x: float, target: PlateTarget) -> NDArray[np.uint8]:
    return seen_through(SCENE, shift(x, 40), (WIDTH, HEIGHT))[target.region.box.slices]


def _miss(brought: Brought, x: float, target: PlateTarget) -> float:
    inside = target.region.hole & brought.valid
    return float(np.abs(brought.rgb - _truth(x, target))[inside].mean())


@pytest.mark.parametrize("pose", [True, False], ids=["by its pose", "by its keypoints"])
def test_a_plate_lands_where_it_belongs(pose: bool) -> None:
    target = _target(27)
    brought = _brought(_plate(20, pose=pose), target)
    assert _miss(brought, 27, target) < 2
    assert brought.plate.error < 2


def test_a_plate_is_followed_from_frame_to_frame_without_drift() -> None:
    plate = _plate(20)
    for x in range(21, 33):
        target = _target(x, motion_px=1)
        brought = _brought(plate, target)
        plate = brought.plate
    assert _miss(brought, 32, target) < 2


def test_a_homography_that_misses_the_rim_is_not_followed() -> None:
    class Wrong(HomographyRefiner):
        def refine(self, *args: object) -> Matrix | None:
            right = super().refine(*args)  # type: ignore[arg-type]
            return None if right is None else np.asarray(right @ shift(4, 0), np.float64)

    plate = _brought(_plate(20), _target(20)).plate
    for x in range(21, 25):
        target = _target(x, motion_px=1)
        brought = _brought(plate, target, Wrong)
        plate = brought.plate
    assert _miss(brought, 24, target) < 2


def test_its_colours_are_matched_to_the_rim() -> None:
    target = _target(24, gain=0.92)
    brought = _brought(_plate(20), target)
    expected = _truth(24, target) * 0.92
    assert float(np.abs(brought.rgb - expected)[target.region.hole].mean()) < 4


def test_another_scene_cannot_be_brought() -> None:
    other = make_plate(painted(HEIGHT, WIDTH, seed=9), (HEIGHT, WIDTH), Pose(1, np.eye(3)))
    target = _target(20)
    tracker = HomographyRefiner(target.seen.grey, target.seen.keypoints.points)
    assert bring(other, target, tracker) is None


def test_a_large_picture_is_rendered_as_sharp_as_it_is() -> None:
    large = painted(2 * HEIGHT, 2 * WIDTH, seed=4)
    plate = make_plate(large, (HEIGHT, WIDTH), Pose(0, shift(20, 0)))
    target = _target(20)
    identity = np.asarray(target.grid, np.float32)
    x0, y0, x1, y1 = target.region.box
    found = render(plate, identity, (2.0, 2.0), target.region)
    assert np.abs(found.astype(int) - large[2 * y0 : 2 * y1, 2 * x0 : 2 * x1]).max() <= 1


def test_a_plate_of_a_larger_crop_is_rendered_at_its_own_scale() -> None:
    large = painted(2 * HEIGHT + 32, 2 * WIDTH + 48, seed=4)
    plate = make_plate(large, (HEIGHT + 16, WIDTH + 24), None)
    target = _target(20)
    to_plate = np.asarray(target.grid + np.array([12, 8]), np.float32)
    x0, y0, x1, y1 = target.region.box
    found = render(plate, to_plate, (2.0, 2.0), target.region)
    expected = large[2 * y0 + 16 : 2 * y1 + 16, 2 * x0 + 24 : 2 * x1 + 24]
    assert np.abs(found.astype(int) - expected).max() <= 1


def _layer(error: float, *, before: float = -1.0) -> PaintedLayer:
    target = _target(20)
    shape = target.region.hole.shape
    real, spatial, opacity = (np.full(shape, value, np.float32) for value in (error, 33, before))
    return PaintedLayer(target.region, real, spatial, opacity)


def _part(value: float, *, error: float = 2.0, n_frames: int = 0, fade: float = 1.0) -> Brought:
    brought = _brought(_plate(20), _target(20))
    plate = brought.plate._replace(error=error, n_frames=n_frames, fade=fade)
    return brought._replace(rgb=np.full_like(brought.rgb, value), plate=plate)


def test_good_real_pixels_want_no_painting() -> None:
    layer = _layer(10)
    assert not layer.left.any()
    assert not layer.is_open
    assert layer.opacity().max() == 0


def test_the_first_plate_covers_and_the_second_adds_nothing() -> None:
    layer = _layer(float(NOTHING))
    assert layer.is_open
    layer.add(_part(100))
    layer.add(_part(200))
    inside = layer.parts[0].valid & _target(20).region.hole
    assert not layer.is_open
    assert np.all(layer.rgb[inside] == 100)
    assert layer.opacity()[inside].min() == 1


def test_opacity_changes_little_from_frame_to_frame() -> None:
    hole = _target(20).region.hole
    to_painted = _layer(100, before=0.0)
    to_painted.add(_part(100))
    assert to_painted.opacity()[hole].max() == pytest.approx(layers.OPACITY_STEP)
    to_real = _layer(5, before=1.0)
    to_real.add(_part(100))
    assert to_real.opacity()[hole].min() == pytest.approx(1 - layers.OPACITY_STEP)


def test_a_plate_that_fits_worse_than_a_blur_is_not_shown() -> None:
    hole = _target(20).region.hole
    layer = _layer(float(NOTHING))
    layer.add(_part(100, error=60))
    assert layer.opacity()[hole].max() == 0


def test_a_plate_that_no_longer_fits_fades_into_a_new_one() -> None:
    hole = _target(20).region.hole
    fade = 0.0
    values = []
    for _ in range(round(1 / layers.FADE_STEP) + 1):
        layer = _layer(float(NOTHING))
        layer.add(_part(100, error=layers.AGED_ERROR + 1, n_frames=layers.AGED_FRAMES))
        assert layer.is_aged
        layer.add(_part(200, fade=fade))
        values.append(float(layer.rgb[hole].mean()))
        fade = layer.parts[1].plate.fade
    assert values[0] == pytest.approx(100)
    assert values[-1] == pytest.approx(200)
    assert np.allclose(np.diff(values), 100 * layers.FADE_STEP)
    assert len(layer.plates(4)) == 1, "the aged one is forgotten once it is replaced"


def test_few_plates_are_remembered() -> None:
    layer = _layer(float(NOTHING))
    for value in range(8):
        layer.add(_part(value))
    assert len(layer.plates(3)) == 3


def test_what_no_plate_covers_stays_unpainted() -> None:
    layer = _layer(float(NOTHING))
    part = _part(100)
    half = np.zeros_like(part.valid)
    half[: part.valid.shape[0] // 2] = True
    layer.add(part._replace(valid=half))
    assert layer.opacity()[layer.left].max() == 0
    assert layer.opacity()[_target(20).region.hole & ~layer.left].min() == 1


def test_the_lowest_error_of_several_candidates() -> None:
    shape = (2, 2)
    rgb = np.zeros((*shape, 3), np.uint8)
    first = Candidate(rgb, np.array([[True, True], [False, False]]), np.full(shape, 7, np.float32), 1)
    second = Candidate(rgb, np.array([[True, False], [True, False]]), np.full(shape, 3, np.float32), 2)
    assert lowest_error([first, second], shape).tolist() == [[3, 7], [3, float(NOTHING)]]


def test_the_frame_with_known_pixels_round_the_part_is_chosen() -> None:
    target = _target(20)
    wanted = target.region.hole
    full = look_at(seen_through(SCENE, shift(20, 40), (WIDTH, HEIGHT)), ~box_hole(HEIGHT, WIDTH, (20, 10, 140, 90)))
    seen = {3: target.seen, 4: full, 5: target.seen}
    poses = {i: Pose(0, shift(20, 0)) for i in seen}
    assert choose_frames(wanted, target, 4, seen, poses)[0] in (3, 5)
    assert choose_frames(wanted, target, 3, {3: target.seen}, {3: target.pose}) == [3]
