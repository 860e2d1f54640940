"""The quality protocol: holes that depend on nothing but the clips.

A clip is a folder with `frames/` (JPEG or PNG) and `masks/` (PNG, of the object in it). Protocol "S" cuts one
stationary free-form hole into a clip, protocol "O" the moving silhouette of another clip's object. The truth is known
in both, since it is the clip itself. Frames are 432x240, as in the tables of STTN, E2FGVI and ProPainter.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import InputError, MaskError, UsageError
from vidfill.video.frame import Bool

ProtocolName = Literal["S", "O"]
Frames = Sequence[NDArray[np.uint8]]  # (H, W, 3), RGB

HEIGHT, WIDTH = 240, 432
GROWN_BY = (5, 5)  # masks of objects, in pixels of the protocol's size


@dataclass(frozen=True, slots=True)
class EvaluationClip:
    """A clip: `frames` uint8 RGB (H, W, 3), `holes` bool (H, W), as many."""

    name: str
    frames: list[NDArray[np.uint8]]
    holes: list[Bool]

    def given(self) -> list[NDArray[np.uint8]]:
        """What a model is shown: the frames, black inside their holes."""
        return [np.where(hole[..., None], np.uint8(0), f) for f, hole in zip(self.frames, self.holes, strict=True)]

    def composited(self, filled: Frames) -> list[NDArray[np.uint8]]:
        """The fill inside the holes, the clip's own frames outside."""
        parts = zip(filled, self.frames, self.holes, strict=True)
        return [np.where(hole[..., None], fill, frame) for fill, frame, hole in parts]


def clip_names(root: Path) -> list[str]:
    """The clips of a folder, sorted; `InputError` where there is none."""
    names = sorted(folder.name for folder in root.iterdir() if (folder / "masks").is_dir()) if root.is_dir() else []
    if not names:
        raise InputError(f"no clips in {root}", expected="folders that hold frames/ and masks/")
    return names


def chosen_clips(root: Path, only: Sequence[str]) -> tuple[str, ...]:
    """The clips to run: all of the folder, or those that are named, in the folder's order.

    Raises:
        UsageError: a name that is none of them.
    """
    names = clip_names(root)
    unknown = [name for name in only if name not in names]
    if unknown:
        raise UsageError(f"no clip {unknown[0]!r} in {root}", expected="one of " + ", ".join(names))
    return tuple(name for name in names if name in only) if only else tuple(names)


def check_clip(root: Path, name: str, protocols: Sequence[ProtocolName], *, n_frames: int) -> int:
    """Check before the work starts whether a clip has what its protocols need (none: a removal).

    Returns the number of frames that will be used.

    Raises:
        InputError: no frames.
        MaskError: too few masks.
    """
    n = len(_frame_files(root, name)[:n_frames])
    if n == 0:
        raise InputError(f"no frames in {root / name / 'frames'}", expected="JPEG or PNG files")
    owners = [(name, 1)] if not protocols else [(_third_on(root, name), 3)] if "O" in protocols else []
    for owner, n_times in owners:
        n_masks = len(_mask_files(root, owner))
        if n_masks * n_times < n:
            raise MaskError(
                f"{n_masks} masks in {root / owner / 'masks'} for {n} frames of {name}",
                expected=f"{-(-n // n_times)} or more PNG files",
                todo="add the missing ones, or score fewer frames with --frames",
            )
    return n


def load_clip(root: Path, name: str, protocol: ProtocolName, *, n_frames: int) -> EvaluationClip:
    """The first frames of a clip with the protocol's holes.

    Raises:
        InputError: a frame or a mask cannot be read, or there are no frames.
        MaskError: no frame has a hole.
    """
    frames = _load_frames(root, name, n_frames)
    if protocol == "S":
        return EvaluationClip(name, frames, [stationary_hole(name)] * len(frames))
    return _with_holes(EvaluationClip(name, frames, moving_holes(root, name, n_frames=len(frames))))


def load_removal(root: Path, name: str, *, n_frames: int) -> EvaluationClip:
    """The first frames of a clip with the masks of its own object, grown by 5x5; errors as `load_clip`."""
    frames = _load_frames(root, name, n_frames)
    return _with_holes(EvaluationClip(name, frames, _object_holes(root, name, len(frames))))


def stationary_hole(name: str) -> Bool:
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


def moving_holes(root: Path, name: str, *, n_frames: int) -> list[Bool]:
    """The object masks of the clip three places on in sorted order, grown by 5x5, played forth, back and forth."""
    holes = _object_holes(root, _third_on(root, name), n_frames)
    return (holes + holes[::-1] + holes)[:n_frames]


def _third_on(root: Path, name: str) -> str:
    names = clip_names(root)
    return names[(names.index(name) + 3) % len(names)]


def _object_holes(root: Path, name: str, n_frames: int) -> list[Bool]:
    kernel = np.ones(GROWN_BY, np.uint8)
    files = _mask_files(root, name)[:n_frames]
    masks = [_read(file, cv2.IMREAD_GRAYSCALE, cv2.INTER_NEAREST) for file in files]
    return [cv2.dilate((mask > 0).astype(np.uint8), kernel) > 0 for mask in masks]


def _load_frames(root: Path, name: str, n_frames: int) -> list[NDArray[np.uint8]]:
    files = _frame_files(root, name)[:n_frames]
    if not files:
        raise InputError(f"no frames in {root / name / 'frames'}", expected="JPEG or PNG files")
    return [_read(file, cv2.IMREAD_COLOR_RGB, cv2.INTER_AREA) for file in files]


def _frame_files(root: Path, name: str) -> list[Path]:
    folder = root / name / "frames"
    return sorted([*folder.glob("*.jpg"), *folder.glob("*.png")])


def _mask_files(root: Path, name: str) -> list[Path]:
    return sorted((root / name / "masks").glob("*.png"))


def _with_holes(clip: EvaluationClip) -> EvaluationClip:
    if not any(hole.any() for hole in clip.holes):
        raise MaskError(f"the masks for clip {clip.name} are black everywhere", expected="white where something is cut")
    return clip


def _read(file: Path, flags: int, interpolation: int) -> NDArray[np.uint8]:
    image = cv2.imread(str(file), flags)
    if image is None:
        raise InputError(f"cannot read {file}", expected="a JPEG or PNG picture")
    return np.asarray(cv2.resize(image, (WIDTH, HEIGHT), interpolation=interpolation), np.uint8)
