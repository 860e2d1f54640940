from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from tests.clips import video_info
from tests.video.test_formats import random_planes
from vidfill.video.color import matrix_of, paste_rgb, rgb_crop
from vidfill.video.formats import from_planes, pixel_format, to_planes
from vidfill.video.frame import Box, ColorTags, Float, Frame, VideoInfo

LIMITED, FULL = 1, 2
COLORS = np.array(
    [[0, 255, 0], [255, 0, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [128, 128, 128], [200, 30, 90], [20, 180, 220]],
    np.uint8,
)
BIT_IDENTITY = [
    *["yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv440p", "yuv410p", "gbrp", "gray"],
    *["yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv422p12le", "yuv444p12le", "yuv444p16le"],
    *["gbrap12le", "gray16le", "yuva420p10le"],
]


def make_info(name: str, height: int, width: int, *, color: ColorTags | None = None, codec: str = "h264") -> VideoInfo:
    return replace(video_info((height, width), name), codec=codec, color=color or ColorTags())


def random_frame(info: VideoInfo, *, seed: int = 0) -> Frame:
    return Frame(0, 0, Fraction(1, 25), random_planes(info.pixel_format, info.height, info.width, seed=seed))


def smooth_frame(info: VideoInfo) -> Frame:
    """Waves in all planes, well inside the gamut."""
    kind = info.pixel_format
    planes = []
    for i in range(kind.n_color_planes):
        height, width = kind.plane_size(i, height=info.height, width=info.width)
        y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
        wave = 120 + 10 * np.sin(5 * x + i) + 8 * np.cos(4 * y - i)
        planes.append((wave * (1 << (kind.depth - 8))).astype(kind.dtype))
    return Frame(0, 0, Fraction(1, 25), tuple(planes))


def whole(info: VideoInfo) -> Box:
    return Box(0, 0, info.width, info.height)


@pytest.mark.parametrize("matrix", [1, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
def test_yuv_to_rgb_equals_ffmpeg(matrix: int, color_range: int) -> None:
    rgb = np.repeat(COLORS[None], 8, axis=0)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    tags = ColorTags(matrix=matrix, range=color_range)
    info = make_info("yuv444p", *rgb.shape[:2], color=tags)
    coded = frame.reformat(
        format="yuv444p", dst_colorspace={6: 5}.get(matrix, matrix), src_color_range=FULL, dst_color_range=color_range
    )
    ours = rgb_crop(Frame(0, 0, Fraction(1), to_planes(coded, info.pixel_format)), info, whole(info))
    np.testing.assert_allclose(ours * 255, rgb.astype(np.float32), atol=2.5)  # of 8 bits, rounded there and back


def test_green_in_bt709_is_173_42_26() -> None:
    info = make_info("yuv444p", 2, 2, color=ColorTags(matrix=1, range=LIMITED))
    frame = random_frame(info)
    green = np.tile(np.array([0, 1, 0], np.float32), (2, 2, 1))
    paste_rgb(frame, info, whole(info), green, np.ones((2, 2), np.float32))
    assert [int(plane[0, 0]) for plane in frame.planes] == [173, 42, 26]


@pytest.mark.parametrize("name", ["yuv444p", "yuv444p10le", "yuv444p12le"])
@pytest.mark.parametrize("matrix", [1, 6, 8, 9])
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
def test_rgb_to_yuv_equations(name: str, matrix: int, color_range: int) -> None:
    rgb = np.random.default_rng(3).random((4, 6, 3)).astype(np.float32)
    info = make_info(name, 4, 6, color=ColorTags(matrix=matrix, range=color_range))
    frame = random_frame(info)
    paste_rgb(frame, info, whole(info), rgb, np.ones((4, 6), np.float32))
    depth = info.pixel_format.depth
    for (y, x), luma in np.ndenumerate(frame.planes[0]):
        red, green, blue = (float(value) for value in rgb[y, x])
        if matrix == 8:
            e = (red / 4 + green / 2 + blue / 4, -red / 4 + green / 2 - blue / 4, (red - blue) / 2)
        else:
            kr, kb = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
            e_y = kr * red + (1 - kr - kb) * green + kb * blue
            e = (e_y, (blue - e_y) / 2 / (1 - kb), (red - e_y) / 2 / (1 - kr))
        if color_range == LIMITED:
            codes = [(16 + 219 * e[0]) * 2 ** (depth - 8), *((128 + 224 * c) * 2 ** (depth - 8) for c in e[1:])]
        else:
            top = 2**depth - 1
            codes = [top * e[0], *(min(top, 2 ** (depth - 1) + top * c) for c in e[1:])]
        found = [int(luma), int(frame.planes[1][y, x]), int(frame.planes[2][y, x])]
        np.testing.assert_allclose(found, codes, atol=0.51)


def test_matrix_0_is_rgb() -> None:
    info = make_info("yuv444p", 4, 4, color=ColorTags(matrix=0, range=FULL))
    frame = random_frame(info)
    green, blue, red = frame.planes
    crop = rgb_crop(frame, info, whole(info))
    np.testing.assert_allclose(crop * 255, np.stack([red, green, blue], axis=-1).astype(np.float32), atol=1e-3)


@pytest.mark.parametrize(("size", "expected"), [((576, 720), 6), ((577, 720), 1), ((576, 1280), 1), ((576, 1279), 6)])
@pytest.mark.parametrize("tag", [2, 14])
def test_matrix_of_untagged_pictures(size: tuple[int, int], expected: int, tag: int) -> None:
    assert matrix_of(make_info("yuv420p", *size, color=ColorTags(matrix=tag))) == expected


def test_matrix_of_tagged_pictures() -> None:
    assert matrix_of(make_info("yuv420p", 1080, 1920, color=ColorTags(matrix=6))) == 6


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv440p", "yuv420p10le", "yuv422p12le"])
@pytest.mark.parametrize("codec", ["h264", "mjpeg"])
def test_yuv_round_trip(name: str, codec: str) -> None:
    info = make_info(name, 61, 83, codec=codec)
    frame = smooth_frame(info)
    before = [plane.copy() for plane in frame.planes]
    paste_rgb(frame, info, whole(info), rgb_crop(frame, info, whole(info)), np.ones((61, 83), np.float32))
    for plane, (ours, theirs) in enumerate(zip(frame.planes, before, strict=True)):
        largest = np.abs(ours.astype(int) - theirs).max()
        assert largest <= (1 if plane == 0 else 1 << (info.pixel_format.depth - 8))


@pytest.mark.parametrize("name", ["gbrp", "gbrp10le", "gbrap16le", "gray", "gray12le"])
def test_rgb_and_gray_round_trip_is_exact(name: str) -> None:
    info = make_info(name, 21, 33)
    frame = random_frame(info)
    if info.pixel_format.kind == "gray":
        assert np.ptp(rgb_crop(frame, info, whole(info)), axis=-1).max() == 0
    before = [plane.copy() for plane in frame.planes]
    paste_rgb(frame, info, whole(info), rgb_crop(frame, info, whole(info)), np.ones((21, 33), np.float32))
    for ours, theirs in zip(frame.planes, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", BIT_IDENTITY)
@pytest.mark.parametrize("size", [(64, 96), (45, 75)])
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
def test_uncovered_samples_keep_their_bits(name: str, size: tuple[int, int], color_range: int) -> None:
    info = make_info(name, *size, color=ColorTags(range=color_range))
    kind = info.pixel_format
    rng = np.random.default_rng(5)
    for box in (whole(info), Box(3, 5, 40, 28), Box(1, 1, 2, 2), Box(7, 0, size[1], 31)):
        frame = random_frame(info)
        before = [plane.copy() for plane in frame.planes]
        alpha = np.maximum(rng.random((box.height, box.width), dtype=np.float32) * 3 - 2, 0)
        alpha[0, 0] = 1
        rgb = rng.random((box.height, box.width, 3), dtype=np.float32)
        paste_rgb(frame, info, box, rgb, alpha)
        covered = np.zeros(size, np.bool_)
        covered[box.slices] = alpha > 0
        for i, (ours, theirs) in enumerate(zip(frame.planes, before, strict=True)):
            if i >= kind.n_color_planes:
                np.testing.assert_array_equal(ours, theirs)
                continue
            shift_x, shift_y = kind.chroma_shift if i > 0 and kind.kind == "yuv" else (0, 0)
            ys, xs = np.nonzero(covered)
            may_change = np.zeros(ours.shape, np.bool_)
            may_change[ys >> shift_y, xs >> shift_x] = True
            np.testing.assert_array_equal(ours[~may_change], theirs[~may_change])
            if i == 0 and alpha.size > 1:
                assert (ours != theirs)[may_change].mean() > 0.3


def slow_chroma(info: VideoInfo, old: Float, chroma: Float, alpha: Float, box: Box, *, is_level: bool) -> Float:
    """One plane of chroma, block by block: taps weighted by the siting, blended by the ratio covered."""
    step_x, step_y = 1 << info.pixel_format.chroma_shift[0], 1 << info.pixel_format.chroma_shift[1]
    full_alpha = np.zeros((info.height, info.width))
    full_alpha[box.slices] = alpha
    full_chroma = np.zeros((info.height, info.width))
    full_chroma[box.slices] = chroma
    new = old.astype(float)
    for y, x in np.ndindex(*old.shape):
        block = full_alpha[y * step_y : (y + 1) * step_y, x * step_x : (x + 1) * step_x]
        if block.max() == 0:
            continue
        weight = total = 0.0
        for row in range(y * step_y, min((y + 1) * step_y, info.height)):
            for column in range(max(0, x * step_x - step_x + 1), min((x + 1) * step_x, info.width)):
                offset = column - x * step_x
                tap = (step_x - abs(offset) if is_level else float(offset >= 0)) * full_alpha[row, column]
                weight, total = weight + tap, total + tap * full_chroma[row, column]
        new[y, x] += block.mean() * (total / weight - new[y, x])
    return new.astype(np.float32)


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv411p", "yuv440p", "yuv410p", "yuv420p12le"])
@pytest.mark.parametrize("codec", ["h264", "mjpeg"])
@pytest.mark.parametrize("box", [Box(0, 0, 25, 19), Box(3, 5, 18, 12), Box(4, 2, 25, 19), Box(7, 7, 8, 8)])
def test_chroma_is_blended_in_proportion(name: str, codec: str, box: Box) -> None:
    info = make_info(name, 19, 25, color=ColorTags(matrix=1, range=FULL), codec=codec)
    rng = np.random.default_rng(11)
    frame = random_frame(info)
    before = frame.planes[1].astype(np.float32)
    alpha = np.clip(rng.random((box.height, box.width)) * 3 - 1, 0, 1).astype(np.float32)
    rgb = rng.random((box.height, box.width, 3), dtype=np.float32)
    top = (1 << info.pixel_format.depth) - 1
    luma = rgb @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    chroma = (rgb[..., 2] - luma) / (2 - 2 * 0.0722) * top + (top + 1) / 2
    expected = slow_chroma(info, before, chroma, alpha, box, is_level=codec != "mjpeg")
    paste_rgb(frame, info, box, rgb, alpha)
    np.testing.assert_allclose(frame.planes[1], np.clip(expected, 0, top), atol=0.51)


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "yuv411p", "yuv410p", "gbrp"])
def test_crop_is_part_of_whole(name: str) -> None:
    info = make_info(name, 45, 75)
    frame = random_frame(info)
    full = rgb_crop(frame, info, whole(info))
    for box in (Box(0, 0, 10, 10), Box(3, 5, 40, 28), Box(33, 21, 34, 22), Box(61, 30, 75, 45)):
        np.testing.assert_allclose(rgb_crop(frame, info, box), full[box.slices], atol=1e-5)


@pytest.mark.parametrize(("codec", "first"), [("h264", 0.0), ("mjpeg", 0.5)])
def test_chroma_siting(codec: str, first: float) -> None:
    info = make_info("yuv420p", 8, 32, color=ColorTags(matrix=6, range=FULL), codec=codec)
    ramp = np.tile((40 + 10 * np.arange(16)).astype(np.uint8), (4, 1))
    frame = Frame(0, 0, Fraction(1), (np.full((8, 32), 128, np.uint8), np.full((4, 16), 128, np.uint8), ramp))
    red = rgb_crop(frame, info, whole(info))[4, 2:-2, 0] * 255
    expected = 128 + 1.402 * (40 + 10 * (np.arange(32) - first) / 2 - 128)[2:-2]
    np.testing.assert_allclose(red, np.clip(expected, 0, 255), atol=0.02)


def test_out_of_gamut_is_clipped() -> None:
    info = make_info("yuv444p", 8, 8, color=ColorTags(matrix=1, range=LIMITED))
    crop = rgb_crop(random_frame(info), info, whole(info))
    assert crop.dtype == np.float32
    assert crop.min() == 0
    assert crop.max() == 1


def test_full_range_chroma_does_not_overflow() -> None:
    info = make_info("yuv444p10le", 1, 1, color=ColorTags(matrix=6, range=FULL))
    frame = random_frame(info)
    paste_rgb(frame, info, whole(info), np.array([[[0, 0, 1]]], np.float32), np.ones((1, 1), np.float32))
    assert int(frame.planes[1][0, 0]) == 1023


def test_pasted_colours_in_ffmpeg() -> None:
    """Ours in, theirs out: colours of an even picture in 4:2:0 at 10 bits."""
    info = make_info("yuv420p10le", 16, 64, color=ColorTags(matrix=9, primaries=9, transfer=16, range=LIMITED))
    frame = random_frame(info)
    rgb = np.repeat(np.repeat(COLORS[None], 16, axis=0), 8, axis=1)
    paste_rgb(frame, info, whole(info), rgb.astype(np.float32) / np.float32(255), np.ones((16, 64), np.float32))
    coded = from_planes(frame.planes, info.pixel_format, 16, 64)
    shown = coded.reformat(format="rgb48le", src_colorspace=9, src_color_range=LIMITED, dst_color_range=FULL)
    inside = np.s_[:, 4::8]  # the middle of each colour: at its border chroma is shared
    np.testing.assert_allclose(shown.to_ndarray()[inside] / 257, rgb[inside], atol=1.5)


def test_range_of_untagged_pictures() -> None:
    info = make_info("yuv444p", 1, 1)
    white = Frame(0, 0, Fraction(1), tuple(np.full((1, 1), value, np.uint8) for value in (235, 128, 128)))
    np.testing.assert_allclose(rgb_crop(white, info, whole(info)), 1, atol=1e-6)
    info = replace(info, pixel_format=pixel_format("gbrp"))
    np.testing.assert_allclose(rgb_crop(white, info, whole(info)) * 255, [[[128, 235, 128]]], atol=1e-4)


@pytest.mark.parametrize("name", ["yuva444p12le", "gbrap"])
def test_alpha_plane(name: str) -> None:
    info, box = make_info(name, 4, 6), Box(1, 1, 4, 3)
    clear = random_frame(info)
    clear.planes[-1][...] = 0
    rgb, ratio = np.full((2, 3, 3), 0.5, np.float32), np.array([[0, 0.5, 1]] * 2, np.float32)
    paste_rgb(clear, info, box, rgb, ratio)
    assert not clear.planes[-1].any()
    paste_rgb(clear, info, box, rgb, ratio, makes_opaque=True)
    top = (1 << info.pixel_format.depth) - 1
    expected = np.zeros((4, 6))
    expected[1:3, 2:4] = [np.rint(top / 2), top]
    np.testing.assert_array_equal(clear.planes[-1], expected)
