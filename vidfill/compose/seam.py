"""Matches the level of a fill to the picture at the hole's rim.

As in gradient-domain cloning (Perez, Gangnet, Blake, "Poisson Image Editing", 2003) the fill keeps its gradients and
takes its level from the picture. Instead of solving the Poisson system, the difference along the rim is measured and
interpolated smoothly into the hole, as in mean-value cloning (Farbman et al., "Coordinates for Instant Image Cloning",
2009). This allows robust estimates: what the object leaves outside the mask (a shadow, a blurred contour) is a
difference, too, and must not be drawn into the hole.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.video.frame import Bool, Float

_REACH_PX = 3  # of the neighbourhood in which a jump at the rim is measured
_SIGMA_PX = 1.0
_MAX_POINTS = 3000
_CELL_PX = 4  # of the grid on which the correction is interpolated
_MAX_SHIFT = 20 / 255  # of the whole fill
_MIN_VARIATION = 3 / 255  # of the jump along the rim; three times that gets half the weight
_LIMIT = 8.0  # variations; a larger jump is no difference of levels
_CORRELATION = 30.0  # pixels of texture that count as one independent sample


def match_rim(fill: Float, source: Float, hole: Bool) -> Float:
    """Shift a fill smoothly so that it meets the source along the rim of the hole; all (h, w, 3) RGB in [0, 1].

    The fill is used inside the hole, the source outside. The result is not clipped, and undefined outside the hole.
    """
    rows, columns = _rim_points(hole)
    if rows.size == 0:
        return fill
    jump, variance = _jumps(np.where(hole[..., None], fill, source), hole, rows, columns)
    trust = np.asarray(1 / variance, np.float32)
    common = np.clip(_weighted_median(jump, trust), -_MAX_SHIFT, _MAX_SHIFT)
    # Shrunk by its uncertainty (Wiener's rule), which is small for a median of many points.
    uncertainty = _REACH_PX / trust.sum(axis=0)
    common = common**3 / (common**2 + uncertainty)
    local = jump - common
    # Large jumps are the rule for a fill that is wrong nearly everywhere; beside a good one they are outliers.
    variation = np.maximum(1.5 * _weighted_median(np.abs(local) - np.sqrt(variance), trust), _MIN_VARIATION)
    # Jumps beyond a limit are ignored: a long rim along something dark would draw a cloud into a sky.
    believed = np.clip(1 - (local / (_LIMIT * variation)) ** 2, 0, 1) ** 2 / (1 + (local / (3 * variation)) ** 4)
    trust = np.asarray(trust * believed, np.float32)
    correction = common + _spread(local, trust, variation, rows, columns, hole.shape)
    return np.asarray(fill - correction, np.float32)


def _rim_points(hole: Bool) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pixels of the hole that touch known ones, at most about `_MAX_POINTS`."""
    inner = cv2.erode(hole.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    rows, columns = np.nonzero(hole & (inner == 0))
    step = -(-rows.size // _MAX_POINTS) if rows.size else 1
    return rows[::step], columns[::step]


def _jumps(picture: Float, hole: Bool, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> tuple[Float, Float]:
    """Jumps (N, 3) across the rim at some points, and their variances (N, 3).

    Around each point a plane with a step, `a + b x + c y + jump * inside`, is fitted by least squares with Gaussian
    weights, so that the slope of the picture is no jump.
    """
    r = _REACH_PX
    dy, dx = (axis.ravel() for axis in np.mgrid[-r : r + 1, -r : r + 1].astype(np.float32))
    nearness = np.exp(-(dx**2 + dy**2) / (2 * _SIGMA_PX**2))
    at = (rows + r)[:, None] + dy.astype(np.intp), (columns + r)[:, None] + dx.astype(np.intp)
    inside = np.pad(hole, r)[at]
    exists = np.pad(np.ones_like(hole), r)[at]
    values = np.pad(picture, ((r, r), (r, r), (0, 0)))[at]

    weight = nearness * exists
    # The unknowns are scaled alike, so that one small ridge keeps the system solvable.
    design = np.stack(
        [np.ones_like(weight), np.broadcast_to(dx / r, weight.shape), np.broadcast_to(dy / r, weight.shape), inside],
        axis=-1,
    ).astype(np.float32)
    weighted = design * weight[..., None]
    normal = weighted.transpose(0, 2, 1) @ design + 1e-4 * np.eye(4, dtype=np.float32)
    inverse = np.linalg.inv(normal)
    solution = inverse @ (weighted.transpose(0, 2, 1) @ values)
    residual = values - design @ solution
    total = np.maximum(weight.sum(axis=1), 1e-6)[:, None]
    noise = (weight[..., None] * residual**2).sum(axis=1) / total
    # Without pixels on one side the ridge makes the variance large.
    variance = _CORRELATION * noise * inverse[:, 3, 3, None] + 1e-6
    return solution[:, 3], variance


def _weighted_median(values: Float, weights: Float) -> Float:
    """Of each column of (N, C) arrays: (C,)."""
    order = np.argsort(values, axis=0)
    sums = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
    middle = (sums < sums[-1] / 2).sum(axis=0)
    ordered = np.take_along_axis(values, order, axis=0)
    return np.asarray(ordered[np.minimum(middle, len(values) - 1), np.arange(values.shape[1])], np.float32)


def _spread(
    values: Float,
    trust: Float,
    variation: Float,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    shape: tuple[int, ...],
) -> Float:
    """Interpolate values at scattered points, (N, C), over an (h, w) area; `trust` is their inverse variance."""
    height, width = (-(-side // _CELL_PX) for side in shape[:2])
    cell = (rows // _CELL_PX) * width + columns // _CELL_PX

    def gathered(table: Float) -> Float:
        sums = [np.bincount(cell, column, height * width) for column in table.T]
        return np.stack(sums, axis=-1).reshape(height, width, -1).astype(np.float32)

    grid = _pull_push(gathered(np.asarray(values * trust, np.float32)), gathered(trust), variation)
    full = cv2.resize(grid, (width * _CELL_PX, height * _CELL_PX), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full[: shape[0], : shape[1]], np.float32)


def _pull_push(sums: Float, trust: Float, variation: Float) -> Float:
    """Trust-weighted sums on an (h, w, C) grid to values everywhere.

    Each cell uses its own level as far as its variance is small compared with the variation of jumps, and the level of
    half the size, which has four times the points, for the rest.
    """
    height, width = sums.shape[:2]
    known = sums / (trust + 1 / variation**2)
    if height <= 2 and width <= 2:
        total = sums.sum(axis=(0, 1)) / (trust.sum(axis=(0, 1)) + 1 / variation**2)
        return np.asarray(np.broadcast_to(total, sums.shape), np.float32)
    coarse = _pull_push(_halved(sums), _halved(trust), variation)
    wide = cv2.pyrUp(coarse)[:height, :width]
    return np.asarray(known + wide / (1 + trust * variation**2), np.float32)


def _halved(sums: Float) -> Float:
    return np.asarray(4 * cv2.pyrDown(sums), np.float32)
