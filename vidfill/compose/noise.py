"""Measures the noise of a video around a hole: the difference of frames after motion compensation.

Small known blocks around the hole are compared with the next frame, each where it has moved to. The noise is the
difference of the quietest blocks (others change or cannot be tracked), and at most the detail of the flattest blocks of
the frame itself. A still picture has no noise, however fine its texture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.compose.grain import RADIUS_PX, bands
from vidfill.video.color import rgb_crop
from vidfill.video.frame import Box, Float, Frame, Patch, VideoInfo

_CORE_PX = 12  # of a block, where its detail is measured
_BLOCK_PX = _CORE_PX + 2 * RADIUS_PX
_STEP_PX = 12
_REACH_PX = 48  # of the surroundings
_MAX_BLOCKS, _MIN_BLOCKS = 32, 4
_QUIETEST, _QUIET = 0.1, 0.3  # quantiles of the variance over all blocks
# For pure noise, in each band: ratios of the first quantile to the true variance and to the second quantile.
_QUIETEST_RATIO = np.array([[0.84], [0.75]], np.float32)
_EVENNESS = np.array([[0.9], [0.85]], np.float32)
_REPEAT = 0.2 / 255  # frames that differ less repeat a picture
_LK_WINDOW_PX = (15, 15)
_LK_LEVELS = 3
_SEARCH_PX = 32  # beyond the blocks, for the coarser levels


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a frame."""

    variances: Float = field(repr=False)  # (2, 3), of the `bands` of `vidfill.compose.grain`
    seed: int  # of its pattern; frames that repeat a picture have the same


class NoiseMeter:
    """Measures the noise of one frame after another."""

    def __init__(self, info: VideoInfo) -> None:
        self._info = info
        self._last: Noise | None = None
        self._repeats = False

    def measure(self, frame: Frame, patch: Patch | None, following: Frame | None) -> Noise | None:
        """The noise of the next frame; None without a patch or with too few known blocks around it.

        `following` is the frame after it, None at the end of a scene.
        """
        if patch is None:
            self._last, self._repeats = None, False
            return None
        places = _places(patch, self._info)
        if len(places) < _MIN_BLOCKS:
            return None
        last, repeats = self._last, self._repeats
        here = _blocks(frame, self._info, places)
        changes = None
        if following is not None:
            changes = _changes(here, frame, following, self._info, places)
        self._repeats = changes is not None and float(np.abs(changes.still).mean()) < _REPEAT
        if last is not None and repeats:
            noise = last
        elif changes is not None and not self._repeats:
            noise = Noise(np.minimum(_quietest(changes.energies()), _quietest(_energies(here))), frame.index)
        elif last is not None:
            noise = Noise(last.variances, frame.index)
        elif changes is not None:
            noise = Noise(np.zeros((2, 3), np.float32), frame.index)
        else:
            # A single picture does not distinguish noise from texture.
            noise = Noise(_quietest(_energies(here)), frame.index)
        self._last = noise if changes is not None else None
        return noise


def with_noise(
    pairs: Iterable[tuple[Frame, Patch | None]], info: VideoInfo, scene_starts: Sequence[int]
) -> Iterator[tuple[Frame, Patch | None, Noise | None]]:
    """Add its noise to each frame and patch, reading one frame ahead; `scene_starts` are frame indices."""
    meter, first = NoiseMeter(info), frozenset(scene_starts)
    before: tuple[Frame, Patch | None] | None = None
    for pair in chain(pairs, [None]):
        if before is not None:
            follows = pair is not None and pair[0].index not in first
            noise = meter.measure(*before, pair[0] if pair is not None and follows else None)
            yield *before, noise
        before = pair


def _places(patch: Patch, info: VideoInfo) -> NDArray[np.intp]:
    """(N, 2): corners (x, y) of known blocks around the hole, evenly spread."""
    region = patch.box.grow(_REACH_PX, height=info.height, width=info.width)
    if region.height < _BLOCK_PX or region.width < _BLOCK_PX:
        return np.zeros((0, 2), np.intp)
    hole = np.zeros((region.height, region.width), np.uint8)
    y0, x0 = patch.box.y0 - region.y0, patch.box.x0 - region.x0
    hole[y0 : y0 + patch.box.height, x0 : x0 + patch.box.width] = patch.alpha > 0
    sums = cv2.integral(hole)
    y, x = np.mgrid[0 : region.height - _BLOCK_PX + 1 : _STEP_PX, 0 : region.width - _BLOCK_PX + 1 : _STEP_PX]
    inside = sums[y + _BLOCK_PX, x + _BLOCK_PX] - sums[y, x + _BLOCK_PX] - sums[y + _BLOCK_PX, x] + sums[y, x]
    free = np.flatnonzero(inside == 0)
    free = free[np.linspace(0, free.size - 1, min(free.size, _MAX_BLOCKS)).astype(np.intp)]
    return np.stack([x.ravel()[free] + region.x0, y.ravel()[free] + region.y0], axis=1)


def _blocks(frame: Frame, info: VideoInfo, places: NDArray[np.intp]) -> Float:
    """(N, b, b, 3) RGB."""
    return np.stack([rgb_crop(frame, info, Box(x, y, x + _BLOCK_PX, y + _BLOCK_PX)) for x, y in places.tolist()])


class _Changes(NamedTuple):
    """Differences of blocks from the following frame."""

    still: Float  # (N, b, b, 3), at the same place
    moved: Float  # (N, b, b, 3), where they have moved to
    gain: Float  # (N,), ratio of the variance of white noise that interpolation there keeps

    def energies(self) -> Float:
        """(N, 2, 3): variance of one frame, from the smaller difference of each block."""
        still, moved = _energies(self.still) / 2, _energies(self.moved) / 2
        moved[:, 0] *= 2 / (1 + self.gain[:, None])
        is_still = still[..., 0].sum(axis=1) <= moved[..., 0].sum(axis=1)
        return np.where(is_still[:, None, None], still, moved)


def _changes(here: Float, frame: Frame, following: Frame, info: VideoInfo, places: NDArray[np.intp]) -> _Changes:
    moves = _moves(frame, following, info, places)
    whole = np.floor(moves).astype(np.intp)
    part = moves - whole
    limit = np.array([info.width, info.height]) - _BLOCK_PX - 2
    corners = places + whole - 1  # cubic interpolation looks one pixel back and two ahead
    fits = ((corners >= 0) & (corners + 1 <= limit)).all(axis=1)
    there = _blocks(following, info, places)
    moved, gain = there.copy(), np.ones(len(places), np.float32)
    side = _BLOCK_PX + 3
    for i in np.flatnonzero(fits).tolist():
        x, y = corners[i].tolist()
        crop = rgb_crop(following, info, Box(x, y, x + side, y + side))
        columns, rows = _cubic(float(part[i, 0])), _cubic(float(part[i, 1]))
        # Pixel 1 of the crop is the block's first.
        smooth = cv2.sepFilter2D(crop, -1, columns, rows, anchor=(1, 1), borderType=cv2.BORDER_REPLICATE)
        moved[i] = smooth[1 : 1 + _BLOCK_PX, 1 : 1 + _BLOCK_PX]
        gain[i] = (columns**2).sum() * (rows**2).sum()
    return _Changes(here - there, here - moved, gain)


def _cubic(shift: float) -> Float:
    """Catmull-Rom weights of the four samples around a point `shift` (0 to 1) after the second."""
    t = np.abs(np.array([1 + shift, shift, 1 - shift, 2 - shift], np.float32))
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.asarray(np.where(t <= 1, near, far), np.float32)


def _moves(frame: Frame, following: Frame, info: VideoInfo, places: NDArray[np.intp]) -> Float:
    """(N, 2): motion of each block in pixels, 0 where unknown."""
    (x0, y0), (x1, y1) = places.min(axis=0).tolist(), places.max(axis=0).tolist()
    area = Box(x0, y0, x1 + _BLOCK_PX, y1 + _BLOCK_PX).grow(_SEARCH_PX, height=info.height, width=info.width)
    shift = max(0, info.pixel_format.depth - 8)
    first, second = ((f.planes[0][area.slices] >> shift).astype(np.uint8) for f in (frame, following))
    start = (places - (area.x0, area.y0) + (_BLOCK_PX - 1) / 2).astype(np.float32)[:, None]
    end, found, _ = cv2.calcOpticalFlowPyrLK(
        first, second, start, start.copy(), winSize=_LK_WINDOW_PX, maxLevel=_LK_LEVELS
    )
    moves = (end - start)[:, 0]
    return np.where((found.ravel() > 0)[:, None] & np.isfinite(moves), moves, 0).astype(np.float32)


def _energies(blocks: Float) -> Float:
    """(N, 2, 3): variance of the two bands of each block."""
    # One above the other: in the middle of a block the kernels do not reach its neighbours.
    strip = bands(blocks.reshape(-1, _BLOCK_PX, 3))
    core = slice(RADIUS_PX, RADIUS_PX + _CORE_PX)
    cut = [band.reshape(-1, _BLOCK_PX, _BLOCK_PX, 3)[:, core, core] for band in strip]
    return np.stack([np.square(band).mean(axis=(1, 2)) for band in cut], axis=1)


def _quietest(energies: Float) -> Float:
    """(2, 3): variance of the quietest blocks, reduced where they are much quieter than the others."""
    quietest, quiet = np.quantile(energies, (_QUIETEST, _QUIET), axis=0)
    evenness = np.minimum(quietest / np.maximum(quiet, 1e-12) / _EVENNESS, 1)
    return np.asarray(quietest / _QUIETEST_RATIO * evenness**2, np.float32)
