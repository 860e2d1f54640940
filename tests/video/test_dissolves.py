"""Dissolves and fades between scenes are found with their ends; motion, light and cuts are not dissolves."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clips import moving_texture, texture
from vidfill.video.dissolves import DissolveDetector, parted, without_cuts
from vidfill.video.frame import Float

SIZE = (36, 64)


def _spans(pictures: NDArray[Any]) -> list[tuple[int, int]]:
    detector = DissolveDetector()
    for picture in pictures:
        detector.push(np.asarray(picture, np.float32))
    return detector.finish()


def _scene(n: int, seed: int, shift: tuple[int, int] = (0, 0)) -> Float:
    return moving_texture(n, SIZE, shift=shift, seed=seed).astype(np.float32)


def _ratio(n: int, start: int, length: int) -> Float:
    """Of the second scene, 0 before `start`, 1 from `start + length` on."""
    ratio = np.clip((np.arange(n) - start + 1) / (length + 1), 0, 1)
    return np.asarray(ratio[:, None, None, None], np.float32)


@pytest.mark.parametrize("length", [4, 8, 16, 30, 60])
@pytest.mark.parametrize("seeds", [(0, 1), (2, 3)])
def test_a_dissolve_is_found_with_its_ends(length: int, seeds: tuple[int, int]) -> None:
    n, start = 60 + length, 28
    ratio = _ratio(n, start, length)
    spans = _spans((1 - ratio) * _scene(n, seeds[0]) + ratio * _scene(n, seeds[1]))
    assert len(spans) == 1
    assert abs(spans[0][0] - start) <= 1 + length // 8 and abs(spans[0][1] - start - length) <= 1 + length // 8


def test_a_dissolve_between_moving_scenes() -> None:
    ratio = _ratio(60, 25, 10)
    pictures = (1 - ratio) * _scene(60, 1)
    pictures[:, :, 1:] += (ratio * _scene(60, 2, (0, 0)))[:, :, :-1]
    spans = _spans(pictures)
    assert len(spans) == 1 and abs(spans[0][0] - 25) <= 2 and abs(spans[0][1] - 35) <= 2


@pytest.mark.parametrize("level", [0, 16, 255])
def test_a_fade_through_a_plain_colour(level: int) -> None:
    pictures = np.concatenate([_scene(30, 4), _scene(30, 5)])
    part = np.abs(np.arange(60) - 29.5)
    ratio = np.clip((part - 2) / 8, 0, 1)[:, None, None, None]
    spans = _spans(ratio * pictures + (1 - ratio) * level)
    assert len(spans) == 1 and abs(spans[0][0] - 21) <= 2 and abs(spans[0][1] - 39) <= 2


def test_two_dissolves_one_after_the_other() -> None:
    one, other = _ratio(110, 30, 10), _ratio(110, 70, 10)
    pictures = (1 - one) * _scene(110, 1) + (one - other) * _scene(110, 2) + other * _scene(110, 3)
    assert _spans(pictures) == [(30, 40), (70, 80)]


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (2, 1), (5, 0), (-13, 3)])
def test_pans_are_no_dissolves(shift: tuple[int, int]) -> None:
    assert _spans(_scene(120, 6, shift)) == []


def test_a_pan_that_starts_and_stops_is_none() -> None:
    pan = _scene(16, 7, (3, 1))
    assert _spans(np.concatenate([np.repeat(pan[:1], 30, axis=0), pan, np.repeat(pan[-1:], 30, axis=0)])) == []


@pytest.mark.parametrize("lowest", [0.0, 0.3])
def test_light_that_fades_within_a_scene_is_none(lowest: float) -> None:
    ratio = np.clip(np.abs(np.arange(60) - 30) / 10, lowest, 1)[:, None, None, None]
    assert _spans(ratio * _scene(60, 8)) == []


def test_a_fade_at_the_end_is_none() -> None:
    ratio = np.clip((30 - np.arange(40)) / 16, 0, 1)[:, None, None, None]
    assert _spans(ratio * _scene(40, 9)) == []


def test_a_cut_a_flash_and_an_object_close_by_are_none() -> None:
    assert _spans(np.concatenate([_scene(40, 1), _scene(40, 2)])) == []
    lit = _scene(60, 3)
    lit[30:33] = 255
    assert _spans(lit) == []
    hidden = _scene(60, 4)
    hidden[30:36] = texture(SIZE, seed=77)
    assert _spans(hidden) == []


def test_a_picture_and_its_negative_are_no_dissolve() -> None:
    half = np.zeros((1, *SIZE, 3), np.float32)
    half[:, : SIZE[0] // 2] = 255
    ratio = _ratio(60, 25, 8)
    assert _spans((1 - ratio) * half + ratio * (255 - half)) == []


def test_memory_does_not_grow() -> None:
    pictures = _scene(8, 1)

    def peak(n: int) -> int:
        detector = DissolveDetector()
        tracemalloc.start()
        for i in range(n):
            detector.push(pictures[i % 8])
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(400) < 1.1 * peak(150)


def test_transitions_are_parted_and_cuts_stay() -> None:
    assert parted([(10, 15)], [40], longest=2) == [10, 11, 13, 15, 40]
    assert without_cuts([(10, 14), (20, 30)], [12, 40]) == [(20, 30)]
    assert parted([], [], longest=2) == []
