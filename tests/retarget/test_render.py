"""Pictures of the new size in the planes' own samples: known answers."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.retarget.test_size import INFO
from vidfill.retarget.layout import Placement, place
from vidfill.retarget.objects import ObjectTrack, split_mask
from vidfill.retarget.render import Renderer, clear_alpha
from vidfill.retarget.size import reshaped
from vidfill.settings.commands import RetargetSettings
from vidfill.video.formats import pixel_format
from vidfill.video.frame import Bool, Box, Frame, Patch, Samples, VideoInfo

SIZE = (48, 80)
FORMATS = ["yuv420p", "yuv422p10le", "yuv444p12le", "gbrp", "gray", "yuva420p", "gbrap16le"]


def _info(name: str, size: tuple[int, int] = SIZE) -> VideoInfo:
    return replace(INFO, pixel_format=pixel_format(name), height=size[0], width=size[1])


def _planes(info: VideoInfo, value: float | None = None, seed: int = 0) -> tuple[Samples, ...]:
    """Random samples, or all at one ratio of the range."""
    shape = info.pixel_format
    rng = np.random.default_rng(seed)
    made: list[Any] = []
    for i in range(shape.n_color_planes + shape.has_alpha):
        size = shape.plane_size(i, height=info.height, width=info.width)
        top = (1 << shape.depth) - 1
        samples: NDArray[Any] = rng.integers(0, top + 1, size) if value is None else np.full(size, round(value * top))
        made.append(samples.astype(shape.dtype))
    return tuple(made)


def _mask(*boxes: Box, size: tuple[int, int] = SIZE) -> Bool:
    mask = np.zeros(size, np.bool_)
    for box in boxes:
        mask[box.slices] = True
    return mask


def _still(scale: float, dx: float, dy: float) -> Placement:
    return Placement(0, np.array([scale]), np.array([dx]), np.array([dy]), np.ones(1, np.bool_), 0.0)


def _rendered(
    info: VideoInfo,
    size: tuple[int, int],
    clean: tuple[Samples, ...],
    planes: tuple[Samples, ...],
    mask: Bool,
    placements: list[Placement],
    feather_px: int = 2,
) -> Frame:
    renderer = Renderer(info, reshaped(info, size), placements, feather_px=feather_px)
    parts = split_mask(mask)
    return renderer.render(Frame(0, 7, Fraction(1, 25), clean), planes, parts, range(len(parts.boxes)))


@pytest.mark.parametrize("name", FORMATS)
def test_same_size_and_place_is_bit_identical(name: str) -> None:
    info = _info(name)
    clean, planes = _planes(info, seed=1), _planes(info, seed=2)
    mask = _mask(Box(20, 12, 52, 40))
    made = _rendered(info, SIZE, clean, planes, mask, [_still(1, 0, 0)])
    assert (made.index, made.pts) == (0, 7)
    for i, plane in enumerate(made.planes):
        shift_x, shift_y = info.pixel_format.chroma_shift if info.pixel_format.kind == "yuv" and i in (1, 2) else (0, 0)
        inner = np.s_[12 + 2 >> shift_y : 40 - 2 >> shift_y, 20 + 2 >> shift_x : 52 - 2 >> shift_x]
        np.testing.assert_array_equal(plane[inner], planes[i][inner])
        outside = np.ones(plane.shape, np.bool_)
        outside[(12 - 8) >> shift_y : (40 + 8) >> shift_y, (20 - 8) >> shift_x : (52 + 8) >> shift_x] = False
        np.testing.assert_array_equal(plane[outside], clean[i][outside])
        assert plane.dtype == info.pixel_format.dtype


@pytest.mark.parametrize("name", FORMATS)
def test_flat_object_is_placed_in_every_plane(name: str) -> None:
    """Twice as wide a place, three quarters of the size: every plane shows the same box."""
    info = _info(name)
    clean, planes = _planes(info, 0.25), _planes(info, 0.75)
    made = _rendered(info, SIZE, clean, planes, _mask(Box(20, 16, 60, 40)), [_still(0.75, 6.0, 5.0)], feather_px=0)
    for i, plane in enumerate(made.planes):
        shift_x, shift_y = info.pixel_format.chroma_shift if info.pixel_format.kind == "yuv" and i in (1, 2) else (0, 0)
        low, high = int(clean[i][0, 0]), int(planes[i][0, 0])
        ratio = (plane.astype(float) - low) / (high - low)
        # The sums over rows and columns give size and place to fractions of a sample.
        assert ratio.sum() * (1 << shift_x) * (1 << shift_y) == pytest.approx(30 * 18, rel=0.03)
        rows, columns = np.indices(plane.shape) + 0.5
        assert (ratio * columns).sum() / ratio.sum() * (1 << shift_x) == pytest.approx(6 + 0.75 * 40, abs=0.6)
        assert (ratio * rows).sum() / ratio.sum() * (1 << shift_y) == pytest.approx(5 + 0.75 * 28, abs=0.3)
        assert ratio.max() == pytest.approx(1, abs=0.01)


def test_half_pixel_offsets() -> None:
    info = _info("gray")
    clean, planes = _planes(info, 0.0), _planes(info, 1.0)
    made = _rendered(info, SIZE, clean, planes, _mask(Box(20, 10, 40, 30)), [_still(1, 0.5, 0)], feather_px=0)
    row = made.planes[0][20].astype(int)
    assert list(row[21:40]) == [255] * 19
    assert row[20] == pytest.approx(127.5, abs=20)
    assert row[40] == pytest.approx(127.5, abs=20)
    assert row[18] == row[42] == 0


def test_background_is_resized() -> None:
    info = _info("yuv420p", (48, 160))
    slope = np.tile((np.arange(160) + 0.5), (48, 1)).astype(np.uint8)
    chroma = np.tile(2 * np.arange(80) + 0.5, (24, 1)).astype(np.uint8)  # sited with every second column
    made = _rendered(info, (48, 80), (slope, chroma, chroma), (slope, chroma, chroma), _mask(size=(48, 160)), [])
    np.testing.assert_allclose(made.planes[0][0, 3:-3], 2 * np.arange(80)[3:-3] + 0.5, atol=1)
    np.testing.assert_allclose(made.planes[1][0, 3:-3], 4 * np.arange(40)[3:-3] + 0.5, atol=1.1)


def test_nothing_is_drawn_past_a_cut_edge() -> None:
    """An object that the source cuts off on both sides, made smaller: it ends where its pixels end."""
    info = _info("gray")
    clean, planes = _planes(info, 0.0), _planes(info, 1.0)
    made = _rendered(info, SIZE, clean, planes, _mask(Box(0, 10, 80, 30)), [_still(0.5, 21.0, 10)])
    row = made.planes[0][20]
    assert list(row[:21]) == [0] * 21
    assert list(row[21:61]) == [255] * 40
    assert list(row[61:]) == [0] * 19


def test_rim_is_soft() -> None:
    info = _info("gray")
    clean, planes = _planes(info, 0.0), _planes(info, 1.0)
    made = _rendered(info, SIZE, clean, planes, _mask(Box(20, 10, 40, 30)), [_still(1, 0, 0)], feather_px=3)
    rim = made.planes[0][20, 39:45].astype(int)
    assert rim[0] == 255
    assert list(rim) == sorted(rim, reverse=True)
    assert list(rim[-2:]) == [0, 0]


def test_nearer_object_is_drawn_in_front() -> None:
    info = _info("gray", (48, 80))
    clean = _planes(info, 0.0)
    planes = _planes(info, 0.5)
    planes[0][:, 40:] = 255
    far, near = Box(10, 4, 26, 20), Box(56, 20, 72, 44)
    tracks = [ObjectTrack(0, np.array([box], np.int32), np.ones(1, np.bool_)) for box in (far, near)]
    placements = [place(track, info, (48, 40), RetargetSettings()) for track in tracks]
    made = _rendered(info, (48, 40), clean, planes, _mask(far, near), placements, feather_px=0).planes[0]
    assert made.shape == (48, 40)
    np.testing.assert_array_equal(made[6:18, 2:16], 128)
    np.testing.assert_array_equal(made[22:42, 26:38], 255)
    # Both at one place: the one that stands lower covers the other.
    there = [
        replace(placements[0], dx=np.array([10.0]), dy=np.array([10.0])),
        replace(placements[1], dx=np.array([-36.0])),
    ]
    covered = _rendered(info, (48, 40), clean, planes, _mask(far, near), there, feather_px=0).planes[0]
    assert covered[25, 25] == 255


@pytest.mark.parametrize("name", ["yuva420p", "gbrap16le"])
def test_alpha_is_continued_behind_objects(name: str) -> None:
    """Half of the picture is transparent; holes in either half, and one across the border between them."""
    info = _info(name)
    top = (1 << info.pixel_format.depth) - 1
    for box, expected in ((Box(4, 8, 30, 30), 0), (Box(50, 8, 76, 30), top), (Box(30, 8, 50, 30), None)):
        planes = _planes(info, seed=1)
        planes[-1][:, :40], planes[-1][:, 40:] = 0, top
        planes[-1][box.slices] = top // 3
        before = planes[-1].copy()
        patch = Patch(0, 7, box, np.zeros((22, box.width, 3), np.uint16), np.full((22, box.width), 255, np.uint8))
        clear_alpha(Frame(0, 7, Fraction(1, 25), planes), info, patch)
        if expected is not None:
            assert (planes[-1][box.slices] == expected).all()
        else:
            assert planes[-1][19, 31] < 0.1 * top < 0.9 * top < planes[-1][19, 48]
        outside = np.ones(SIZE, np.bool_)
        outside[box.slices] = False
        np.testing.assert_array_equal(planes[-1][outside], before[outside])
