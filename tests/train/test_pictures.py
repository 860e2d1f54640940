"""Holes and crops of single pictures, and archives of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.train.models import tiny_data
from tests.train.test_data import write_archive, write_clip
from vidfill.errors import InputError, UsageError
from vidfill.train import pack as packing
from vidfill.train.data import is_held_back, load_data
from vidfill.train.pack import pack
from vidfill.train.picture_bank import PictureBank, held_back_pictures, training_pictures
from vidfill.train.picture_holes import HoleShapes, text
from vidfill.train.recipes import DataBudget

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shapes() -> HoleShapes:
    return HoleShapes(tiny_data().silhouettes, CPU)


def test_holes_have_all_sizes_and_are_never_empty_nor_the_whole(shapes: HoleShapes) -> None:
    torch.manual_seed(0)
    holes = shapes.draw(64, (64, 96))
    assert holes.shape == (64, 1, 64, 96)
    assert bool(((holes == 0) | (holes == 1)).all())
    share = holes.mean(dim=(1, 2, 3))
    assert 0.003 <= float(share.min()) < 0.02
    assert 0.2 < float(share.max()) <= 0.6
    assert 0.05 < float(share.mean()) < 0.25
    assert float((holes.mean(dim=0) > 0).float().mean()) > 0.95, "they are everywhere"


def test_a_seed_draws_the_same(shapes: HoleShapes) -> None:
    def drawn() -> torch.Tensor:
        torch.manual_seed(3)
        return shapes.draw(4, (32, 48))

    assert torch.equal(drawn(), drawn())


def test_text_is_thin() -> None:
    rng = np.random.default_rng(0)
    shares = [text(rng, 128).mean() for _ in range(30)]
    assert min(shares) > 0.01
    assert max(shares) < 0.4


def test_crops_show_the_picture_itself(shapes: HoleShapes) -> None:
    """A picture of two ramps tells where a crop was taken and how large it was."""
    y, x = np.mgrid[0:72, 0:100]
    ramps = torch.from_numpy(np.stack((x * 2, y * 2, 0 * x), axis=-1).astype(np.uint8))
    small = torch.zeros(30, 40, 3, dtype=torch.uint8)
    bank = PictureBank([small, ramps, ramps], shapes, CPU)
    torch.manual_seed(0)
    pictures = bank._cropped(torch.tensor([1] * 20), (48, 64), torch.rand(20, 4)) * 255 / 2
    across, down = pictures[:, 0].diff(dim=-1), pictures[:, 1].diff(dim=-2)
    zoom = down.mean(dim=(1, 2))
    assert 0.93 < float(zoom.min()) < float(zoom.max()) < 1.41
    assert torch.allclose(across.abs().mean(dim=(1, 2)), zoom, rtol=0.02), "the same across and down"
    assert (across.mean(dim=(1, 2)) < 0).any() and (across.mean(dim=(1, 2)) > 0).any(), "some are mirrored"
    assert bank._large_enough((48, 64)).tolist() == [1, 2], "the small one would have to be enlarged"
    assert bank._large_enough((96, 200)).tolist() == [0, 1, 2], "all, where all are small"


def test_pictures_are_photos_and_frames_of_clips() -> None:
    data = tiny_data()
    assert len(training_pictures(data)) == len(data.photos) + len(data.clips)
    assert len(held_back_pictures(data)) == len(data.held_back)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    names = [f"clip{i}.mp4" for i in range(200)]
    write_clip(folder / "street.mp4", n_frames=8, size=(48, 64))
    write_clip(folder / next(filter(is_held_back, names)), n_frames=8, size=(48, 64))
    rng = np.random.default_rng(0)

    def noise(height: int, width: int) -> np.ndarray:
        return rng.integers(0, 255, (height, width, 3), dtype=np.uint8)

    write_archive(folder / "photos.tar", {f"{i}.webp": noise(40, 56) for i in range(6)} | {"large.jpg": noise(96, 80)})
    write_archive(folder / "silhouettes.tar", {"0.png": np.full((20, 12), 255, np.uint8)})
    return folder


def _pack(sources: Path, out: Path, *, total_mib: float = 1.0, archive_mib: float = 1.0) -> list[Path]:
    return pack(
        [sources], out, total_mib=total_mib, archive_mib=archive_mib, every=4, short_side_px=48, quality=80
    )  # fmt: skip


def test_packed_pictures_are_what_training_reads(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LEAST_CHANGE", 0.0)
    files = _pack(sources, tmp_path / "packed")
    assert [file.name for file in files] == ["silhouettes_00.zip", "pictures_00.zip"]
    budget = DataBudget(short_side_px=48, frames_per_clip=9, n_photos=99, silhouette_px=32, enlarge=False)
    data = load_data([tmp_path / "packed"], budget, device=CPU)
    assert (len(data.clips), len(data.silhouettes)) == (0, 1)
    assert len(data.photos) == 7 + 2, "photos, and two frames of the clip"
    assert len(data.held_back_photos) == 2, "two frames of the one that is held back"
    sides = sorted(min(photo.shape[:2]) for photo in data.photos)
    assert sides == [40] * 6 + [48] * 3, "small ones stay as they are, large ones are reduced"


def test_archives_keep_to_their_sizes(sources: Path, tmp_path: Path) -> None:
    whole = sum(file.stat().st_size for file in _pack(sources, tmp_path / "whole"))
    files = _pack(sources, tmp_path / "small", archive_mib=8 / 1024, total_mib=whole / 2 / 2**20)
    assert len(files) > 2
    assert all(file.stat().st_size <= 8 * 1024 for file in files)
    assert sum(file.stat().st_size for file in files) <= whole / 2 + 100


def test_packing_says_what_it_cannot_do(tmp_path: Path, sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="not positive"):
        _pack(sources, tmp_path / "out", total_mib=0)
    assert packing.main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == InputError.exit_code
    assert "error: no training data at" in capsys.readouterr().err
    (tmp_path / "bad.zip").write_bytes(b"PK cut off")
    with pytest.raises(InputError, match="not a whole zip archive"):
        _pack(tmp_path / "bad.zip", tmp_path / "out")


def test_the_command_packs(sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert packing.main([str(sources), "--out", str(tmp_path / "out"), "--short-side", "32", "--every", "4"]) == 0
    assert cv2.imdecode(np.frombuffer((tmp_path / "out" / "pictures_00.zip").read_bytes(), np.uint8), 1) is None
    assert (tmp_path / "out" / "silhouettes_00.zip").is_file()
