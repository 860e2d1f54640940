import numpy as np
import pytest

from tests.clips import Pictures, moving_texture
from tests.track.scenes import SIZE, crossing, hidden, leaving, painted
from vidfill.masks.prompt import FramePrompt
from vidfill.track.base import CONFIDENT, Tracked
from vidfill.track.doubt import Doubt, Signs
from vidfill.track.evidence import ColorPlaces, dense_flow, residual_motion, sample, similarity
from vidfill.track.flow import FlowTracker
from vidfill.track.select import ColorMotionSelector, iou
from vidfill.video.frame import Bool, Box


def _follow(pictures: Pictures, masks: Bool) -> list[Tracked]:
    tracker = FlowTracker()
    tracker.start(pictures[0], masks[0])
    return [tracker.step(picture) for picture in pictures[1:]]


def test_moving_object() -> None:
    pictures, masks = crossing()
    found = _follow(pictures, masks)
    overlaps = [iou(step.mask, mask) for step, mask in zip(found, masks[1:], strict=True)]
    assert min(overlaps) > 0.8
    assert min(step.confidence for step in found) >= CONFIDENT


def test_moving_object_backward() -> None:
    pictures, masks = crossing()
    found = _follow(pictures[::-1], masks[::-1])
    assert min(iou(step.mask, mask) for step, mask in zip(found, masks[-2::-1], strict=True)) > 0.8


def test_inaccurate_mask_improves() -> None:
    pictures, masks = crossing()
    tracker = FlowTracker()
    first = np.roll(masks[0], (3, -3), (0, 1))
    tracker.start(pictures[0], first)
    last = [tracker.step(picture) for picture in pictures[1:8]][-1]
    assert iou(last.mask, masks[7]) > iou(first, masks[0]) + 0.1


def test_hidden_object_is_lost() -> None:
    pictures, masks = hidden()
    assert masks[8].any()
    assert not masks[-1].any()
    found = _follow(pictures, masks)
    lost = next(i for i, step in enumerate(found) if step.confidence < CONFIDENT)
    believed = range(max(0, lost - found[lost].n_withdrawn))
    assert all(iou(found[i].mask, masks[i + 1]) > 0.3 for i in believed)
    assert found[lost].reason
    assert all(step.confidence < CONFIDENT for step in found[lost:])


def test_object_that_leaves() -> None:
    pictures, masks = leaving()
    found = _follow(pictures, masks)
    assert found[-1].has_left
    assert not found[-1].mask.any()
    assert all(step.confidence >= CONFIDENT for step in found)
    gone = next(i for i, step in enumerate(found) if step.has_left)
    assert masks[gone + 1].sum() < 0.15 * masks[0].sum()


def test_object_that_trembles_at_the_border() -> None:
    n = 45
    centres = np.stack([103.0 + 2 * (np.arange(n) % 2), np.full(n, 36.0)], axis=1)
    pictures, masks = painted(moving_texture(n, SIZE, shift=(1, 0)) // 2, centres)
    found = _follow(pictures, masks)
    assert not any(step.has_left for step in found)
    assert iou(found[-1].mask, masks[-1]) > 0.6


@pytest.mark.parametrize(
    ("signs", "reason"),
    [
        (Signs(0.85, 1, 1, 1, 500), "shrinks"),
        (Signs(1.2, 1, 1, 1, 500), "spreads"),
        (Signs(1, 0.6, 1, 1, 500), "outline"),
        (Signs(1, 1, 0.2, 1, 500), "motion"),
        (Signs(1, 1, 1, 0.4, 500), "colours"),
        (Signs(1, 1, 1, 1, 3), "nothing is left"),
        (Signs(0.95, 1, 1, 1, 500), "little is left"),
    ],
)
def test_reasons_for_doubt(signs: Signs, reason: str) -> None:
    doubt = Doubt()
    n = next(n for n in range(60) if not doubt.judge(signs))
    assert reason in doubt.reason
    assert doubt.confidence < CONFIDENT
    assert n < 30


def test_no_doubt() -> None:
    doubt = Doubt()
    assert all(doubt.judge(Signs(1, 0.95, 0.9, 0.9, 500)) for _ in range(500))
    assert doubt.confidence == 1.0
    assert doubt.reason == ""


@pytest.mark.parametrize("has_box", [True, False])
def test_selection_by_box_or_click(*, has_box: bool) -> None:
    pictures, masks = crossing()
    pictures[~masks] = pictures[~masks] // 8 + 60
    edges = Box.around(masks[4])
    assert edges is not None
    x0, y0, x1, y1 = map(float, edges)
    prompt = FramePrompt(np.array([[33, 36]], np.float32), np.array([True]), (x0, y0, x1, y1) if has_box else None)
    near = {offset: pictures[4 + offset] for offset in (-4, -2, 2, 4)}
    found = ColorMotionSelector().select(pictures[4], prompt, near=near)
    assert iou(found.mask, masks[4]) > 0.75
    assert found.confidence >= CONFIDENT


def test_selection_in_a_flat_picture() -> None:
    flat = np.full((72, 112, 3), 90, np.uint8)
    prompt = FramePrompt(np.array([[33, 36]], np.float32), np.array([True]))
    found = ColorMotionSelector().select(flat, prompt)
    assert found.confidence < CONFIDENT
    assert found.reason


def test_point_beside_the_object() -> None:
    pictures, masks = crossing()
    prior = masks[4].copy()
    prior[30:42, 60:80] = True  # the track has taken in a piece of the background
    prompt = FramePrompt(np.array([[70, 36]], np.float32), np.array([False]))
    found = ColorMotionSelector().select(pictures[4], prompt, prior=prior)
    assert not found.mask[36, 70]
    assert iou(found.mask, masks[4]) > iou(prior, masks[4])


def test_flow_and_camera() -> None:
    pictures = moving_texture(2, (64, 96), shift=(3, 1))
    grey = pictures[..., 1]
    flow = dense_flow(grey[0], grey[1])
    assert np.median(flow[10:-10, 10:-10], axis=(0, 1)) == pytest.approx([-3, -1], abs=0.1)
    assert np.abs(sample(grey[1], flow)[10:-10, 10:-10].astype(int) - grey[0][10:-10, 10:-10]).mean() < 3
    left_over = residual_motion(flow, np.ones((64, 96), np.bool_))
    assert np.abs(left_over[10:-10, 10:-10]).mean() < 0.2
    assert not dense_flow(grey[0, :16, :16], grey[1, :16, :16]).any()


def test_histograms() -> None:
    picture = moving_texture(1, (24, 32))[0]
    places = ColorPlaces(n_places=4)
    weight = np.random.default_rng(0).random((24, 32), np.float32)
    bins = places.bins(picture)
    assert places.counts(bins, weight, n_place_blurs=0).sum() <= weight.sum() * 1.001
    flat = ColorPlaces(n_places=1)
    assert len(np.unique(flat.bins(np.full((24, 32, 3), 77, np.uint8)))) == 1
    assert similarity(weight, weight) == pytest.approx(1)
    assert similarity(np.array([1, 0], np.float32), np.array([0, 1], np.float32)) == 0
