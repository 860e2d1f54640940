"""What counts as hole in an image, and how images of other sizes are laid over the picture."""

import struct
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clips import video_info
from vidfill.errors import MaskError
from vidfill.masks.images import Fit, list_images, read_mask
from vidfill.video.frame import Bool, Orientation, VideoInfo


def _silent(text: str) -> None:
    raise AssertionError(f"told without a reason: {text}")


def _write(path: Path, pixels: NDArray[Any], options: tuple[int, ...] = ()) -> Path:
    assert cv2.imwrite(str(path), pixels, options)
    return path


def _write_palette_png(path: Path, indices: NDArray[np.uint8], palette: list[tuple[int, int, int]]) -> Path:
    """A PNG of colour type 3, byte by byte: OpenCV writes none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = indices.shape
    rows = b"".join(b"\0" + row.tobytes() for row in indices)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", bytes(value for color in palette for value in color))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


def test_threshold(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(8, 32)
    for pixels in (ramp, ramp.astype(np.uint16) * 257, np.dstack([ramp] * 3)):
        mask = read_mask(_write(tmp_path / "m.png", pixels), note=_silent)
        np.testing.assert_array_equal(mask, ramp > 127)


def test_one_bit(tmp_path: Path) -> None:
    pixels = np.zeros((5, 13), np.uint8)
    pixels[2, 3:9] = 255
    path = _write(tmp_path / "m.png", pixels, (cv2.IMWRITE_PNG_BILEVEL, 1))
    assert path.read_bytes()[24] == 1  # bits a sample
    np.testing.assert_array_equal(read_mask(path, note=_silent), pixels > 0)


def test_transparent_white(tmp_path: Path) -> None:
    pixels = np.full((4, 6, 4), 255, np.uint8)
    pixels[:, 3:, 3] = 0
    mask = read_mask(_write(tmp_path / "m.png", pixels), note=_silent)
    np.testing.assert_array_equal(mask, pixels[..., 3] > 0)


def test_jpeg_noise(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64), np.uint8)
    pixels[16:41, 21:47] = 255
    path = _write(tmp_path / "m.jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, 60))
    stored = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert stored is not None and ((stored > 0) & (pixels == 0)).any()  # there is noise
    np.testing.assert_array_equal(read_mask(path, note=_silent), pixels > 0)


def test_labels_0_and_1(tmp_path: Path) -> None:
    labels = np.zeros((4, 6), np.uint8)
    labels[1:3, 2:4] = 1
    told: list[str] = []
    np.testing.assert_array_equal(read_mask(_write(tmp_path / "m.png", labels), note=told.append), labels == 1)
    assert len(told) == 1 and "0 and 1" in told[0]


def test_palette_of_labels(tmp_path: Path) -> None:
    davis = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]  # all of them dark
    indices = (np.arange(24, dtype=np.uint8) % 4).reshape(4, 6)
    mask = read_mask(_write_palette_png(tmp_path / "m.png", indices, davis), note=_silent)
    np.testing.assert_array_equal(mask, indices != 0)


@pytest.mark.parametrize(
    ("palette", "hole"),
    [
        ([(255, 255, 255), (0, 0, 0)], [True, False]),  # a packed black-and-white mask, white first
        ([(0, 0, 0), (255, 255, 255)], [False, True]),
        ([(0, 0, 0), (1, 1, 1)], [False, True]),  # labels with a grey ramp as their palette
    ],
)
def test_palettes_of_gray(tmp_path: Path, palette: list[tuple[int, int, int]], hole: list[bool]) -> None:
    indices = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    mask = read_mask(_write_palette_png(tmp_path / "m.png", indices, palette), note=_silent)
    np.testing.assert_array_equal(mask, np.array(hole)[indices])


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 17 + b"\3" + b"\0" * 9])
def test_unreadable_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.png"
    path.write_bytes(content)
    with pytest.raises(MaskError, match=r"m\.png"):
        read_mask(path, note=_silent)


def test_floating_point(tmp_path: Path) -> None:
    path = _write(tmp_path / "m.tiff", np.ones((4, 6), np.float32))
    with pytest.raises(MaskError, match="float32.*8 or 16 bits"):
        read_mask(path, note=_silent)


def test_natural_order(tmp_path: Path) -> None:
    for name in ("m10.png", "m9.png", "m2.PNG", ".m1.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["m2.PNG", "m9.png", "m10.png"]


def _info(
    size: tuple[int, int], orientation: Orientation | None = None, sample_aspect: Fraction = Fraction(1)
) -> VideoInfo:
    return replace(video_info(size, "gray"), orientation=orientation or Orientation(), sample_aspect=sample_aspect)


def _corner(size: tuple[int, int]) -> Bool:
    mask = np.zeros(size, np.bool_)
    mask[: size[0] // 4, : size[1] // 3] = True
    return mask


def test_same_size() -> None:
    mask = _corner((40, 60))
    np.testing.assert_array_equal(Fit(_info((40, 60)), note=_silent).to_coded(mask, "m"), mask)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_display_orientation(turns: int, *, mirrored: bool) -> None:
    orientation = Orientation(quarter_turns=turns, mirrored=mirrored)
    fit = Fit(_info((40, 60), orientation), note=_silent)
    coded = _corner((40, 60))
    shown = np.asarray(orientation.to_display(coded), np.bool_)
    np.testing.assert_array_equal(fit.to_coded(shown, "m"), coded)


@pytest.mark.parametrize("turns", [1, 3])
def test_coded_orientation(turns: int) -> None:
    fit = Fit(_info((40, 60), Orientation(quarter_turns=turns)), note=_silent)
    coded = _corner((40, 60))
    np.testing.assert_array_equal(fit.to_coded(coded, "m"), coded)


@pytest.mark.parametrize("factor", [2, Fraction(1, 2)])
def test_scaling(factor: Fraction) -> None:
    told: list[str] = []
    fit = Fit(_info((40, 60)), note=told.append)
    scaled = fit.to_coded(_corner((int(40 * factor), int(60 * factor))), "m")
    np.testing.assert_array_equal(scaled, _corner((40, 60)))
    assert len(told) == 1 and "60x40" in told[0]


@pytest.mark.parametrize("orientation", [Orientation(quarter_turns=1), Orientation(quarter_turns=3, mirrored=True)])
def test_scaling_of_turned_masks(orientation: Orientation) -> None:
    told: list[str] = []
    fit = Fit(_info((40, 60), orientation), note=told.append)
    shown = np.asarray(orientation.to_display(_corner((80, 120))), np.bool_)
    np.testing.assert_array_equal(fit.to_coded(shown, "m"), _corner((40, 60)))


def test_thin_shapes_survive_shrinking() -> None:
    mask = np.zeros((400, 600), np.bool_)
    mask[:, 333] = True
    scaled = Fit(_info((40, 60)), note=lambda text: None).to_coded(mask, "m")
    assert scaled[:, 33].all() and scaled.sum() == 40


@pytest.mark.parametrize("size", [(240, 426), (240, 427), (1081, 1920), (2160, 3840)])
def test_rounded_sizes(size: tuple[int, int]) -> None:
    scaled = Fit(_info((1080, 1920)), note=lambda text: None).to_coded(np.ones(size, np.bool_), "m")
    assert scaled.shape == (1080, 1920) and scaled.all()


def test_square_pixels() -> None:
    fit = Fit(_info((60, 80), sample_aspect=Fraction(4, 3)), note=lambda text: None)
    mask = _corner((60, 107))
    assert fit.to_coded(mask, "m").shape == (60, 80)


@pytest.mark.parametrize("size", [(40, 40), (40, 66), (43, 60), (60, 40)])
def test_other_aspect(size: tuple[int, int]) -> None:
    with pytest.raises(MaskError, match=rf"m\.png is {size[1]}x{size[0]}; expected 60x40 or the same aspect"):
        Fit(_info((40, 60)), note=_silent).to_coded(np.ones(size, np.bool_), "m.png")
