"""Archives of pictures that training can read."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.train.test_data import write_archive, write_clip
from vidfill.errors import InputError, UsageError
from vidfill.train import pack as packing
from vidfill.train.data import is_held_back, load_data
from vidfill.train.pack import pack
from vidfill.train.recipe import DataBudget

CPU = torch.device("cpu")


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
    monkeypatch.setattr(packing, "MIN_CHANGE", 0.0)
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
