"""Training data: decoded once, by OpenCV alone, into uint8 tensors that stay on the training device.

A path of `--data` is a video, an archive of photos (.tar or .zip), an archive of object shapes (silhouettes*.tar or
.zip), or a folder of these. 512x288 H.265 at the `gpu` recipe's size: about 300 frames a second and core, so that
25,000 frames take less than two minutes on one core and ten seconds on sixteen.
"""

from __future__ import annotations

import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.errors import InputError
from vidfill.train.recipe import DataBudget

_VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".avi")
HELD_BACK_ONE_IN = 16
# Pictures in this folder of an archive are for validation (`pack`).
HELD_BACK_FOLDER = "held_back/"


class ArchiveMember(NamedTuple):
    """A file of an archive: its name there, its bytes, and the archive."""

    name: str
    content: bytes
    archive: Path = Path()


@dataclass(frozen=True)
class TrainingData:
    """All that training looks at, on one device."""

    clips: tuple[Tensor, ...]  # (T, H, W, 3) uint8 RGB each, sizes differ
    held_back: tuple[Tensor, ...]  # likewise, for validation alone
    photos: tuple[Tensor, ...]  # (H, W, 3) uint8 RGB each
    silhouettes: Tensor  # (N, S, S) uint8, 1 inside the shape
    held_back_photos: tuple[Tensor, ...] = ()  # (H, W, 3) uint8 RGB each, for validation alone


def is_held_back(name: str) -> bool:
    """Whether a clip is for validation: by a hash of its name, so that the split never moves.

    The number at the end of a name (`..._03.mp4`) does not count, so that all parts of one video fall on the same side.
    """
    video = re.sub(r"_\d+$", "", Path(name).stem)
    return zlib.crc32(video.encode()) % HELD_BACK_ONE_IN == 0


def load_data(paths: Sequence[Path], budget: DataBudget, *, device: torch.device) -> TrainingData:
    """Decode everything under the paths, as far as the budget goes, on as many threads as torch has.

    Raises:
        InputError: a path that does not exist or cannot be read, or nothing to train on.
    """
    videos, photo_archives, shape_archives = training_files(paths)
    clips: list[Tensor] = []
    held_back: list[Tensor] = []
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        decoded = pool.map(lambda file: torch.from_numpy(_read_clip(file, budget)).to(device), videos)
        for file, clip in zip(videos, decoded, strict=True):
            (held_back if is_held_back(file.name) else clips).append(clip)
        members = _wanted(archive_members(photo_archives), budget.n_photos)
        decoded_photos = pool.map(lambda packed: torch.from_numpy(_photo(packed, budget)).to(device), members)
        photos: tuple[list[Tensor], list[Tensor]] = ([], [])
        for member, photo in zip(members, decoded_photos, strict=True):
            photos[member.name.startswith(HELD_BACK_FOLDER)].append(photo)
        shapes = list(pool.map(lambda packed: _fitted(packed, budget.silhouette_px), archive_members(shape_archives)))
    if not clips and not photos[0]:
        raise InputError("no clips and no photos to train on", todo="name folders with videos or archives of photos")
    stacked = np.stack(shapes) if shapes else np.zeros((0, budget.silhouette_px, budget.silhouette_px), np.uint8)
    silhouettes = torch.from_numpy(stacked).to(device)
    return TrainingData(tuple(clips), tuple(held_back), tuple(photos[0]), silhouettes, tuple(photos[1]))


def training_files(paths: Sequence[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """Videos, archives of photos and archives of object shapes at or under the paths, each sorted.

    Raises:
        InputError: a path that does not exist.
    """
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise InputError(f"no training data at {missing[0]}", todo="check the path")
    files = sorted(file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    archives = [file for file in files if file.suffix in (".tar", ".zip")]
    return (
        [file for file in files if file.suffix.lower() in _VIDEO_SUFFIXES],
        [file for file in archives if not file.name.startswith("silhouettes")],
        [file for file in archives if file.name.startswith("silhouettes")],
    )


def _read_clip(path: Path, budget: DataBudget) -> NDArray[np.uint8]:
    capture = cv2.VideoCapture(str(path))
    frames: list[NDArray[np.uint8]] = []
    while len(frames) < budget.frames_per_clip:
        is_read, picture = capture.read()
        if not is_read:
            break
        frames.append(_resized(np.asarray(picture[..., ::-1], np.uint8), budget.short_side_px))
    if not frames:
        raise InputError(f"no frame of {path} can be decoded", todo="take it out of the training data")
    return np.stack(frames)


def archive_members(archives: Iterable[Path]) -> Iterator[ArchiveMember]:
    """Every file of the archives (.tar or .zip), in their order.

    Raises:
        InputError: an archive that is damaged.
    """
    for archive in archives:
        try:
            if archive.suffix == ".zip":
                with zipfile.ZipFile(archive) as zipped:
                    for entry in zipped.infolist():
                        if not entry.is_dir():
                            yield ArchiveMember(entry.filename, zipped.read(entry), archive)
                continue
            with tarfile.open(archive) as tar:
                for member in tar:
                    file = tar.extractfile(member) if member.isfile() else None
                    if file is not None:
                        yield ArchiveMember(member.name, file.read(), archive)
        except (tarfile.TarError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{archive} is not a whole {archive.suffix[1:]} archive ({error})", todo="fetch it again"
            ) from error


def decoded_picture(packed: ArchiveMember) -> NDArray[np.uint8]:
    """(H, W, 3), RGB; `InputError` if the file is no picture."""
    picture = cv2.imdecode(np.frombuffer(packed.content, np.uint8), cv2.IMREAD_COLOR) if packed.content else None
    if picture is None:
        raise InputError(f"{packed.name} in {packed.archive} is no image", todo="take it out of the archive")
    return np.asarray(picture[..., ::-1], np.uint8)


def _wanted(members: Iterable[ArchiveMember], n_photos: int) -> list[ArchiveMember]:
    """The first so many members that are trained on, and all that are held back before them."""
    found: list[ArchiveMember] = []
    for member in members:
        n_photos -= not member.name.startswith(HELD_BACK_FOLDER)
        if n_photos < 0:
            break
        found.append(member)
    return found


def _photo(packed: ArchiveMember, budget: DataBudget) -> NDArray[np.uint8]:
    picture = decoded_picture(packed)
    if not budget.enlarge and min(picture.shape[:2]) <= budget.short_side_px:
        return np.ascontiguousarray(picture)
    return _resized(picture, budget.short_side_px)


def _resized(picture: NDArray[np.uint8], short_side_px: int) -> NDArray[np.uint8]:
    scale = short_side_px / min(picture.shape[:2])
    if scale == 1:
        return np.ascontiguousarray(picture)
    size_wh = tuple(max(short_side_px, round(side * scale)) for side in picture.shape[1::-1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(picture), size_wh, interpolation=how), np.uint8)


def _fitted(packed: ArchiveMember, side_px: int) -> NDArray[np.uint8]:
    """A shape (white on black) scaled into the middle of a square, 1 inside it."""
    shape = (decoded_picture(packed).max(axis=2) > 127).astype(np.uint8)
    scale = side_px / max(shape.shape)
    size_wh = tuple(min(side_px, max(1, round(side * scale))) for side in shape.shape[::-1])
    small = cv2.resize(shape * 255, size_wh, interpolation=cv2.INTER_AREA) > 127
    top, left = (side_px - size_wh[1]) // 2, (side_px - size_wh[0]) // 2
    square = np.zeros((side_px, side_px), np.uint8)
    square[top : top + size_wh[1], left : left + size_wh[0]] = small
    return square
