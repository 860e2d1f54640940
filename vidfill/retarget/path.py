"""A smooth path through a corridor: how an object's offset and size change over time, without jitter and without lag.

The smoother is Whittaker's (1923; Eilers, "A Perfect Smoother", 2003): least squares to the wanted path plus squared
second differences. It sees the whole track at once, so it does not lag, and it keeps straight motion straight up to the
first and the last frame. The object must stay in the picture, which makes the path a corridor, as in Grundmann et al.,
"Auto-Directed Video Stabilization with Robust L1 Optimal Camera Paths" (2011), section 3. The corridor is enforced by a
stiff penalty, minimised by a semismooth Newton method: solve, see which frames are outside, solve again.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Path1D = NDArray[np.float64]

_MAX_FRAMES = 500.0  # the longest time scale that 64 bits still solve for: half a second at 1000 frames a second
_PENALTY = 1e6  # of a squared violation, relative to 1 for a squared deviation
_MAX_ROUNDS = 40


def smooth_path(wanted: Path1D, low: Path1D, high: Path1D, known: NDArray[np.bool_], *, frames: float) -> Path1D:
    """The smooth path nearest to a wanted one, inside a corridor.

    Args:
        wanted: (N,), read where `known`.
        low: (N,), the corridor's lower bound; read where `known`.
        high: (N,), its upper bound, nowhere below `low`.
        known: (N,), where there is something to follow; the path is interpolated smoothly in between.
        frames: time scale: oscillations with periods below about 6 times this are smoothed away; capped at 500.

    Returns:
        (N,), within the corridor wherever `known`.
    """
    stiffness = min(frames, _MAX_FRAMES) ** 4
    below = above = np.zeros(len(wanted), np.bool_)
    path = wanted
    for _ in range(_MAX_ROUNDS):
        weight = known + _PENALTY * (below | above)
        target = known * wanted + _PENALTY * (np.where(below, low, 0) + np.where(above, high, 0))
        path = _solve(weight.astype(np.float64), target, stiffness)
        new_below, new_above = known & (path < low), known & (path > high)
        if np.array_equal(new_below, below) and np.array_equal(new_above, above):
            break
        below, above = new_below, new_above
    return np.where(known, np.clip(path, low, high), path)


def slow_path_below(ceiling: Path1D, known: NDArray[np.bool_], *, frames: int) -> Path1D:
    """A slowly changing path that never rises above a ceiling; constant if all is within `frames` of the minimum.

    The minimum of the ceiling within `frames` on either side, then averaged over the same window with a raised cosine.
    Each averaged value is at most the ceiling in the middle, so the average is too.

    Args:
        ceiling: (N,), read where `known`.
        known: (N,), true at least once.
        frames: reach of the window to either side, at least 1.

    Returns:
        (N,).
    """
    bound = np.where(known, ceiling, ceiling.max(where=known, initial=-np.inf))
    frames = min(frames, len(bound))  # beyond that the window covers everything
    window = 2 * frames + 1
    minima = sliding_window_view(np.pad(bound, frames, mode="edge"), window).min(axis=1)
    weights = np.hanning(window + 2)[1:-1]
    base = minima.min()  # subtracted, so that a constant stays constant to the last bit
    above = sliding_window_view(np.pad(minima - base, frames, mode="edge"), window) @ (weights / weights.sum())
    return np.asarray(np.minimum(base + above, bound))  # the sum may round up


def _solve(weight: Path1D, target: Path1D, stiffness: float) -> Path1D:
    """The x with (diag(weight) + stiffness D'D) x = target, where D takes second differences.

    The matrix has five diagonals: an LDL' factorisation in one sweep down, `ls` and `ms` being the diagonals of L, and
    back-substitution in one sweep up.
    """
    n = len(weight)
    if n < 3:  # no second difference
        return target / np.maximum(weight, 1e-12)
    # The diagonals of D'D, for the (N - 2, N) matrix D with rows 1, -2, 1; two zeros are the padding of both ends.
    ones = np.ones(n - 2)
    a = (weight + stiffness * np.convolve(ones, [1, 4, 1])).tolist()
    b = [*(stiffness * np.convolve(ones, [-2, -2])).tolist(), 0.0]
    c = [*(stiffness * ones).tolist(), 0.0, 0.0]
    rhs = target.tolist()
    pivots, ls, ms, zs, x = ([0.0] * (n + 2) for _ in range(5))  # indices -1 and -2 are the padding
    for i in range(n):
        pivots[i] = a[i] - pivots[i - 1] * ls[i - 1] ** 2 - pivots[i - 2] * ms[i - 2] ** 2
        zs[i] = rhs[i] - ls[i - 1] * zs[i - 1] - ms[i - 2] * zs[i - 2]
        ls[i] = (b[i] - pivots[i - 1] * ls[i - 1] * ms[i - 1]) / pivots[i]
        ms[i] = c[i] / pivots[i]
    for i in reversed(range(n)):
        x[i] = zs[i] / pivots[i] - ls[i] * x[i + 1] - ms[i] * x[i + 2]
    return np.array(x[:n])
