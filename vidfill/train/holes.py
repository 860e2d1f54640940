"""The holes of training clips: the paper's four kinds, standing still or moving like the objects people remove.

What is random about a hole is drawn per sample in numpy (`draw_hole`); the pixels are made on the device, a whole batch
at a time (`render_holes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from numpy.typing import NDArray
from torch import Tensor

from vidfill.train.motion import Matrices, Series, pixel_grid, similarity, smooth_path, translation

HoleKind = Literal["square", "flying square", "strokes", "object"]
KINDS: tuple[HoleKind, ...] = ("square", "flying square", "strokes", "object")

# A mask is dilated by blurring it over this many pixels and cutting at less than one half.
_BLUR_PX = 9


@dataclass(frozen=True, slots=True)
class HoleRanges:
    """Ranges that the holes are drawn from; "speed" is the standard deviation of the change from frame to frame."""

    min_area: float = 0.02  # ratio of the frame that the shape covers
    max_area: float = 0.2
    speed_px: float = 2.5
    zoom_speed: float = 0.01  # of the logarithm of the size
    roll_speed: float = 0.01  # of the angle, in radians
    wave: float = 0.04  # amplitude of the deformation, over the shape's side
    moving_ratio: float = 0.6  # of the strokes and objects; squares stand still, flying squares move
    ragged_ratio: float = 0.5  # of the holes whose outline is dilated by another amount in each frame


class HolePath(NamedTuple):
    """One sample's hole through time."""

    kind: HoleKind
    shape: Tensor  # (S, S) uint8, 1 inside
    motion: Matrices  # (T, 3, 3), affine, from pixels of the frame to pixels of `shape`
    wave: NDArray[np.float64]  # (T, 2), amplitude in pixels of `shape` and phase of a sine that shifts its rows
    cut: Series  # the level at which the blurred mask is cut: 0.5 leaves it as it is, less dilates it

    def at(self, times: NDArray[np.int64]) -> HolePath:
        """The same hole, seen at some of its frames only."""
        return self._replace(motion=self.motion[times], wave=self.wave[times], cut=self.cut[times])


def draw_hole(
    rng: np.random.Generator,
    n_frames: int,
    size: tuple[int, int],
    silhouettes: Tensor,
    *,
    ranges: HoleRanges = HoleRanges(),  # noqa: B008 - frozen
    kinds: tuple[HoleKind, ...] = KINDS,
) -> HolePath:
    """Draw one hole for a clip of (height, width) frames, of any of the kinds, all equally likely.

    `silhouettes` are (N, S, S) uint8; without any, the kind "object" is left out.
    """
    usable = [kind for kind in kinds if kind != "object" or len(silhouettes)]
    kind = usable[rng.integers(len(usable))]
    is_square = kind in ("square", "flying square")
    side = silhouettes.shape[-1]
    shape = _shape(rng, kind, side, silhouettes)
    moves = kind == "flying square" or (not is_square and rng.random() < ranges.moving_ratio)
    motion = _motion(rng, n_frames, size, shape, ranges, moves=moves, is_square=is_square)
    bends = moves and not is_square
    amplitude = rng.uniform(0, ranges.wave) * side if bends else 0.0
    phase = smooth_path(rng, n_frames, speed=0.3)
    cut = np.full(n_frames, 0.5)
    if not is_square and rng.random() < ranges.ragged_ratio:
        cut = rng.uniform(0.1, 0.5, n_frames) if moves else np.full(n_frames, rng.uniform(0.1, 0.5))
    return HolePath(kind, shape, motion, np.stack((np.full(n_frames, amplitude), phase), axis=1), cut)


def render_holes(paths: list[HolePath], size: tuple[int, int], *, device: torch.device) -> Tensor:
    """The holes of a batch: (B, T, 1, H, W) float, 1 = missing.

    All paths have the same number of frames; `size` is (height, width).
    """
    (height, width), n_frames = size, len(paths[0].cut)
    shapes = torch.stack([path.shape.to(device) for path in paths]).unsqueeze(1).float()
    side = shapes.shape[-1]
    motion = torch.from_numpy(np.stack([path.motion for path in paths])).float().to(device)
    wave = torch.from_numpy(np.stack([path.wave for path in paths])).float().to(device)
    cut = torch.from_numpy(np.stack([path.cut for path in paths])).float().to(device)

    points = pixel_grid(height, width, device)
    at = torch.einsum("btij,pj->btpi", motion[:, :, :2], points)
    bend = wave[..., :1] * torch.sin(at[..., 1] * (4 * torch.pi / side) + wave[..., 1:])
    at = torch.stack((at[..., 0] + bend, at[..., 1]), dim=-1)
    grid = (at * (2 / (side - 1)) - 1).reshape(len(paths), n_frames * height, width, 2)
    soft = F.grid_sample(shapes, grid, align_corners=True).view(len(paths), n_frames, height, width)
    sharp = (soft > 0.5).float()
    half = _BLUR_PX // 2
    blurred = F.avg_pool2d(sharp, (_BLUR_PX, 1), stride=1, padding=(half, 0), count_include_pad=False)
    blurred = F.avg_pool2d(blurred, (1, _BLUR_PX), stride=1, padding=(0, half), count_include_pad=False)
    cut = cut.view(len(paths), n_frames, 1, 1)
    return torch.where(cut < 0.5, torch.maximum((blurred > cut).float(), sharp), sharp).unsqueeze(2)


def _shape(rng: np.random.Generator, kind: HoleKind, side: int, silhouettes: Tensor) -> Tensor:
    if kind == "object":
        shape = silhouettes[rng.integers(len(silhouettes))]
        return shape.flip(-1) if rng.random() < 0.5 else shape
    if kind == "strokes":
        return torch.from_numpy(strokes(rng, side))
    return torch.ones(side, side, dtype=torch.uint8)


def strokes(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """Thick polylines that turn at random."""
    canvas = np.zeros((side, side), np.uint8)
    for _ in range(rng.integers(1, 5)):
        point = rng.uniform(0.2, 0.8, 2) * side
        angle = rng.uniform(0, 2 * np.pi)
        thickness = int(rng.uniform(0.06, 0.2) * side) + 1
        for _ in range(rng.integers(3, 9)):
            angle += rng.normal(scale=0.8)
            to = point + rng.uniform(0.1, 0.3) * side * np.array([np.cos(angle), np.sin(angle)])
            to = np.clip(to, 0.1 * side, 0.9 * side)
            cv2.line(canvas, point.astype(int).tolist(), to.astype(int).tolist(), 1, thickness)
            point = to
    return canvas


def _motion(
    rng: np.random.Generator,
    n_frames: int,
    size: tuple[int, int],
    shape: Tensor,
    ranges: HoleRanges,
    *,
    moves: bool,
    is_square: bool,
) -> Matrices:
    height, width = size
    side = shape.shape[-1]
    filled = max(float(shape.float().mean()), 1e-3)
    area = np.square(rng.uniform(np.sqrt(ranges.min_area), np.sqrt(ranges.max_area)))
    scale = np.sqrt(area * height * width / filled) / side
    stretch = np.exp(rng.uniform(-0.4, 0.4)) if is_square else np.exp(rng.uniform(-0.2, 0.2))
    speed = ranges.speed_px * float(moves)
    # Whole squares stay inside; other shapes may leave by half.
    margin = 0.5 * side * scale * max(stretch, 1 / stretch) if is_square else 0.1 * min(size)
    x = rng.uniform(min(margin, width / 2), max(width - margin, width / 2)) + smooth_path(rng, n_frames, speed=speed)
    y = rng.uniform(min(margin, height / 2), max(height - margin, height / 2)) + smooth_path(rng, n_frames, speed=speed)
    onto_frame = similarity(
        shift_x=_folded(x, margin, width - margin),
        shift_y=_folded(y, margin, height - margin),
        log_zoom=smooth_path(rng, n_frames, speed=ranges.zoom_speed * float(moves and not is_square)),
        roll=smooth_path(rng, n_frames, speed=ranges.roll_speed * float(moves and not is_square)),
    )
    centred = np.diag([scale * stretch, scale / stretch, 1.0]) @ translation(-(side - 1) / 2, -(side - 1) / 2)
    return np.asarray(np.linalg.inv(onto_frame @ centred))


def _folded(path: Series, low: float, high: float) -> Series:
    """A path that turns back at the limits."""
    span = high - low
    if span <= 0:
        return np.full_like(path, (low + high) / 2)
    return low + span - np.abs((path - low) % (2 * span) - span)
