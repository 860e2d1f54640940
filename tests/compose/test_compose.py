"""A patch goes into the picture's own planes; what its alpha does not cover keeps its bits."""

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from tests.clips import video_info
from vidfill.compose import compose
from vidfill.compose.noise import NoiseMeter
from vidfill.settings import ComposeSettings
from vidfill.video.color import rgb_crop
from vidfill.video.frame import Bool, Box, ColorTags, Frame, Patch, Samples, VideoInfo

HEIGHT, WIDTH = 66, 94
PLAIN = ComposeSettings(blend=False, grain=False)
FORMATS = ["yuv420p", "yuv422p10le", "yuv444p12le", "yuv420p10le", "gbrp", "gbrp12le", "gray", "yuva420p"]


def _info(name: str) -> VideoInfo:
    return replace(video_info((HEIGHT, WIDTH), name), color=ColorTags(matrix=1, primaries=1, transfer=1, range=1))


def _frame(info: VideoInfo, *, index: int = 3, noise: float = 0.04) -> Frame:
    """Gray with noise, in the middle of the range."""
    rng = np.random.default_rng(index)
    planes: list[Samples] = []
    for number in range(info.pixel_format.n_color_planes + info.pixel_format.has_alpha):
        size = info.pixel_format.plane_size(number, height=HEIGHT, width=WIDTH)
        values = (0.5 + noise * rng.standard_normal(size)) * (2**info.pixel_format.depth - 1)
        planes.append(values.astype(np.uint8) if info.pixel_format.depth <= 8 else values.astype(np.uint16))
    return Frame(index, 3, Fraction(1, 25), tuple(planes))


def _copy(frame: Frame) -> Frame:
    return Frame(frame.index, frame.pts, frame.time_base, tuple(plane.copy() for plane in frame.planes))


def _patch(box: Box, value: float, *, index: int = 3, feather: bool = True) -> Patch:
    disc = np.zeros((box.height, box.width), np.uint8)
    cv2.ellipse(disc, (box.width // 2, box.height // 2), (box.width // 3, box.height // 3), 0, 0, 360, 255, -1)
    alpha = np.asarray(cv2.blur(disc, (5, 5)), np.uint8) if feather else disc
    rgb = np.full((box.height, box.width, 3), round(value * 65535), np.uint16)
    return Patch(index, 3, box, rgb, alpha)


def _covered(info: VideoInfo, patch: Patch, plane: int) -> Bool:
    """The samples of a plane with alpha over them."""
    alpha = np.zeros((HEIGHT, WIDTH), bool)
    alpha[patch.box.slices] = patch.alpha > 0
    height, width = info.pixel_format.plane_size(plane, height=HEIGHT, width=WIDTH)
    step_y, step_x = -(-HEIGHT // height), -(-WIDTH // width)
    covered = np.zeros((height, width), bool)
    for y, x in zip(*np.nonzero(alpha), strict=True):
        covered[y // step_y, x // step_x] = True
    return covered


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("box", [Box(21, 13, 64, 52), Box(0, 0, 31, 27), Box(50, 30, WIDTH, HEIGHT)])
def test_outside_the_alpha_every_sample_keeps_its_bits(name: str, box: Box) -> None:
    info = _info(name)
    before, patch = _frame(info), _patch(box, 0.8)
    after = _copy(before)
    compose(after, info, patch, ComposeSettings())
    for number, (old, new) in enumerate(zip(before.planes, after.planes, strict=True)):
        covered = _covered(info, patch, number)
        assert np.array_equal(old[~covered], new[~covered])
    assert not np.array_equal(before.planes[0], after.planes[0])
    if info.pixel_format.has_alpha:
        assert np.array_equal(before.planes[-1], after.planes[-1])


@pytest.mark.parametrize("name", FORMATS)
def test_the_fill_arrives_where_the_alpha_is_full(name: str) -> None:
    info, patch = _info(name), _patch(Box(20, 12, 64, 52), 0.7)
    frame = _frame(info)
    compose(frame, info, patch, PLAIN)
    middle = rgb_crop(frame, info, Box(38, 28, 46, 36))
    assert np.allclose(middle, 0.7, atol=0.012)


def test_blending_meets_the_surroundings() -> None:
    info, box = _info("yuv420p"), Box(20, 12, 64, 52)
    flat = _frame(info, noise=0)
    around = float(rgb_crop(flat, info, Box(0, 0, 8, 8)).mean())
    patch = _patch(box, around + 12 / 255)
    apart, level = _copy(flat), _copy(flat)
    compose(apart, info, patch, PLAIN)
    compose(level, info, patch, ComposeSettings(grain=False))
    middle = Box(38, 28, 46, 36)
    assert float(rgb_crop(apart, info, middle).mean()) - around > 10 / 255
    assert abs(float(rgb_crop(level, info, middle).mean()) - around) < 1.5 / 255


def test_grain_matches_and_can_be_switched_off() -> None:
    info, box = _info("yuv444p"), Box(22, 12, 72, 54)
    noisy = _frame(info, noise=0.015)
    patch = _patch(box, 0.56)
    with_grain, without = _copy(noisy), _copy(noisy)
    noise = NoiseMeter(info).measure(noisy, patch, _frame(info, index=4, noise=0.015))
    compose(with_grain, info, patch, ComposeSettings(), noise)
    compose(without, info, patch, ComposeSettings(grain=False), noise)
    middle = Box(38, 24, 56, 42).slices
    wanted = float(noisy.planes[0].std())
    assert float(with_grain.planes[0][middle].std()) == pytest.approx(wanted, rel=0.2)
    assert float(without.planes[0][middle].std()) < 0.6


def test_the_same_patch_gives_the_same_bytes() -> None:
    info, patch = _info("yuv420p"), _patch(Box(20, 12, 64, 52), 0.6)
    first, second = _frame(info), _frame(info)
    compose(first, info, patch, ComposeSettings())
    compose(second, info, patch, ComposeSettings())
    assert all(np.array_equal(a, b) for a, b in zip(first.planes, second.planes, strict=True))


def test_what_the_hole_shows_is_never_read() -> None:
    info, patch = _info("yuv420p"), _patch(Box(20, 12, 64, 52), 0.6, feather=False)
    clean = _frame(info)
    dirty = _copy(clean)
    for number, plane in enumerate(dirty.planes):
        inside = cv2.erode(_covered(info, patch, number).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        plane[inside] = 16
    compose(clean, info, patch, ComposeSettings())
    compose(dirty, info, patch, ComposeSettings())
    inner = cv2.erode((patch.alpha > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    view = patch.box.slices
    assert np.array_equal(clean.planes[0][view][inner], dirty.planes[0][view][inner])


def _two_parts(value: float, gap_px: int) -> Patch:
    alpha = np.zeros((16, 24 + gap_px), np.uint8)
    alpha[:, :12] = alpha[:, -12:] = 255
    box = Box(4, 20, 4 + alpha.shape[1], 36)
    return Patch(3, 3, box, np.full((*alpha.shape, 3), round(value * 65535), np.uint16), alpha)


@pytest.mark.parametrize("gap_px", [1, 6, 58])
def test_parts_of_a_hole_far_apart_are_pasted_each_once(gap_px: int) -> None:
    info, patch = _info("yuv444p"), _two_parts(0.6, gap_px)
    frame = _frame(info)
    before = _copy(frame)
    compose(frame, info, patch, PLAIN)
    whole = np.zeros((HEIGHT, WIDTH), bool)
    whole[patch.box.slices] = patch.alpha > 0
    assert float(np.abs(rgb_crop(frame, info, Box(0, 0, WIDTH, HEIGHT))[whole] - 0.6).max()) < 0.012
    assert all(np.array_equal(a[~whole], b[~whole]) for a, b in zip(before.planes, frame.planes, strict=True))


def test_parts_far_apart_are_levelled_each_by_its_own_surroundings() -> None:
    info, patch = _info("gray"), _two_parts(0.5, 58)
    frame = _frame(info, noise=0)
    frame.planes[0][:, : WIDTH // 2] = 120
    frame.planes[0][:, WIDTH // 2 :] = 134
    compose(frame, info, patch, ComposeSettings(grain=False))
    left, right = (float(frame.planes[0][26:30, x : x + 4].mean()) for x in (8, 78))
    assert left == pytest.approx(120, abs=1.5)
    assert right == pytest.approx(134, abs=1.5)
