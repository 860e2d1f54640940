"""Noise is what changes between registered frames: not texture, not motion, not a cut; it repeats where frames do."""

from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np
import pytest

from tests.clips import video_info
from vidfill.compose import compose
from vidfill.compose.noise import Noise, with_noise
from vidfill.settings import ComposeSettings
from vidfill.video.frame import Box, Float, Frame, Patch

HEIGHT, WIDTH = 180, 260
HOLE = Box(90, 60, 170, 120)
INFO = video_info((HEIGHT, WIDTH), "gbrp")


def _texture(seed: int = 0, *, sigma_px: float = 1.0, std: float = 18) -> Float:
    """Fine texture without a flat place, wider than the picture."""
    noise = np.random.default_rng(seed).standard_normal((HEIGHT, WIDTH + 200)).astype(np.float32)
    smooth = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma_px), np.float32)
    return np.asarray(128 + smooth * (std / smooth.std()), np.float32)


def _view(world: Float, shift: float) -> Float:
    """The world as a camera shows it that has moved to the right by `shift` pixels."""
    move = np.array([[1, 0, -shift], [0, 1, 0]], np.float32)
    return np.asarray(cv2.warpAffine(world, move, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC), np.float32)


def _grainy(picture: Float, seed: int, std: float, sigma_px: float = 0.7) -> Float:
    grain = np.random.default_rng(1000 + seed).standard_normal(picture.shape).astype(np.float32)
    grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), sigma_px), np.float32)
    return np.asarray(picture + grain * (std / grain.std()), np.float32)


def _frames(pictures: Sequence[Float]) -> list[Frame]:
    made = []
    for i, picture in enumerate(pictures):
        values = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        made.append(Frame(i, i, Fraction(1, 25), (values.copy(), values.copy(), values.copy())))
    return made


def _patch(index: int) -> Patch:
    rgb = np.full((HOLE.height, HOLE.width, 3), 32768, np.uint16)
    return Patch(index, index, HOLE, rgb, np.full((HOLE.height, HOLE.width), 255, np.uint8))


def _measured(pictures: Sequence[Float], *, scene_starts: Sequence[int] = (0,)) -> list[Noise]:
    pairs = [(frame, _patch(frame.index)) for frame in _frames(pictures)]
    found = [noise for _, _, noise in with_noise(pairs, INFO, scene_starts)]
    return [noise for noise in found if noise is not None]


def _filled(pictures: Sequence[Float]) -> Float:
    """(T, h, w): what the holes show, in grey levels."""
    pairs = [(frame, _patch(frame.index)) for frame in _frames(pictures)]
    shown = []
    for frame, patch, noise in with_noise(pairs, INFO, [0]):
        assert patch is not None
        compose(frame, INFO, patch, ComposeSettings(blend=False), noise)
        shown.append(frame.planes[0][HOLE.slices].astype(np.float32))
    return np.stack(shown)


def _luma_std(noise: Noise) -> float:
    return 255 * float(np.sqrt(noise.variances[:, 0].sum()))


def test_identical_frames_of_fine_texture_give_identical_fills() -> None:
    filled = _filled([_view(_texture(), 10)] * 6)
    assert (filled == filled[0]).all()
    assert filled[0].std() == 0


@pytest.mark.parametrize("pan", [0.0, 1.0, 2.5, 7.3])
def test_motion_of_clean_texture_is_little_noise(pan: float) -> None:
    noises = _measured([_view(_texture(sigma_px=1.5), 10 + pan * i) for i in range(5)])
    assert max(_luma_std(noise) for noise in noises) < 1.5


@pytest.mark.parametrize("pan", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("std", [2.0, 4.0])
def test_grain_over_texture_is_found(std: float, pan: float) -> None:
    world = _texture(sigma_px=4)
    filled = _filled([_grainy(_view(world, 10 + pan * i), i, std) for i in range(5)])
    assert filled.std(axis=(1, 2)) == pytest.approx(std, rel=0.3)
    change = np.diff(filled, axis=0).std(axis=(1, 2)) / np.sqrt(2)
    assert change == pytest.approx(std, rel=0.3)


def test_a_tripod_shot_boils_no_more_than_it_does() -> None:
    still = _view(_texture(), 10)
    pictures = [_grainy(still, i, 0.8) for i in range(6)]
    around = np.s_[:60, 20:240]
    own = np.mean([np.abs(b[around] - a[around]).mean() for a, b in zip(pictures, pictures[1:], strict=False)])
    filled = _filled(pictures)
    assert 0.5 * own < np.abs(np.diff(filled, axis=0)).mean() < 1.2 * own


def test_frames_shown_again_have_the_same_grain() -> None:
    shots = [_grainy(_view(_texture(sigma_px=4), 10), i, 3) for i in range(4)]
    filled = _filled([shots[0], shots[1], shots[1], shots[1], shots[2], shots[3]])
    assert (filled[1] == filled[2]).all() and (filled[1] == filled[3]).all()
    for a, b in ((0, 1), (3, 4), (4, 5)):
        assert np.abs(filled[a] - filled[b]).mean() > 1


def test_the_last_frame_of_a_scene_is_measured_like_the_others() -> None:
    clean, other = _view(_texture(), 10), _view(_texture(5), 30)
    noises = _measured([clean] * 4 + [other] * 4, scene_starts=(0, 4))
    assert max(_luma_std(noise) for noise in noises) == 0


@pytest.mark.parametrize("pan", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("slope", [0.0, 0.08, 0.17, 0.32, 0.57, 0.85])
def test_a_drawn_gradient_that_moves_has_no_grain(slope: float, pan: float) -> None:
    x, y = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    filled = _filled([20 + slope * (x + pan * i) + slope / 3 * y for i in range(3)])
    assert all(frame.std() == 0 for frame in filled)


def test_only_the_seed_of_the_frames_decides() -> None:
    shots = [_grainy(_view(_texture(sigma_px=4), 10), i, 3) for i in range(4)]
    assert np.array_equal(_filled(shots), _filled(shots))


def test_a_hole_that_leaves_nothing_around_it_has_no_noise() -> None:
    frame = _frames([_view(_texture(), 0)])[0]
    everywhere = Patch(
        0, 0, Box(0, 0, WIDTH, HEIGHT), np.zeros((HEIGHT, WIDTH, 3), np.uint16), np.full((HEIGHT, WIDTH), 9, np.uint8)
    )
    assert [noise for _, _, noise in with_noise([(frame, everywhere)], INFO, [0])] == [None]
