"""Adds the grain of the surroundings to a fill.

Grain is modelled as white noise after a Gaussian filter, with a std and a sigma for luma and each of two colour
differences; both follow from the variances of two frequency bands (see `vidfill.compose.noise`). It is added where the
fill has less detail than that: pixels copied from other frames have grain of their own, painted ones have none.
"""

from __future__ import annotations

from functools import cache, lru_cache

import cv2
import numpy as np

from vidfill.video.frame import Bool, Float

RADIUS_PX = 6
"""Of the kernels that separate the bands."""

_SIGMAS_PX = (0.8, 2.0)  # between the bands, and below the second
_WINDOW_PX = 9
_MAX_STD = 5 / 255
_MIN_STD = (0.5 / 255, 0.75 / 255, 0.75 / 255)  # rounding gradients to 8 bits in YUV 4:2:0 gives as much
_SIGMA_GRID_PX = tuple(step / 10 for step in range(21))
_FIELD_PX = 512
# Rows: Y, R - G, B - G of linear combinations of R, G, B.
_TO_OPPONENT = np.array([[0.25, 0.5, 0.25], [1, -1, 0], [0, -1, 1]], np.float32)
_FROM_OPPONENT = np.linalg.inv(_TO_OPPONENT).astype(np.float32)


def add_missing(fill: Float, hole: Bool, variances: Float, *, seed: tuple[int, ...]) -> Float:
    """Add the grain that the picture has and the fill lacks; the result is not clipped.

    Args:
        fill: (h, w, 3) RGB in [0, 1]: the fill inside the hole, the picture around it.
        hole: (h, w).
        variances: (2, 3) of the grain, see `bands`.
        seed: of the random generator.
    """
    models = [_model(variances[:, channel]) for channel in range(3)]
    if all(std < minimum for (std, _), minimum in zip(models, _MIN_STD, strict=True)):
        return fill
    generator = np.random.default_rng(seed)
    grain = np.zeros_like(fill)
    for channel, (std, sigma_px) in enumerate(models):
        corner = generator.integers(0, _FIELD_PX, 2).tolist()
        if std >= _MIN_STD[channel]:
            grain[..., channel] = min(std, _MAX_STD) * _cut(_field(channel, sigma_px), corner, hole.shape)
    fine, coarse = _split(np.asarray(cv2.transform(fill, _TO_OPPONENT[:1]), np.float32))
    detail = _local(np.square(fine) + np.square(coarse), hole)
    lacking = np.sqrt(np.clip(1 - detail / max(float(variances[:, 0].sum()), 1e-9), 0, 1))
    lacking[~hole] = 0
    return np.asarray(fill + lacking[..., None] * cv2.transform(grain, _FROM_OPPONENT), np.float32)


def bands(picture: Float) -> tuple[Float, Float]:
    """The finest and the next frequency band of an RGB picture, (h, w, 3), in luma and two colour differences."""
    opponent = np.asarray(cv2.transform(picture, _TO_OPPONENT), np.float32)
    return _split(opponent)


def _split(values: Float) -> tuple[Float, Float]:
    fine, coarse = (_blur(values, sigma) for sigma in _SIGMAS_PX)
    return values - fine, fine - coarse


def _blur(picture: Float, sigma_px: float) -> Float:
    size = 2 * RADIUS_PX + 1
    return np.asarray(cv2.GaussianBlur(picture, (size, size), sigma_px, borderType=cv2.BORDER_REFLECT), np.float32)


def _local(values: Float, where: Bool) -> Float:
    """Mean of a non-negative (h, w) picture over the pixels in `where` in a window around each pixel."""
    inside = where.astype(np.float32)
    window = (_WINDOW_PX, _WINDOW_PX)
    sums, weights = (cv2.boxFilter(x, -1, window, borderType=cv2.BORDER_CONSTANT) for x in (values * inside, inside))
    # The running sums of boxFilter may be slightly negative.
    return np.asarray(np.maximum(sums, 0) / np.maximum(weights, 1e-6), np.float32)


def _model(variances: Float) -> tuple[float, float]:
    """Std and sigma (px) of the grain with these variances of the two bands."""
    fine, coarse = _responses().T
    total = float(variances.sum())
    ratio = float(variances[1]) / total if total > 0 else 0.0
    # The ratio of the second band grows with sigma.
    best = int(np.argmin(np.abs(coarse / (fine + coarse) - ratio)))
    return (total / float(fine[best] + coarse[best])) ** 0.5, float(_SIGMA_GRID_PX[best])


@cache
def _responses() -> Float:
    """(N, 2): variance of the two bands of unit grain for each sigma of the grid, from the kernels."""
    side = 8 * RADIUS_PX + 1
    impulse = np.zeros((side, side), np.float32)
    impulse[side // 2, side // 2] = 1
    rows = [[float(np.sum(band**2)) for band in _split(_unit(impulse, sigma))] for sigma in _SIGMA_GRID_PX]
    return np.array(rows, np.float32)


@lru_cache(maxsize=12)
def _field(channel: int, sigma_px: float) -> Float:
    """Seamless grain with a std of 1, from which frames are cut at random places."""
    white = np.random.default_rng(channel).standard_normal((_FIELD_PX, _FIELD_PX), np.float32)
    wrapped = np.pad(white, RADIUS_PX, mode="wrap")
    return _unit(wrapped, sigma_px)[RADIUS_PX:-RADIUS_PX, RADIUS_PX:-RADIUS_PX]


def _cut(field: Float, corner: list[int], shape: tuple[int, ...]) -> Float:
    rows, columns = ((start + np.arange(n)) % _FIELD_PX for start, n in zip(corner, shape, strict=True))
    return field[rows[:, None], columns]


def _unit(white: Float, sigma_px: float) -> Float:
    """White noise with a std of 1, filtered to the same std."""
    if sigma_px == 0:
        return white
    kernel = cv2.getGaussianKernel(2 * RADIUS_PX + 1, sigma_px)
    smooth = cv2.sepFilter2D(white, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT)
    return np.asarray(smooth / np.float32(np.sum(kernel**2)), np.float32)
