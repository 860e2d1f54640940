import av
import numpy as np
import pytest
from numpy.typing import NDArray

from vidfill.errors import InputError
from vidfill.video.formats import from_planes, pixel_format, planar_name, to_planes
from vidfill.video.frame import PixelFormat, Samples

PLANAR = [
    *["yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv440p", "yuv410p", "gray", "gbrp", "gbrap", "yuva420p"],
    *["yuv420p9le", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv422p12le", "yuv444p14le"],
    *["yuv444p16le", "yuva444p10le", "yuv440p12le", "gray10le", "gray16le", "gbrp9le", "gbrp12le", "gbrap16le"],
]
PACKED = {
    "yuv420p": ["nv12", "nv21"],
    "yuv422p": ["nv16", "yuyv422", "uyvy422", "yvyu422"],
    "yuv444p": ["nv24", "nv42", "vuyx", "vyu444"],
    "yuva444p": ["vuya", "ayuv", "uyva"],
    "yuv420p10le": ["p010le", "p010be", "yuv420p10be"],
    "yuv420p12le": ["p012le"],
    "yuv420p16le": ["p016le"],
    "yuv422p10le": ["p210le", "nv20le", "y210le"],
    "yuv422p12le": ["p212le", "y212le"],
    "yuv422p16le": ["p216le", "y216le"],
    "yuv444p10le": ["p410le", "xv30le", "v30xle", "yuv444p10msble"],
    "yuv444p12le": ["p412le", "xv36le"],
    "yuv444p16le": ["p416le", "xv48le"],
    "yuva444p16le": ["ayuv64le"],
    "gbrp": ["rgb24", "bgr24", "0rgb", "rgb0", "bgr0", "0bgr"],
    "gbrap": ["rgba", "bgra", "argb", "abgr"],
    "gbrp10le": ["x2rgb10le", "x2bgr10le", "gbrp10be"],
    "gbrp16le": ["rgb48le", "rgb48be", "bgr48le"],
    "gbrap16le": ["rgba64le", "rgba64be", "bgra64le"],
    "gray16le": ["gray16be"],
}


def random_planes(kind: PixelFormat, height: int, width: int, *, seed: int = 0) -> tuple[Samples, ...]:
    rng = np.random.default_rng(seed)
    planes: list[Samples] = []
    for i in range(kind.n_color_planes + kind.has_alpha):
        samples = rng.integers(0, 1 << kind.depth, kind.plane_size(i, height=height, width=width), np.uint16)
        planes.append(samples if kind.dtype is np.uint16 else samples.astype(np.uint8))
    return tuple(planes)


@pytest.mark.parametrize("name", PLANAR)
def test_round_trip_of_odd_sizes(name: str) -> None:
    kind = pixel_format(name)
    planes = random_planes(kind, 45, 75)
    frame = from_planes(planes, kind, 45, 75)
    assert frame.planes[0].line_size > 75 * np.dtype(kind.dtype).itemsize, "no padding, so the test would prove nothing"
    back = to_planes(frame, kind)
    for ours, theirs in zip(planes, back, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert theirs.flags.writeable
        assert theirs.flags.owndata


@pytest.mark.parametrize(("planar", "packed"), [(p, q) for p, names in PACKED.items() for q in names])
@pytest.mark.parametrize("color_range", [0, 1, 2])
def test_packed_formats(planar: str, packed: str, color_range: int) -> None:
    assert planar_name(packed) == planar
    kind = pixel_format(planar)
    planes = random_planes(kind, 32, 48)
    frame = from_planes(planes, kind, 32, 48)
    same = {"src_colorspace": 1, "dst_colorspace": 1, "src_color_range": 1, "dst_color_range": 1}
    repacked = frame.reformat(format=packed, threads=1, **same)
    repacked.color_range = color_range
    for ours, theirs in zip(planes, to_planes(repacked, kind), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_no_row_is_lost() -> None:
    """What FFmpeg's scaler does every few hundred pictures when it runs on threads of its own."""
    kind = pixel_format("yuv420p10le")
    planes = random_planes(kind, 32, 48)
    packed = from_planes(planes, kind, 32, 48).reformat(format="p010le", threads=1)
    for _ in range(2000):
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(planes, to_planes(packed, kind), strict=True))


def _packed_frame(name: str, lines: NDArray[np.uint8]) -> av.VideoFrame:
    frame = av.VideoFrame(16, lines.shape[0], name)
    memory = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(lines.shape[0], -1)
    memory[:, : lines.shape[1]] = lines
    return frame


def test_layout_of_packed_formats() -> None:
    lines = np.random.default_rng(1).integers(0, 256, (8, 32), dtype=np.uint8)
    luma, cb, cr = to_planes(_packed_frame("yuyv422", lines), pixel_format("yuv422p"))
    np.testing.assert_array_equal(luma, lines[:, 0::2])
    np.testing.assert_array_equal(cb, lines[:, 1::4])
    np.testing.assert_array_equal(cr, lines[:, 3::4])
    lines = np.random.default_rng(2).integers(0, 256, (8, 64), dtype=np.uint8)
    green, blue, red, alpha = to_planes(_packed_frame("rgba", lines), pixel_format("gbrap"))
    np.testing.assert_array_equal(np.stack([red, green, blue, alpha], axis=-1).reshape(8, 64), lines)
    lines = np.random.default_rng(3).integers(0, 256, (8, 32), dtype=np.uint8)
    green, blue, red, alpha = to_planes(_packed_frame("ya8", lines), pixel_format("gbrap"))
    for plane in (green, blue, red):
        np.testing.assert_array_equal(plane, lines[:, 0::2])
    np.testing.assert_array_equal(alpha, lines[:, 1::2])


def test_full_range_names() -> None:
    kind = pixel_format("yuv420p")
    planes = random_planes(kind, 33, 47)
    frame = av.VideoFrame(47, 33, "yuvj420p")
    for plane, samples in zip(frame.planes, planes, strict=True):
        memory = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        memory[: samples.shape[0], : samples.shape[1]] = samples
    assert planar_name("yuvj420p") == "yuv420p"
    for ours, theirs in zip(planes, to_planes(frame, kind), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yuv420p", PixelFormat("yuv420p", 8, (1, 1), "yuv", has_alpha=False)),
        ("yuv411p", PixelFormat("yuv411p", 8, (2, 0), "yuv", has_alpha=False)),
        ("yuv440p10le", PixelFormat("yuv440p10le", 10, (0, 1), "yuv", has_alpha=False)),
        ("yuva422p12le", PixelFormat("yuva422p12le", 12, (1, 0), "yuv", has_alpha=True)),
        ("gbrap12le", PixelFormat("gbrap12le", 12, (0, 0), "rgb", has_alpha=True)),
        ("gray14le", PixelFormat("gray14le", 14, (0, 0), "gray", has_alpha=False)),
    ],
)
def test_description(name: str, expected: PixelFormat) -> None:
    assert pixel_format(name) == expected


@pytest.mark.parametrize(
    "name", ["gbrpf32le", "grayf16le", "bayer_rggb8", "xyz12le", "rgb8", "vaapi", "no such format"]
)
def test_unsupported_formats(name: str) -> None:
    with pytest.raises(InputError, match=name):
        planar_name(name)


def test_description_of_packed_formats() -> None:
    with pytest.raises(InputError, match="expected a planar one: yuv420p"):
        pixel_format("nv12")
