"""How long the parts of a run take, and whether the next one still fits into the time that the user gave."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Part = Literal["step", "first step", "validation", "save"]

MARGIN = 1.5
# A slow step (a pause of the machine) counts less with each one after it.
FADING = 0.9


class Clock:
    """The time of one sitting.

    Args:
        minutes: of the sitting, None for as long as it takes.

    Example:
        >>> clock = Clock(minutes=None)
        >>> with clock.timed("step"):
        ...     pass
        >>> clock.has_time_for("step", "save")
        True
    """

    def __init__(self, minutes: float | None) -> None:
        self._end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self._seconds: dict[Part, float] = {}

    @property
    def is_limited(self) -> bool:
        """Whether there is an end at all."""
        return math.isfinite(self._end)

    @contextmanager
    def timed(self, part: Part) -> Iterator[None]:
        """Remember how long the block takes. The first step of a stage, which may compile, keeps its slowest time."""
        started = time.monotonic()
        yield
        fading = 1.0 if part == "first step" else FADING
        self._seconds[part] = max(fading * self._seconds.get(part, 0.0), time.monotonic() - started)

    def knows(self, part: Part) -> bool:
        """Whether the part has been timed."""
        return part in self._seconds

    def has_time_for(self, *parts: Part) -> bool:
        """Whether all the parts fit into what is left, with a margin; parts never timed count nothing."""
        return self._end - time.monotonic() >= MARGIN * sum(self._seconds.get(part, 0.0) for part in parts)
