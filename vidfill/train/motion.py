"""Smooth random paths through time, and the planar motions made from them. All in numpy, drawn per sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrices = NDArray[np.float64]
Path1D = NDArray[np.float64]


def smooth_path(rng: np.random.Generator, n_frames: int, *, speed: float, shake: float = 0.0) -> Path1D:
    """A random path of one quantity that starts at 0 and changes its velocity slowly.

    Args:
        rng: draws it.
        n_frames: positions of the path.
        speed: standard deviation of the change from one frame to the next.
        shake: standard deviation of an independent jitter of each position, 0 at the first.

    Returns:
        (n_frames,), in the unit of `speed`.
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
    *, shift_x: Path1D, shift_y: Path1D, log_zoom: Path1D, roll: Path1D, tilt_x: Path1D, tilt_y: Path1D
) -> Matrices:
    """Homographies about the origin: tilt, then zoom and roll, then shift.

    Args:
        shift_x: (T,) pixels, to the right.
        shift_y: (T,) pixels, down.
        log_zoom: (T,) logarithm of the scale.
        roll: (T,) radians, clockwise.
        tilt_x: (T,) the perspective term of x, per pixel; 0 for a plain similarity.
        tilt_y: likewise of y.

    Returns:
        (T, 3, 3) for column vectors (x, y, 1).
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


def translation(x: float, y: float) -> NDArray[np.float64]:
    """The (3, 3) matrix that shifts points by (x, y)."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
