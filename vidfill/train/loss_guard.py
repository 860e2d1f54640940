"""Notices a loss that explodes, so that the run can go back to earlier weights."""

from __future__ import annotations

import math
import statistics
from collections import deque

# How many losses the median is taken from, and how many of them it needs.
_WINDOW = 100
MIN_LOSSES = 20
# A loss is high if it lies so many median absolute deviations above the median; one deviation counts at least this
# ratio of the median.
_MAX_DEVIATIONS = 10.0
_MIN_DEVIATION = 0.05
# A single hard batch is no explosion; so many high losses in a row are one.
PATIENCE = 3


class LossGuard:
    """Compares each loss with the median of those before it."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=_WINDOW)
        self._n_high = 0

    @property
    def is_calm(self) -> bool:
        """Whether the last loss was not high, so that the current weights are worth going back to."""
        return self._n_high == 0

    def is_exploding(self, loss: float) -> bool:
        """Take in one loss; True if it is not finite, or the last of `PATIENCE` high ones in a row."""
        if not math.isfinite(loss):
            self._n_high = 0
            return True
        if len(self._losses) >= MIN_LOSSES and loss > self._limit():
            self._n_high += 1
        else:
            self._n_high = 0
            self._losses.append(loss)
        if self._n_high < PATIENCE:
            return False
        self._n_high = 0
        return True

    def forget(self) -> None:
        """Begin anew, where what is minimised changes."""
        self._losses.clear()
        self._n_high = 0

    def _limit(self) -> float:
        usual = statistics.median(self._losses)
        deviation = statistics.median(abs(loss - usual) for loss in self._losses)
        return usual + _MAX_DEVIATIONS * max(deviation, _MIN_DEVIATION * abs(usual))
