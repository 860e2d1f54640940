"""Give a fill the grain of its surroundings.

Grain is modelled as white noise through a Gaussian: a strength and a coarseness for luma and for each of two colour
differences. Both follow from the variances of two bands of detail, measured in the flattest places around the hole
(elsewhere detail is texture). It is added where the fill has less detail than that: what was copied from other frames
brings its own grain along, what was painted has none.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from vidfill.frame import Bool, Float

_SIGMAS_PX = (0.8, 2.0)  # between the bands, and below the second
_RADIUS_PX = 6  # of both kernels: so far from the rim a band sees one side only
_WINDOW_PX = 9
_FLATTEST, _FLAT = 0.05, 0.2  # quantiles of the variance over all places
_FLATTEST_SHARE = 0.62  # of the variance of pure noise that is found at the first
_NOISE_EVENNESS = 0.6  # the first over the second for pure noise; less where texture varies from place to place
_MAX_STD = 5 / 255
_LEAST_STD = (0.5 / 255, 0.75 / 255, 0.75 / 255)  # so much comes of rounding drawn gradients to 8 bits in YUV 4:2:0
_MIN_PIXELS = 60
_SIGMA_GRID_PX = tuple(step / 10 for step in range(21))
# Rows: Y, R - G, B - G of linear combinations of R, G, B.
_TO_OPPONENT = np.array([[0.25, 0.5, 0.25], [1, -1, 0], [0, -1, 1]], np.float32)
_FROM_OPPONENT = np.linalg.inv(_TO_OPPONENT).astype(np.float32)


def add_missing(fill: Float, source: Float, hole: Bool, *, seed: tuple[int, ...]) -> Float:
    """Add the grain that the source has around the hole and the fill lacks.

    Args:
        fill: (h, w, 3) RGB in [0, 1] inside the hole.
        source: (h, w, 3) RGB in [0, 1] outside the hole; a band of some 16 px around it is enough.
        hole: (h, w) bool.
        seed: of the generator: the same seed gives the same grain.

    Returns:
        (h, w, 3): the fill with grain inside the hole; not clipped.
    """
    around = cv2.dilate(hole.astype(np.uint8), _disc(_RADIUS_PX)) == 0
    if np.count_nonzero(around) < _MIN_PIXELS:
        return fill
    bands = _bands(np.where(hole[..., None], fill, source) @ _TO_OPPONENT.T)
    wanted = np.stack([_grain_variance(band, around) for band in bands])
    generator = np.random.default_rng(seed)
    grain = np.zeros_like(fill)
    for channel in range(3):
        white = generator.standard_normal(hole.shape, np.float32)
        strength, sigma_px = _model(wanted[:, channel])
        if strength >= _LEAST_STD[channel]:
            grain[..., channel] = min(strength, _MAX_STD) * _unit(white, sigma_px)
    detail = _local(np.square(bands[0][..., 0]) + np.square(bands[1][..., 0]), hole)
    lacking = np.sqrt(np.clip(1 - detail / max(float(wanted[:, 0].sum()), 1e-9), 0, 1))
    return np.where(hole[..., None], fill + lacking[..., None] * (grain @ _FROM_OPPONENT.T), fill).astype(np.float32)


def _bands(picture: Float) -> tuple[Float, Float]:
    """The finest detail of an (h, w, C) picture, and the next."""
    fine, coarse = (_blur(picture, sigma) for sigma in _SIGMAS_PX)
    return picture - fine, fine - coarse


def _blur(picture: Float, sigma_px: float) -> Float:
    size = 2 * _RADIUS_PX + 1
    return np.asarray(cv2.GaussianBlur(picture, (size, size), sigma_px, borderType=cv2.BORDER_REFLECT), np.float32)


def _grain_variance(band: Float, where: Bool) -> Float:
    """(C,) variance of the grain in a band: of its flattest places, less where these stand out from the others."""
    share = _local(where.astype(np.float32), np.ones_like(where))
    places = where & (share >= min(0.5, float(share[where].max())))
    local = np.stack([_local(np.square(channel), where)[places] for channel in np.moveaxis(band, -1, 0)])
    flattest, flat = np.quantile(local[:, ::5], (_FLATTEST, _FLAT), axis=1)
    evenness = flattest / np.maximum(flat, 1e-12) / _NOISE_EVENNESS
    return np.asarray(flattest / _FLATTEST_SHARE * np.minimum(evenness, 1) ** 2, np.float32)


def _local(values: Float, where: Bool) -> Float:
    """Mean of an (h, w) picture, nowhere negative, over a window around each pixel, of the pixels in `where` alone."""
    inside = where.astype(np.float32)
    window = (_WINDOW_PX, _WINDOW_PX)
    sums, weights = (cv2.boxFilter(x, -1, window, borderType=cv2.BORDER_CONSTANT) for x in (values * inside, inside))
    # boxFilter keeps running sums, which rounding can leave a little below zero.
    return np.asarray(np.maximum(sums, 0) / np.maximum(weights, 1e-6), np.float32)


def _model(variances: Float) -> tuple[float, float]:
    """Strength (standard deviation) and coarseness (sigma, px) of the grain with these variances of the two bands."""
    fine, coarse = _responses().T
    total = float(variances.sum())
    share = float(variances[1]) / total if total > 0 else 0.0
    # The share of the second band grows with sigma.
    best = int(np.argmin(np.abs(coarse / (fine + coarse) - share)))
    return (total / float(fine[best] + coarse[best])) ** 0.5, float(_SIGMA_GRID_PX[best])


@cache
def _responses() -> Float:
    """(N, 2): variance of the two bands of unit grain, for each sigma of the grid; from the kernels themselves."""
    side = 8 * _RADIUS_PX + 1
    impulse = np.zeros((side, side), np.float32)
    impulse[side // 2, side // 2] = 1
    rows = [[float(np.sum(band**2)) for band in _bands(_unit(impulse, sigma))] for sigma in _SIGMA_GRID_PX]
    return np.array(rows, np.float32)


def _unit(white: Float, sigma_px: float) -> Float:
    """White noise of standard deviation 1 made coarser, still of standard deviation 1."""
    if sigma_px == 0:
        return white
    kernel = cv2.getGaussianKernel(2 * _RADIUS_PX + 1, sigma_px)
    smooth = cv2.sepFilter2D(white, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT)
    return np.asarray(smooth / np.float32(np.sum(kernel**2)), np.float32)


def _disc(radius_px: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    side = 2 * radius_px + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
