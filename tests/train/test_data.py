"""The split never moves; what is decoded is what was written."""

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vidfill.errors import InputError
from vidfill.train.data import HELD_BACK_ONE_IN, is_held_back, load_data
from vidfill.train.recipe import DataBudget

BUDGET = DataBudget(short_side_px=32, frames_per_clip=5, n_photos=3, silhouette_px=16)
CPU = torch.device("cpu")


def write_clip(path: Path, *, n_frames: int = 8, size: tuple[int, int] = (48, 64)) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (size[1], size[0]))
    for t in range(n_frames):
        frame = np.zeros((*size, 3), np.uint8)
        frame[:, : size[1] // 2] = (0, 0, 10 * t + 40)  # OpenCV's order: this is red
        writer.write(frame)
    writer.release()


def write_archive(path: Path, pictures: dict[str, np.ndarray]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, picture in pictures.items():
            content = cv2.imencode(Path(name).suffix, picture)[1].tobytes()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_the_split_is_by_name_and_never_moves() -> None:
    names = [f"walk{i}_abc_00.mp4" for i in range(60)]
    assert [i for i, name in enumerate(names) if is_held_back(name)] == [18, 19]
    assert 0.5 / HELD_BACK_ONE_IN < sum(is_held_back(f"{i}.mp4") for i in range(2000)) / 2000 < 2 / HELD_BACK_ONE_IN


def test_all_parts_of_one_video_fall_on_the_same_side() -> None:
    for video in range(50):
        assert len({is_held_back(f"video_1/street{video}_{part:02}.mp4") for part in range(4)}) == 1


def test_clips_photos_and_shapes_are_decoded_to_one_size(tmp_path: Path) -> None:
    held = next(f"c{i}.mp4" for i in range(100) if is_held_back(f"c{i}.mp4"))
    kept = next(f"c{i}.mp4" for i in range(100) if not is_held_back(f"c{i}.mp4"))
    for name in (held, kept):
        write_clip(tmp_path / name)
    blue = np.zeros((64, 96, 3), np.uint8)
    blue[..., 0] = 200
    write_archive(tmp_path / "photos.tar", {f"{i}.png": blue for i in range(5)})
    shape = np.zeros((10, 40), np.uint8)
    shape[:, :20] = 255
    write_archive(tmp_path / "silhouettes.tar", {"folder/0.png": shape})
    data = load_data([tmp_path], BUDGET, device=CPU)

    assert len(data.clips) == len(data.held_back) == 1
    assert data.clips[0].shape == (5, 32, 43, 3)
    red = data.clips[0][:, 8:24, 4:16].float().mean(dim=(1, 2))
    assert torch.allclose(red[:, 0], 40 + 10 * torch.arange(5.0), atol=12)
    assert red[:, 1:].max() < 12
    assert [tuple(photo.shape) for photo in data.photos] == [(32, 48, 3)] * 3
    assert data.photos[0][0, 0].tolist() == [0, 0, 200]
    assert data.silhouettes.shape == (1, 16, 16)
    assert data.silhouettes.sum() == 4 * 8, "a 10 x 20 shape in a 10 x 40 picture, at 2 / 5"


def test_bad_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_data([tmp_path / "nowhere"], BUDGET, device=CPU)
    with pytest.raises(InputError, match="nothing|no clips"):
        load_data([tmp_path], BUDGET, device=CPU)
    (tmp_path / "photos.tar").write_bytes(b"not a tar archive" * 100)
    with pytest.raises(InputError, match="tar"):
        load_data([tmp_path], BUDGET, device=CPU)
    (tmp_path / "photos.tar").unlink()
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match="a.mp4"):
        load_data([tmp_path], BUDGET, device=CPU)
