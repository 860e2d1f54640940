"""Propagate on scenes whose answer is known, and on the clips that break careless fillers."""

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.align.scenes import box_hole, painted, seen_through, shift
from vidfill.evaluate.quality import psnr
from vidfill.evaluate.temporal import warp_error
from vidfill.models.base import composite, unroll
from vidfill.models.propagate.model import Propagate

Rgb = NDArray[np.uint8]
HEIGHT, WIDTH = 96, 160
STILL_HOLE = box_hole(HEIGHT, WIDTH, (60, 30, 100, 70))


def _fill(frames: list[Rgb], holes: list[NDArray[np.bool_]]) -> list[Rgb]:
    """Composited results of one clip."""
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None].float() / 255
    masks = torch.from_numpy(np.stack(holes)).float()[None, :, None]
    with torch.inference_mode():
        output = composite(clip[0], masks[0], unroll(Propagate(), clip, masks)[0])
    assert bool(torch.isfinite(output).all())
    return list((output.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8))


def _hole_psnr(output: list[Rgb], truth: list[Rgb], holes: list[NDArray[np.bool_]]) -> float:
    return float(np.mean([psnr(o, f, h) for o, f, h in zip(output, truth, holes, strict=True)]))


def _pan(n: int, *, step_px: float = 5.0) -> list[Rgb]:
    scene = painted(HEIGHT + 40, WIDTH + 40 + int(n * step_px))
    return [seen_through(scene, shift(20 + step_px * i, 20), (WIDTH, HEIGHT)) for i in range(n)]


def test_what_a_pan_uncovers_comes_out_as_it_is() -> None:
    truth = _pan(14)
    holes = [STILL_HOLE] * 14
    output = _fill(truth, holes)
    assert _hole_psnr(output, truth, holes) > 35
    assert all((o[~STILL_HOLE] == f[~STILL_HOLE]).all() for o, f in zip(output, truth, strict=True))


def test_a_tilting_camera_behind_a_moving_object() -> None:
    scene = painted(200, 300)
    truth, holes = [], []
    for i in range(16):
        turn = cv2.getRotationMatrix2D((80.0, 48.0), 1.0 * i, 1 + 0.01 * i)
        bend = np.array([[1, 0, 40 + 2 * i], [0, 1, 40], [2e-5 * i, 0, 1]], np.float64)
        truth.append(seen_through(scene, bend @ np.vstack((turn, [0, 0, 1])), (WIDTH, HEIGHT)))
        holes.append(box_hole(HEIGHT, WIDTH, (10 + 8 * i, 40, 40 + 8 * i, 75)))
    assert _hole_psnr(_fill(truth, holes), truth, holes) > 32


def test_a_change_of_exposure_is_followed() -> None:
    truth = [np.clip(frame.astype(np.int16) + (i % 3) * 5, 0, 255).astype(np.uint8) for i, frame in enumerate(_pan(12))]
    holes = [STILL_HOLE] * 12
    assert _hole_psnr(_fill(truth, holes), truth, holes) > 33


def test_moving_objects_are_carried_by_their_own_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = _pan(12, step_px=2)
    thing = painted(HEIGHT, WIDTH, seed=5)[:40, :60]
    for i, frame in enumerate(truth):
        frame[28:68, 10 + 4 * i : 70 + 4 * i] = thing
    holes = [box_hole(HEIGHT, WIDTH, (88, 30, 116, 70))] * 12
    carried = _hole_psnr(_fill(truth, holes), truth, holes)
    monkeypatch.setattr("vidfill.models.propagate.model.find_moving", lambda *_: [])
    assert carried > _hole_psnr(_fill(truth, holes), truth, holes) + 0.5


def test_what_nothing_uncovers_is_held_steady() -> None:
    rng = np.random.default_rng(0)
    scene = painted(HEIGHT, WIDTH).astype(np.float64)
    noisy = [np.clip(scene + rng.normal(0, 4, scene.shape), 0, 255).astype(np.uint8) for _ in range(10)]
    output = _fill(noisy, [STILL_HOLE] * 10)
    hole = STILL_HOLE.astype(np.uint8)
    inner = box_hole(HEIGHT, WIDTH, (66, 36, 94, 64))
    jumps = [np.abs(a.astype(int) - b)[inner].mean() for a, b in zip(output[3:], output[4:], strict=False)]
    spatial = [np.asarray(cv2.inpaint(f, hole, 3, cv2.INPAINT_TELEA), np.uint8) for f in noisy]
    flicker = [np.abs(a.astype(int) - b)[inner].mean() for a, b in zip(spatial[3:], spatial[4:], strict=False)]
    assert np.mean(jumps) < 0.6 * np.mean(flicker)
    assert warp_error(output, noisy) < warp_error(spatial, noisy)


def test_an_object_that_moves_on_uncovers_the_picture_behind_it() -> None:
    scene = painted(HEIGHT, WIDTH)
    holes = [box_hole(HEIGHT, WIDTH, (5 + 10 * i, 30, 35 + 10 * i, 70)) for i in range(12)]
    truth = [scene] * 12
    assert _hole_psnr(_fill(truth, holes), truth, holes) > 45


@pytest.mark.parametrize("n", [1, 2])
def test_one_frame_and_two_get_a_spatial_fill(n: int) -> None:
    frames = [np.full((HEIGHT, WIDTH, 3), 90, np.uint8)] * n
    output = _fill(frames, [STILL_HOLE] * n)
    assert max(np.abs(frame.astype(int) - 90).max() for frame in output) <= 1


@pytest.mark.parametrize(("height", "width"), [(16, 16), (9, 17), (33, 31)])
def test_tiny_and_odd_frames(height: int, width: int) -> None:
    frames = [painted(height, width, seed=i) for i in range(3)]
    holes = [box_hole(height, width, (4, 3, 9, 8))] * 3
    assert len(_fill(frames, holes)) == 3


def test_holes_over_everything_and_nothing() -> None:
    everything, nothing = np.ones((HEIGHT, WIDTH), np.bool_), np.zeros((HEIGHT, WIDTH), np.bool_)
    truth = _pan(6)
    output = _fill(truth, [STILL_HOLE, everything, everything, nothing, STILL_HOLE, everything])
    assert (output[3] == truth[3]).all()
    assert psnr(output[1], output[0]) > 40  # nothing is seen: the picture before stays
    assert len(_fill(truth[:2], [everything] * 2)) == 2


def test_a_rim_of_one_pixel() -> None:
    hole = box_hole(HEIGHT, WIDTH, (1, 1, WIDTH - 1, HEIGHT - 1))
    assert len(_fill(_pan(3), [hole] * 3)) == 3


def test_unrelated_frames_do_not_leak_into_each_other() -> None:
    red, blue = np.full((HEIGHT, WIDTH, 3), (200, 0, 0), np.uint8), np.full((HEIGHT, WIDTH, 3), (0, 0, 200), np.uint8)
    moved = box_hole(HEIGHT, WIDTH, (10, 30, 50, 70))
    output = _fill([red, red, blue, blue], [STILL_HOLE, STILL_HOLE, moved, moved])
    assert all(np.abs(o.astype(int) - t).max() <= 10 for o, t in zip(output, [red, red, blue, blue], strict=True))


def test_the_same_clip_gives_the_same_bytes() -> None:
    truth = _pan(8)
    first, second = _fill(truth, [STILL_HOLE] * 8), _fill(truth, [STILL_HOLE] * 8)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_clips_side_by_side_do_not_mix() -> None:
    clips = [_pan(6), _pan(6, step_px=9)]
    together = torch.from_numpy(np.stack([np.stack(clip) for clip in clips])).permute(0, 1, 4, 2, 3).float() / 255
    holes = torch.from_numpy(np.tile(STILL_HOLE, (2, 6, 1, 1))).float()[:, :, None]
    both = unroll(Propagate(), together, holes)
    for b in range(2):
        assert torch.equal(both[b : b + 1], unroll(Propagate(), together[b : b + 1], holes[b : b + 1]))
