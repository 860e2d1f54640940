"""Resizes and shifts a plane of samples by fractions of a sample, each axis on its own.

The kernel is Keys' cubic (a = -1/2: "Cubic Convolution Interpolation for Digital Image Processing", 1981, equation 15),
widened in proportion where a plane shrinks, against aliasing. Beyond the plane its border is repeated. A resize to the
same size changes nothing, bit for bit.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidfill.video.frame import Float

_CHUNK = 64  # output samples that one matrix makes: wide enough for BLAS, narrow enough to be nearly a band


class Axis(NamedTuple):
    """Where the output samples of one axis lie on the input."""

    n: int  # output samples
    start: float  # position of the first one, in input samples; 0 is the first input sample
    step: float  # input samples from one to the next, above 0

    @classmethod
    def resize(cls, n_from: int, n_to: int) -> Axis:
        """All of `n_from` samples as `n_to`, outer edges aligned."""
        step = n_from / n_to
        return cls(n_to, 0.5 * step - 0.5, step)

    def on_grid(self, first: float, spacing: int) -> Axis:
        """The same for a plane whose samples lie at `first`, `first + spacing`, ... of these (chroma); `n` stays."""
        return Axis(self.n, (self.start + (self.step - 1) * first) / spacing, self.step)


class _Band(NamedTuple):
    """Output samples [start, stop) as weights (stop - start, hi - lo) of input samples [lo, hi)."""

    start: int
    stop: int
    lo: int
    hi: int
    weights: Float


def resample(plane: NDArray[Any], rows: Axis, columns: Axis) -> Float:
    """Sample an (H, W) plane of any real type at other positions: (rows.n, columns.n), not rounded and not clipped.

    Example:
        >>> resample(np.arange(8.0).reshape(2, 4), Axis.resize(2, 2), Axis(2, 0.0, 2.0)).shape
        (2, 2)
    """
    samples = plane.astype(np.float32)
    # First the axis that shrinks most: less is left for the other.
    if rows.n * plane.shape[1] < columns.n * plane.shape[0]:
        return _across(_down(samples, rows), columns)
    return _down(_across(samples, columns), rows)


def _down(samples: Float, axis: Axis) -> Float:
    return np.ascontiguousarray(_across(np.ascontiguousarray(samples.T), axis).T)


def _across(samples: Float, axis: Axis) -> Float:
    width = samples.shape[1]
    if axis == (width, 0.0, 1.0):
        return samples
    made = np.empty((samples.shape[0], axis.n), np.float32)
    for band in _bands(axis, width):
        np.matmul(samples[:, band.lo : band.hi], band.weights.T, out=made[:, band.start : band.stop])
    return made


@lru_cache(maxsize=64)
def _bands(axis: Axis, n_input: int) -> tuple[_Band, ...]:
    return tuple(_band(axis, n_input, i, min(axis.n, i + _CHUNK)) for i in range(0, axis.n, _CHUNK))


def _band(axis: Axis, n_input: int, start: int, stop: int) -> _Band:
    width = max(1.0, axis.step)  # of the kernel, in input samples
    places = axis.start + axis.step * np.arange(start, stop)
    n_taps = math.ceil(4 * width) + 1
    taps = np.floor(places - 2 * width).astype(np.intp)[:, None] + np.arange(n_taps)
    weights = _cubic((taps - places[:, None]) / width)
    weights /= weights.sum(axis=1, keepdims=True)
    taps = np.clip(taps, 0, n_input - 1)
    lo, hi = int(taps.min()), int(taps.max()) + 1
    dense = np.zeros((stop - start, hi - lo), np.float64)
    np.add.at(dense, (np.arange(stop - start)[:, None], taps - lo), weights)
    return _Band(start, stop, lo, hi, dense.astype(np.float32))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel with a = -1/2: 1 at 0, 0 at all other whole numbers and beyond 2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
