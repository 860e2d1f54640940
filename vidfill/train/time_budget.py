"""How long the parts of a run take, and whether the next one still fits into the time that the user gave."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Phase = Literal["step", "first step", "validation", "save"]

_MARGIN = 1.5
# The slowest time of a phase (a pause of the machine) counts less with each time after it.
_DECAY = 0.9


class TimeBudget:
    """The time of one sitting, in minutes; None for as long as it takes."""

    def __init__(self, minutes: float | None) -> None:
        self._end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self._seconds: dict[Phase, float] = {}

    @property
    def is_limited(self) -> bool:
        """Whether there is an end at all."""
        return math.isfinite(self._end)

    @contextmanager
    def timed(self, phase: Phase) -> Iterator[None]:
        """Remember how long the block takes. The first step of a stage, which may compile, keeps its slowest time."""
        started = time.monotonic()
        yield
        decay = 1.0 if phase == "first step" else _DECAY
        self._seconds[phase] = max(decay * self._seconds.get(phase, 0.0), time.monotonic() - started)

    def knows(self, phase: Phase) -> bool:
        """Whether the phase has been timed."""
        return phase in self._seconds

    def has_time_for(self, *phases: Phase) -> bool:
        """Whether all the phases fit into what is left, with a margin; those never timed count nothing."""
        return self._end - time.monotonic() >= _MARGIN * sum(self._seconds.get(phase, 0.0) for phase in phases)
