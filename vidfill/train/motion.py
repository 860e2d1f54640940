"""Smooth random paths through time, and the planar motions made from them. All in numpy, drawn per sample."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Series = NDArray[np.float64]  # (T,)
Matrices = NDArray[np.float64]  # (..., 3, 3)


def smooth_path(rng: np.random.Generator, n_frames: int, *, speed: float, shake: float = 0.0) -> Series:
    """A random path of one quantity, (n_frames,), that starts at 0 and changes its velocity slowly.

    `speed` is the standard deviation of the change from one frame to the next, `shake` that of an independent jitter.
    """
    steady = rng.normal()
    wander = rng.normal(size=n_frames)
    for t in range(1, n_frames):  # correlated over about ten frames
        wander[t] = 0.9 * wander[t - 1] + np.sqrt(1 - 0.81) * wander[t]
    velocity = speed * (0.8 * steady + 0.6 * wander)
    path = np.concatenate(([0.0], np.cumsum(velocity[1:])))
    jitter = shake * rng.normal(size=n_frames)
    return np.asarray(path + jitter - jitter[0])


def similarity(
    *,
    shift_x: Series,
    shift_y: Series,
    log_zoom: Series,
    roll: Series,
    tilt_x: Series | float = 0.0,
    tilt_y: Series | float = 0.0,
) -> Matrices:
    """Homographies about the origin, (T, 3, 3) for column vectors (x, y, 1): tilt, then zoom and roll, then shift.

    Shifts are in pixels, right and down; `log_zoom` is the logarithm of the scale, `roll` in radians, clockwise; tilts
    are the perspective terms per pixel.
    """
    zoom = np.exp(log_zoom)
    matrices = np.zeros((len(zoom), 3, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = zoom * np.cos(roll)
    matrices[:, 1, 0] = zoom * np.sin(roll)
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    matrices[:, 0, 2], matrices[:, 1, 2], matrices[:, 2, 2] = shift_x, shift_y, 1.0
    perspective = np.tile(np.eye(3), (len(zoom), 1, 1))
    perspective[:, 2, 0], perspective[:, 2, 1] = tilt_x, tilt_y
    return np.asarray(matrices @ perspective)


def translation(x: float, y: float) -> Matrices:
    """The (3, 3) matrix that shifts points by (x, y)."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """(H * W, 3): x, y, 1 of every pixel, row by row."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack((x, y, torch.ones_like(x)), dim=-1).reshape(-1, 3).float()
