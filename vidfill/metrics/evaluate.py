"""The quality protocol: holes that depend on nothing but the clips, and the scores of a filler over them.

A clip is a folder with `frames/` (JPEG or PNG) and `masks/` (PNG, of the object in it). Protocol "S" cuts one
stationary free-form hole into a clip, protocol "O" the moving silhouette of another clip's object. The truth is known
in both, since it is the clip itself. Frames are 432x240, as in the tables of STTN, E2FGVI and ProPainter.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import InputError
from vidfill.metrics.quality import psnr, ssim
from vidfill.metrics.temporal import warp_error

Frame = NDArray[np.uint8]
Hole = NDArray[np.bool_]
Protocol = Literal["S", "O"]
Filler = Callable[[Sequence[Frame], Sequence[Hole]], Iterable[Frame]]

HEIGHT, WIDTH = 240, 432
SSIM_EVERY = 5  # SSIM is slow and changes little from frame to frame


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip with its truth: `frames` uint8 RGB (H, W, 3), `holes` bool (H, W), as many."""

    name: str
    frames: list[Frame]
    holes: list[Hole]


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over the frames that have a hole.

    Attributes:
        psnr: dB, over the whole frame.
        ssim: in [-1, 1], over the whole frame, every fifth one.
        hole_psnr: dB, inside the hole.
        warp_error: times 1,000 (`metrics.temporal`).
        seconds: a frame.
    """

    psnr: float
    ssim: float
    hole_psnr: float
    warp_error: float
    seconds: float


def clip_names(root: Path) -> list[str]:
    """The clips of a folder, sorted.

    Raises:
        InputError: there is none.
    """
    names = sorted(folder.name for folder in root.iterdir() if (folder / "masks").is_dir()) if root.is_dir() else []
    if not names:
        raise InputError(f"no clips in {root}", expected="folders that hold frames/ and masks/")
    return names


def load_clip(root: Path, name: str, protocol: Protocol, *, n_frames: int) -> Clip:
    """The first frames of a clip with the protocol's holes.

    Raises:
        InputError: a frame cannot be read, or there are none.
    """
    folder = root / name / "frames"
    files = sorted([*folder.glob("*.jpg"), *folder.glob("*.png")])[:n_frames]
    frames = [_resized(_read(file, cv2.IMREAD_COLOR_RGB), cv2.INTER_AREA) for file in files]
    if not frames:
        raise InputError(f"no frames in {folder}", expected="JPEG or PNG files")
    if protocol == "S":
        return Clip(name, frames, [stationary_hole(name)] * len(frames))
    return Clip(name, frames, moving_holes(root, name, n_frames=len(frames)))


def stationary_hole(name: str) -> Hole:
    """A smooth random shape that covers 5 to 25 % of the frame, seeded by the clip's name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    while True:
        height = int(rng.integers(HEIGHT // 3, HEIGHT))
        width = int(rng.integers(WIDTH // 3, WIDTH))
        corners = np.sort(rng.uniform(0, 2 * np.pi, 9))
        radii = rng.uniform(0.25, 1.0, 9)
        angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
        around = np.concatenate([corners - 2 * np.pi, corners, corners + 2 * np.pi])
        radius = np.interp(angle, around, np.tile(radii, 3))
        radius = np.convolve(np.tile(radius, 3), np.ones(15) / 15, "same")[200:400]
        y = rng.integers(height // 2, HEIGHT - height // 2 + 1)
        x = rng.integers(width // 2, WIDTH - width // 2 + 1)
        outline = np.stack([x + radius * np.cos(angle) * width / 2, y + radius * np.sin(angle) * height / 2], 1)
        hole = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.fillPoly(hole, [outline.round().astype(np.int32)], (1,))
        if 0.05 < hole.mean() < 0.25:
            return hole > 0


def moving_holes(root: Path, name: str, *, n_frames: int) -> list[Hole]:
    """The object masks of the clip three places on in sorted order, grown by 5x5, played forth, back and forth."""
    names = clip_names(root)
    other = names[(names.index(name) + 3) % len(names)]
    files = sorted((root / other / "masks").glob("*.png"))[:n_frames]
    kernel = np.ones((5, 5), np.uint8)
    holes = []
    for file in files:
        mask = _resized(_read(file, cv2.IMREAD_GRAYSCALE), cv2.INTER_NEAREST)
        holes.append(cv2.dilate((mask > 0).astype(np.uint8), kernel) > 0)
    return (holes + holes[::-1] + holes)[:n_frames]


def evaluate(filler: Filler, clip: Clip) -> tuple[Scores, list[Frame]]:
    """Give a filler the clip with its holes black, and score what it makes of it.

    Args:
        filler: takes frames and holes, gives as many frames; only what lies inside the holes is used.
        clip: what is to be filled.

    Returns:
        The scores and the composited frames.

    Raises:
        ValueError: the filler gave another number of frames.
    """
    given = [np.where(hole[..., None], np.uint8(0), frame) for frame, hole in zip(clip.frames, clip.holes, strict=True)]
    start = time.perf_counter()
    filled = list(filler(given, clip.holes))
    seconds = (time.perf_counter() - start) / len(given)
    output = [np.where(h[..., None], o, f) for o, f, h in zip(filled, clip.frames, clip.holes, strict=True)]
    return _score(output, clip, seconds), output


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of each column over the clips."""
    columns = ("psnr", "ssim", "hole_psnr", "warp_error", "seconds")
    return Scores(*(float(np.mean([getattr(row, column) for row in scores])) for column in columns))


def telea(frames: Sequence[Frame], holes: Sequence[Hole]) -> Iterable[Frame]:
    """OpenCV's spatial inpainting of each frame on its own: what every filler must beat."""
    for frame, hole in zip(frames, holes, strict=True):
        yield np.asarray(cv2.inpaint(frame, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA), np.uint8)


def _score(output: list[Frame], clip: Clip, seconds: float) -> Scores:
    whole, similar, inside = [], [], []
    for index, (frame, truth, hole) in enumerate(zip(output, clip.frames, clip.holes, strict=True)):
        if not hole.any():
            continue
        whole.append(psnr(frame, truth))
        inside.append(psnr(frame, truth, hole))
        if index % SSIM_EVERY == 0:
            similar.append(ssim(frame, truth))
    return Scores(
        float(np.mean(whole)),
        float(np.mean(similar)),
        float(np.mean(inside)),
        1000 * warp_error(output, clip.frames),
        seconds,
    )


def _resized(image: NDArray[np.uint8], interpolation: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (WIDTH, HEIGHT), interpolation=interpolation), np.uint8)


def _read(file: Path, flags: int) -> NDArray[np.uint8]:
    image = cv2.imread(str(file), flags)
    if image is None:
        raise InputError(f"cannot read {file}", expected="a JPEG or PNG picture")
    return image.astype(np.uint8, copy=False)
