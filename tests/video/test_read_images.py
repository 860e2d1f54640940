from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clips import moving_texture, write_images
from vidfill.errors import InputError, UsageError
from vidfill.video.read import Reader, probe
from vidfill.video.read_images import image_paths

PICTURES = moving_texture(4, (33, 47))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".PNG"])
def test_colour(suffix: str, tmp_path: Path) -> None:
    write_images(tmp_path / "in", PICTURES, suffix=suffix)
    with Reader(tmp_path / "in", fps=Fraction(30000, 1001)) as reader:
        info = reader.info
        frames = list(reader.frames())
        assert not reader.damage
    assert (info.is_folder, info.container, info.n_frames) == (True, "images", 4)
    assert (info.height, info.width, info.pixel_format.name) == (33, 47, "gbrp")
    assert (info.rate, info.time_base) == (Fraction(30000, 1001), Fraction(1001, 30000))
    assert [(frame.index, frame.pts) for frame in frames] == [(0, 0), (1, 1), (2, 2), (3, 3)]
    for frame, picture in zip(frames, PICTURES, strict=True):
        green, blue, red = frame.planes
        np.testing.assert_array_equal(np.stack([red, green, blue], axis=-1), picture)
        assert all(plane.flags.writeable for plane in frame.planes)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_images_are_near(suffix: str, tmp_path: Path) -> None:
    write_images(tmp_path / "in", PICTURES, suffix=suffix)
    with Reader(tmp_path / "in") as reader:
        for frame, picture in zip(reader.frames(), PICTURES, strict=True):
            assert np.abs(frame.planes[0].astype(int) - picture[..., 1]).mean() < 6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("channels", "name"), [((), "gray"), ((3,), "gbrp"), ((4,), "gbrap")])
def test_every_kind_keeps_its_samples(
    dtype: type[np.uint8] | type[np.uint16], channels: tuple[int, ...], name: str, tmp_path: Path
) -> None:
    pictures = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (2, 9, 13, *channels)).astype(dtype)
    write_images(tmp_path / "in", pictures)
    with Reader(tmp_path / "in") as reader:
        assert reader.info.pixel_format.name == (name if dtype is np.uint8 else f"{name}16le")
        assert reader.info.color.matrix == (2 if name == "gray" else 0)
        for frame, picture in zip(reader.frames(), pictures, strict=True):
            planes = picture[..., None] if name == "gray" else picture[..., [1, 2, 0, 3][: channels[0]]]
            np.testing.assert_array_equal(np.stack(frame.planes, axis=-1), planes)


def test_the_rate_is_25_unless_stated(tmp_path: Path) -> None:
    write_images(tmp_path / "in", PICTURES)
    info = probe(tmp_path / "in")
    assert info.rate == 25
    assert info.duration_s == pytest.approx(4 / 25)


def test_order_is_natural(tmp_path: Path) -> None:
    names = ["Shot 10.png", "shot 9.png", "shot 2b.png", "shot 2a.png", "0001.png", "2.png", "x.png"]
    for name in names:
        cv2.imwrite(str(tmp_path / name), PICTURES[0])
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(b"no image")
    (tmp_path / "folder.png").mkdir()
    found = [path.name for path in image_paths(tmp_path)]
    assert found == ["0001.png", "2.png", "shot 2a.png", "shot 2b.png", "shot 9.png", "Shot 10.png", "x.png"]


def test_a_pass_may_start_anywhere(tmp_path: Path) -> None:
    write_images(tmp_path / "in", PICTURES)
    with Reader(tmp_path / "in") as reader:
        assert [(frame.index, frame.pts) for frame in reader.frames(start_pts=2, start_index=2)] == [(2, 2), (3, 3)]
        assert list(reader.frames(start_pts=4)) == []


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (np.zeros((33, 46, 3), np.uint8), "00002.png is 46x33 gbrp; expected 47x33 gbrp as 00000.png"),
        (np.zeros((33, 47, 4), np.uint8), "00002.png is 47x33 gbrap; expected 47x33 gbrp"),
        (np.zeros((33, 47, 3), np.uint16), "00002.png is 47x33 gbrp16le"),
    ],
)
def test_an_image_unlike_the_first_is_named(odd: NDArray[Any], message: str, tmp_path: Path) -> None:
    write_images(tmp_path / "in", PICTURES)
    write_images(tmp_path / "in", odd[None], start=2)
    with Reader(tmp_path / "in") as reader, pytest.raises(InputError, match=message):
        list(reader.frames())


@pytest.mark.parametrize("data", [b"", b"no image"])
def test_a_broken_image_is_named(data: bytes, tmp_path: Path) -> None:
    paths = write_images(tmp_path / "in", PICTURES)
    paths[1].write_bytes(data)
    with Reader(tmp_path / "in") as reader, pytest.raises(InputError, match=r"00001.png is not an image"):
        list(reader.frames())


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        Reader(tmp_path)


def test_float_images_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.tif"), np.zeros((9, 13, 3), np.float32))
    with pytest.raises(InputError, match="samples of type float32; expected 8 or 16 bits"):
        probe(tmp_path)


def test_a_rate_must_be_above_zero(tmp_path: Path) -> None:
    write_images(tmp_path / "in", PICTURES)
    with pytest.raises(UsageError, match="frame rate of 0"):
        probe(tmp_path / "in", fps=Fraction(0))
