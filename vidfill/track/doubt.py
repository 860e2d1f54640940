"""Whether a track still follows the object: it shrinks, spreads or changes colour as objects do not."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from vidfill.track.base import CONFIDENT

WINDOW = 5
"""Frames over which a change is judged."""


class Signs(NamedTuple):
    """What one step of a tracker shows."""

    # Area of the mask over the expected area: that of the frame before, times the change of scale by the object's own
    # motion, less what moved out of the picture.
    kept: float
    overlap: float  # IoU of the mask with that of the frame before, moved along
    consistent: float  # ratio of the object whose flow forward and backward agree
    colors: float  # Bhattacharyya coefficient of its colours and those at the prompt, in [0, 1]
    area_px: int  # of the mask


@dataclass(frozen=True, slots=True)
class Limit:
    """The worst acceptable value of a measure, and the value from which on nothing speaks against the track."""

    worst: float
    fine: float

    def confidence(self, value: float) -> float:
        """`CONFIDENT` at `worst`, 1 from `fine` on, in between and below on a straight line; either may be larger."""
        slope = (1 - CONFIDENT) / (self.fine - self.worst)
        return min(1.0, max(0.0, CONFIDENT + (value - self.worst) * slope))


# Chosen on tracks of ten annotated clips, from several frames each, so that they are lost before they are wrong.
SHRINKS, GROWS = Limit(0.66, 0.9), Limit(1.7, 1.15)
SMALL = Limit(0.27, 0.5)
OVERLAP = Limit(0.7, 0.9)
CONSISTENT = Limit(0.4, 0.8)
COLORS = Limit(0.66, 0.85)
MIN_AREA_PX = 24


class Doubt:
    """Judges a track step by step.

    Attributes:
        confidence: of the last step; once it is below `CONFIDENT` it stays there.
        reason: what speaks against the track most.
    """

    def __init__(self) -> None:
        self._recent: deque[Signs] = deque(maxlen=WINDOW)
        self._kept = 1.0
        self.confidence = 1.0
        self.reason = ""

    def judge(self, signs: Signs) -> bool:
        """Take a step in; whether the track is to be believed."""
        self._recent.append(signs)
        self._kept *= signs.kept
        kept = 1.0
        for recent in self._recent:
            kept *= recent.kept
        n_before = WINDOW - len(self._recent)  # before the track began nothing was wrong
        overlap = (sum(recent.overlap for recent in self._recent) + n_before) / WINDOW
        consistent = (sum(recent.consistent for recent in self._recent) + n_before) / WINDOW
        verdicts = [
            (SHRINKS.confidence(kept), "it shrinks faster than it moves away"),
            (GROWS.confidence(kept), "it spreads over its surroundings"),
            (SMALL.confidence(self._kept), "little is left of what was selected"),
            (OVERLAP.confidence(overlap), "its outline jumps about"),
            (CONSISTENT.confidence(consistent), "its motion cannot be made out"),
            (COLORS.confidence(signs.colors), "its colours are no longer those of the object"),
        ]
        if signs.area_px < MIN_AREA_PX:
            verdicts.append((0.0, "nothing is left of it"))
        self.confidence, self.reason = min(verdicts)
        if self.confidence >= CONFIDENT:
            self.reason = ""
        return self.confidence >= CONFIDENT
