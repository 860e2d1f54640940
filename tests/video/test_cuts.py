"""Cuts are found; flashes, fades, pans and repeated frames are not cuts."""

import tracemalloc
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clips import moving_texture, texture, two_scenes
from vidfill.video import cuts as module
from vidfill.video.cuts import THUMB_SIZE, CutDetector, thumbnail
from vidfill.video.frame import Float, Frame, PixelFormat, Samples

SIZE = (72, 128)
GBRP = PixelFormat("gbrp", 8, (0, 0), "rgb", has_alpha=False)


def _frame(planes: tuple[Samples, ...]) -> Frame:
    return Frame(0, 0, Fraction(1, 25), planes)


def _thumb(picture: NDArray[Any]) -> Float:
    return thumbnail(_frame(tuple(np.ascontiguousarray(picture[..., i]).astype(np.uint8) for i in (1, 2, 0))), GBRP)


def _cuts(pictures: Iterable[NDArray[Any]]) -> list[int]:
    detector = CutDetector()
    for picture in pictures:
        detector.push(_thumb(picture))
    return detector.finish()


def _still(n: int, seed: int = 0) -> NDArray[Any]:
    return np.repeat(texture(SIZE, seed=seed)[None], n, axis=0)


@pytest.mark.parametrize("cut", [1, 2, 5, 17, 28, 29])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_cut_is_found_wherever_it_is(cut: int, seed: int) -> None:
    assert _cuts(two_scenes(30, SIZE, cut=cut, seed=seed)) == [cut]


def test_many_cuts() -> None:
    shots = [moving_texture(n, SIZE, shift=(n % 4, 1), seed=n) for n in (9, 12, 4, 20, 6)]
    assert _cuts(np.concatenate(shots)) == [9, 21, 25, 45]


def test_a_cut_between_still_pictures() -> None:
    assert _cuts(np.concatenate([_still(60), _still(60, seed=1), _still(3, seed=2)])) == [60, 120]


def test_a_dark_cut() -> None:
    assert _cuts(10 + two_scenes(30, SIZE, cut=13) // 6) == [13]


@pytest.mark.parametrize("pictures", [_still(40), moving_texture(40, SIZE), _still(1), _still(2)])
def test_one_scene(pictures: NDArray[Any]) -> None:
    assert _cuts(pictures) == []


@pytest.mark.parametrize("shift", [(8, 0), (20, 3), (-31, 9)])
def test_a_fast_pan_is_no_cut(shift: tuple[int, int]) -> None:
    """The last moves by a quarter of the width from frame to frame, far more than blocks are searched for."""
    assert _cuts(moving_texture(30, SIZE, shift=shift)) == []


def test_a_pan_that_starts_and_stops_is_no_cut() -> None:
    pan = moving_texture(16, SIZE, shift=(16, 2))
    assert _cuts(np.concatenate([np.repeat(pan[:1], 20, axis=0), pan, np.repeat(pan[-1:], 20, axis=0)])) == []


@pytest.mark.parametrize("n_lit", [1, 2, 3])
@pytest.mark.parametrize("light", [60, 120, 220])
def test_a_flash_is_no_cut(n_lit: int, light: int) -> None:
    pictures = moving_texture(30, SIZE).astype(int)
    pictures[12 : 12 + n_lit] += light
    assert _cuts(pictures.clip(0, 255)) == []


def test_a_flash_in_a_still_picture_is_no_cut() -> None:
    pictures = _still(90).astype(int)
    pictures[40] += 150
    assert _cuts(pictures.clip(0, 255)) == []


def test_light_that_is_switched_on_is_no_cut() -> None:
    pictures = moving_texture(30, SIZE).astype(float)
    pictures[:15] *= 0.4
    assert _cuts(pictures) == []


@pytest.mark.parametrize("n_fading", [8, 16])
def test_a_dissolve_is_no_cut(n_fading: int) -> None:
    first, second = moving_texture(40, SIZE, seed=1), moving_texture(40, SIZE, seed=2)
    ratio = np.clip((np.arange(40) - 12) / n_fading, 0, 1)[:, None, None, None]
    assert _cuts((1 - ratio) * first + ratio * second) == []


def test_a_fade_to_black_is_no_cut() -> None:
    ratio = np.clip((30 - np.arange(40)) / 16, 0, 1)[:, None, None, None]
    assert _cuts(moving_texture(40, SIZE) * ratio) == []


def test_an_object_in_front_of_the_camera_is_no_cut() -> None:
    pictures = _still(30).copy()
    pictures[14:16] = texture(SIZE, seed=9)
    assert _cuts(pictures) == []


@pytest.mark.parametrize("n_repeats", [2, 3, 5])
def test_repeated_frames_are_no_cut_and_hide_none(n_repeats: int) -> None:
    assert _cuts(np.repeat(moving_texture(16, SIZE, shift=(14, 3)), n_repeats, axis=0)) == []
    assert _cuts(np.repeat(two_scenes(16, SIZE, cut=7), n_repeats, axis=0)) == [7 * n_repeats]


def _cuts_all_at_once(thumbs: list[Float]) -> list[int]:
    """The rule of `CutDetector`, written down with the whole video at hand."""
    kept: list[tuple[int, Float, float]] = []
    for i, thumb in enumerate(thumbs):
        picture = module.normalized(thumb)
        change = module.change_between(kept[-1][1], picture) if kept else 0.0
        if not kept or change >= module.REPEAT:
            kept.append((i, picture, change))
    cuts = []
    for k, (i, _, change) in enumerate(kept):
        window = kept[max(0, k - module.N_NEAR) : k + module.N_NEAR + 1]
        near = sorted((c for j, _, c in window if j != i and abs(j - i) <= module.NEAR_FRAMES), reverse=True)
        usual = (near[:3] or [0.0])[-1]
        before = kept[max(0, k - module.N_ALIKE) : k]
        after = [entry for entry in kept[k : k + module.N_ALIKE] if entry[0] <= i + module.NEAR_FRAMES]
        alike = min((module.change_between(a[1], b[1]) for a in before for b in after), default=0.0)
        enough = max(module.MIN_CHANGE, module.MIN_FACTOR * usual)
        if change >= enough and alike >= module.SAME_SCENE * change:
            cuts.append(i)
    return cuts


def test_streaming_finds_what_the_whole_video_shows() -> None:
    rng = np.random.default_rng(0)
    for seed in range(5):
        shots = []
        for k in range(5):
            n, shift = int(rng.integers(1, 9)), (int(rng.integers(-9, 9)), 1)
            shot = moving_texture(n, SIZE, shift=shift, seed=100 * seed + k)
            shots.append(np.repeat(shot, rng.choice([1, 1, 1, 3, 30]), axis=0))
        thumbs = [_thumb(picture) for picture in np.concatenate(shots)]
        detector = CutDetector()
        for thumb in thumbs:
            detector.push(thumb)
        found = detector.finish()
        assert found == _cuts_all_at_once(thumbs)
        assert found


def test_memory_does_not_grow() -> None:
    thumbs = [_thumb(picture) for picture in moving_texture(8, SIZE, shift=(9, 2))]

    def peak(n: int) -> int:
        detector = CutDetector()
        tracemalloc.start()
        for i in range(n):
            detector.push(thumbs[i % 8])
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(120) < 1.1 * peak(30)


def test_a_thumbnail_is_the_mean_of_its_cells() -> None:
    rng = np.random.default_rng(0)
    height, width = THUMB_SIZE
    luma = rng.integers(0, 256, (height * 3, width * 3), dtype=np.uint8)
    blue, red = (rng.integers(0, 256, (height * 2, width * 2), dtype=np.uint8) for _ in range(2))
    thumb = thumbnail(_frame((luma, blue, red)), PixelFormat("yuv420p", 8, (1, 1), "yuv", has_alpha=False))
    assert thumb.shape == (*THUMB_SIZE, 3) and thumb.dtype == np.float32
    for channel, (plane, cell) in enumerate(((luma, 3), (blue, 2), (red, 2))):
        expected = plane.reshape(height, cell, width, cell).mean(axis=(1, 3))
        assert np.abs(thumb[..., channel] - expected).max() <= 0.51


def test_thumbnails_of_all_kinds_agree() -> None:
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (90, 160), dtype=np.uint8)
    half = np.full((45, 80), 128, np.uint8)
    reference = thumbnail(_frame((grey,)), PixelFormat("gray", 8, (0, 0), "gray", has_alpha=False))
    yuv = thumbnail(_frame((grey, half, half)), PixelFormat("yuv420p", 8, (1, 1), "yuv", has_alpha=False))
    rgb = thumbnail(_frame((grey, grey, grey)), GBRP)
    deep = ((grey.astype(np.uint32) * 1023 + 127) // 255).astype(np.uint16)
    ten = thumbnail(_frame((deep,)), PixelFormat("gray10le", 10, (0, 0), "gray", has_alpha=False))
    for other in (yuv, rgb, ten):
        assert np.abs(other - reference).max() < 1


@pytest.mark.parametrize("size", [(2160, 3840), (37, 53), (1, 1)])
def test_thumbnails_of_any_size(size: tuple[int, int]) -> None:
    plane = np.full(size, 77, np.uint8)
    thumb = thumbnail(_frame((plane,)), PixelFormat("gray", 8, (0, 0), "gray", has_alpha=False))
    assert thumb.shape == (*THUMB_SIZE, 3) and (thumb[..., 0] == 77).all()
