"""Puts a patch into the planes of its frame: level at the seam, grain, feather. Outside the mask nothing changes."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.compose.grain import add_missing
from vidfill.compose.noise import Noise
from vidfill.compose.seam import match_rim
from vidfill.settings import ComposeSettings
from vidfill.video.color import paste_rgb, rgb_crop
from vidfill.video.frame import Bool, Box, Frame, Patch, VideoInfo

_RING_PX = 24  # around the hole, for the seam and the grain
_CELL_PX = 8  # of the grid on which parts of a hole are joined

_T = TypeVar("_T", bound=np.generic)


def compose(frame: Frame, info: VideoInfo, patch: Patch, settings: ComposeSettings, noise: Noise | None = None) -> None:
    """Put a patch into its frame, in place; samples where its alpha is 0 stay bit-identical.

    `noise` is that of the frame, see `vidfill.compose.noise.with_noise`.
    """
    labels, n_parts = _parts(patch.alpha)
    for part in range(1, n_parts + 1):
        _put(frame, info, patch, labels == part, settings, noise, part)


def _parts(alpha: NDArray[np.uint8]) -> tuple[NDArray[np.int32], int]:
    """Labels of the parts of a hole that are far enough apart to be independent, and their number."""
    cells = (-(-alpha.shape[0] // _CELL_PX), -(-alpha.shape[1] // _CELL_PX))
    padded = np.zeros((cells[0] * _CELL_PX, cells[1] * _CELL_PX), bool)
    padded[: alpha.shape[0], : alpha.shape[1]] = alpha > 0
    occupied = np.asarray(padded.reshape(cells[0], _CELL_PX, cells[1], _CELL_PX).any(axis=(1, 3)), np.uint8)
    reach = 2 * -(-_RING_PX // _CELL_PX) + 1
    n_labels, labels = cv2.connectedComponents(cv2.dilate(occupied, np.ones((reach, reach), np.uint8)))
    full = labels.astype(np.int32).repeat(_CELL_PX, axis=0).repeat(_CELL_PX, axis=1)
    return np.where(alpha > 0, full[: alpha.shape[0], : alpha.shape[1]], 0).astype(np.int32), n_labels - 1


def _put(
    frame: Frame,
    info: VideoInfo,
    patch: Patch,
    own: Bool,
    settings: ComposeSettings,
    noise: Noise | None,
    part: int,
) -> None:
    """Put the pixels `own` of a patch into the frame."""
    origin, tight = patch.box, Box.around(own)
    if tight is None:
        return
    box = Box(origin.x0 + tight.x0, origin.y0 + tight.y0, origin.x0 + tight.x1, origin.y0 + tight.y1)
    box = box.grow(_RING_PX, height=info.height, width=info.width)
    # Whole chroma blocks.
    box = Box(box.x0 & ~3, box.y0 & ~3, min(box.x1 + 3 & ~3, info.width), min(box.y1 + 3 & ~3, info.height))
    source = rgb_crop(frame, info, box)
    # Other parts of the hole in this box are not pasted here, but they are not known pixels either.
    hole = _window(patch.alpha, origin, box) > 0
    alpha = _window(np.where(own, patch.alpha, 0).astype(np.uint8), origin, box)
    fill = np.where(hole[..., None], _window(patch.rgb, origin, box) / np.float32(65535), source)
    if settings.blend:
        fill = match_rim(fill, source, hole)
    if settings.grain and noise is not None:
        fill = add_missing(fill, hole, noise.variances, seed=(0, noise.seed, part))
    rgb = np.where(hole[..., None], np.clip(fill, 0, 1), source).astype(np.float32)
    opacity = (alpha / np.float32(255)).astype(np.float32)
    paste_rgb(frame, info, box, rgb, opacity, makes_opaque=settings.makes_opaque)


def _window(values: NDArray[_T], origin: Box, box: Box) -> NDArray[_T]:
    """The part in `box` of an array that lies at `origin` in the picture, zeros around it."""
    window = np.zeros((box.height, box.width, *values.shape[2:]), values.dtype)
    x0, y0 = max(origin.x0, box.x0), max(origin.y0, box.y0)
    x1, y1 = min(origin.x1, box.x1), min(origin.y1, box.y1)
    window[y0 - box.y0 : y1 - box.y0, x0 - box.x0 : x1 - box.x0] = values[
        y0 - origin.y0 : y1 - origin.y0, x0 - origin.x0 : x1 - origin.x0
    ]
    return window
