"""The membrane over a hole: Laplace's equation with the hole's rim as boundary, solved by multigrid."""

from __future__ import annotations

import cv2
import numpy as np

from vidfill.video.frame import Bool, Float

# Damped Jacobi sweeps before and after each coarse correction. The weights are the reciprocal Chebyshev points of
# [1/4, 2], the eigenvalues that coarser grids represent badly: together the sweeps shrink those components by ten.
SWEEP_WEIGHTS = (0.517, 0.685, 1.266, 3.158)
N_CYCLES = 2  # on the finest level; leaves an error of at most about half a grey level of 255
COARSEST_PX = 8
MARGIN_PX = 2 * COARSEST_PX  # of known pixels round the hole that the coarse levels may average
MIN_KNOWN_RATIO = 0.01  # of a coarse pixel, for it to count as known
_MEAN_OF_FOUR_MINUS_CENTRE = np.array([[0, 0.25, 0], [0.25, -1, 0.25], [0, 0.25, 0]], np.float32)


def membrane(picture: Float, hole: Bool) -> Float:
    """Make each pixel of a hole the mean of its four neighbours, the pixels at its rim held fixed.

    Takes (H, W, C), of which values inside the hole are not read, and returns a new array, exact outside the hole. At
    the picture's own border the slope is zero. A hole over the whole picture becomes 0.

    Source: Laplace's equation with Dirichlet conditions (Perez et al., Poisson Image Editing, 2003, equation 2); full
        multigrid (Briggs et al., A Multigrid Tutorial, 2000, chapter 3), polynomial smoothing (Adams et al., 2003).
    """
    filled = picture.copy()
    rows, columns = (np.flatnonzero(hole.any(axis=axis)) for axis in (1, 0))
    if len(rows):
        part = np.s_[
            max(0, rows[0] - MARGIN_PX) : rows[-1] + MARGIN_PX, max(0, columns[0] - MARGIN_PX) : columns[-1] + MARGIN_PX
        ]
        filled[part] = _solved(picture[part], hole[part], n_cycles=N_CYCLES)
    return filled


def _solved(picture: Float, hole: Bool, *, n_cycles: int) -> Float:
    """Start from the solution at half the size, then run `n_cycles` V-cycles."""
    height, width = hole.shape
    known = (~hole).astype(np.float32)
    weighted = picture * known[..., None]
    if min(height, width) > COARSEST_PX:
        half_wh = ((width + 1) // 2, (height + 1) // 2)
        ratio = cv2.resize(known, half_wh, interpolation=cv2.INTER_AREA)
        half = _resized(weighted, half_wh, cv2.INTER_AREA)
        half = np.asarray(half / np.maximum(ratio, MIN_KNOWN_RATIO)[..., None], np.float32)
        coarse = _solved(half, ratio < MIN_KNOWN_RATIO, n_cycles=1)
        guess = _resized(coarse, (width, height), cv2.INTER_LINEAR)
    else:
        guess = np.broadcast_to(weighted.sum(axis=(0, 1)) / max(float(known.sum()), 1.0), picture.shape)
    filled = np.where(hole[..., None], guess, picture).astype(np.float32)
    if hole.any() and not hole.all():
        level = _Level(hole, picture.shape[2])
        for _ in range(n_cycles):
            level.cycle(filled, None)
    return filled


class _Level:
    """One grid of the multigrid cycle, and the coarser ones.

    A coarse pixel belongs to the hole only if all its four fine pixels do, so that corrections are 0 wherever the
    picture is known; the sweeps take care of the rim.
    """

    def __init__(self, hole: Bool, n_channels: int) -> None:
        height, width = hole.shape
        self.hole = np.repeat(hole.astype(np.float32)[..., None], n_channels, axis=2)
        self._even = ((0, height % 2), (0, width % 2))
        even = np.pad(hole, self._even, mode="edge")
        coarse = even[::2, ::2] & even[1::2, ::2] & even[::2, 1::2] & even[1::2, 1::2]
        self._coarse = _Level(coarse, n_channels) if coarse.any() and min(height, width) > 2 else None

    def cycle(self, values: Float, source: Float | None) -> None:
        """One V-cycle for `mean of four neighbours - value + source = 0` in the hole, in place."""
        self._sweep(values, source)
        if self._coarse is not None:
            height, width = values.shape[:2]
            rest = np.pad(self._rest(values, source) * self.hole, (*self._even, (0, 0)))
            half_wh = (rest.shape[1] // 2, rest.shape[0] // 2)
            # Four times, since the distance of neighbours is twice as large.
            coarse_source = 4 * _resized(rest, half_wh, cv2.INTER_AREA) * self._coarse.hole
            correction = np.zeros_like(coarse_source)
            self._coarse.cycle(correction, coarse_source)
            fine = _resized(correction, (rest.shape[1], rest.shape[0]), cv2.INTER_LINEAR)
            values += fine[:height, :width] * self.hole
        self._sweep(values, source)

    def _sweep(self, values: Float, source: Float | None) -> None:
        for weight in SWEEP_WEIGHTS:
            change = self._rest(values, source)
            cv2.multiply(change, self.hole, dst=change, scale=weight)
            values += change

    def _rest(self, values: Float, source: Float | None) -> Float:
        rest = cv2.filter2D(values, -1, _MEAN_OF_FOUR_MINUS_CENTRE, borderType=cv2.BORDER_REPLICATE)
        rest = np.asarray(rest, np.float32).reshape(values.shape)
        if source is not None:
            rest += source
        return rest


def _resized(values: Float, size_wh: tuple[int, int], interpolation: int) -> Float:
    """`cv2.resize` that keeps a single channel as an axis."""
    resized = cv2.resize(values, size_wh, interpolation=interpolation)
    return np.asarray(resized, np.float32).reshape(size_wh[1], size_wh[0], values.shape[2])
