"""A smooth path through a corridor: how an object's place and size go on over time, without jitter and without lag.

The smoother is Whittaker's (1923; Eilers, "A Perfect Smoother", 2003): least squares to what is wanted plus the squared
second differences. It sees the whole track at once, so nothing lags behind, and keeps straight motion straight, up to
the first and the last frame. That the object must stay in the picture makes it a corridor, as in Grundmann et al.,
"Auto-Directed Video Stabilization with Robust L1 Optimal Camera Paths" (2011), section 3. It is met by a stiff penalty
on what leaves it, whose minimum a semismooth Newton method finds: solve, see who is outside, solve again.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Path1D = NDArray[np.float64]

_LONGEST = 500.0  # time scale that 64 bits still solve for: half a second at 1000 frames a second
_PENALTY = 1e6  # of a squared violation, beside 1 for a squared deviation
_MAX_ROUNDS = 40


def smooth_path(wanted: Path1D, low: Path1D, high: Path1D, known: NDArray[np.bool_], *, frames: float) -> Path1D:
    """The smooth path nearest to one that is wanted, inside a corridor.

    Args:
        wanted: (N,), read where `known`.
        low: (N,), the corridor's lower side; read where `known`.
        high: (N,), its upper side, nowhere below `low`.
        known: (N,), where there is something to follow; the path goes on smoothly in between.
        frames: time scale: what swings faster than about 6 times this is smoothed away. More than 500 counts as 500.

    Returns:
        (N,), within the corridor wherever `known`.
    """
    stiffness = min(frames, _LONGEST) ** 4
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
    """A path that never rises above a ceiling and changes slowly: constant, if all lies within `frames` of its lowest.

    The lowest of the ceiling within `frames` on either side, then averaged over the same window by a raised cosine.
    Each value that is averaged is at most the ceiling in the middle, so the average is.

    Args:
        ceiling: (N,), read where `known`, which is somewhere.
        known: (N,).
        frames: reach of the window to either side, 1 or more.

    Returns:
        (N,).
    """
    bound = np.where(known, ceiling, ceiling.max(where=known, initial=-np.inf))
    frames = min(frames, len(bound))  # from there on the window holds all
    window = 2 * frames + 1
    lowest = sliding_window_view(np.pad(bound, frames, mode="edge"), window).min(axis=1)
    weights = np.hanning(window + 2)[1:-1]
    least = lowest.min()  # what is constant stays so to the last bit
    above = sliding_window_view(np.pad(lowest - least, frames, mode="edge"), window) @ (weights / weights.sum())
    return np.asarray(np.minimum(least + above, bound))  # rounding


def _solve(weight: Path1D, target: Path1D, stiffness: float) -> Path1D:
    """The x with (diag(weight) + stiffness D'D) x = target, D taking second differences.

    The matrix has five diagonals: a Cholesky factor (L D L') of two off-diagonals, in one sweep down and one up.
    """
    n = len(weight)
    if n < 3:  # no second difference
        return target / np.maximum(weight, 1e-12)
    main, first, second = _second_differences(n)
    a = (weight + stiffness * main).tolist()
    b = (stiffness * first).tolist()
    c = (stiffness * second).tolist()
    rhs = target.tolist()
    pivots, ls, ms, zs = [0.0] * n, [0.0] * n, [0.0] * n, [0.0] * n
    for i in range(n):
        pivot, off, z = a[i], b[i] if i < n - 1 else 0.0, rhs[i]
        if i >= 1:
            pivot -= pivots[i - 1] * ls[i - 1] ** 2
            off -= pivots[i - 1] * ls[i - 1] * ms[i - 1]
            z -= ls[i - 1] * zs[i - 1]
        if i >= 2:
            pivot -= pivots[i - 2] * ms[i - 2] ** 2
            z -= ms[i - 2] * zs[i - 2]
        pivots[i], zs[i] = pivot, z
        ls[i] = off / pivot
        ms[i] = c[i] / pivot if i < n - 2 else 0.0
    x = [0.0] * n
    for i in range(n - 1, -1, -1):
        x[i] = zs[i] / pivots[i]
        if i < n - 1:
            x[i] -= ls[i] * x[i + 1]
        if i < n - 2:
            x[i] -= ms[i] * x[i + 2]
    return np.array(x)


def _second_differences(n: int) -> tuple[Path1D, Path1D, Path1D]:
    """The diagonals of D'D, (N,), (N - 1,) and (N - 2,), for the (N - 2, N) matrix D of rows 1, -2, 1."""
    main, first, second = np.zeros(n), np.zeros(n - 1), np.ones(n - 2)
    for offset, square in enumerate((1.0, 4.0, 1.0)):
        main[offset : n - 2 + offset] += square
    first[: n - 2] += -2
    first[1:] += -2
    return main, first, second
