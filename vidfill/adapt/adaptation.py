"""What a user asks of an adaptation. Importing this costs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vidfill.errors import UsageError
from vidfill.models import LEARNED_NAMES

if TYPE_CHECKING:
    from vidfill.adapter import Adapted, Clip, Report
    from vidfill.engine import EngineSettings
    from vidfill.models.base import Model


@dataclass(frozen=True, slots=True)
class Adaptation:
    """Fine-tunes a model on a clip; an `Adapter` for `vidfill.remove(..., adapt=Adaptation(minutes=2))`.

    Which holes are cut, which frames are learned from and in which order follows from `seed` alone. On a CPU the
    weights after a given step are the same in every run with as many threads, while there is time for new holes. How
    many steps there are depends on the speed of the machine: two runs agree bit for bit only if neither runs out of
    time.

    Attributes:
        minutes: of wall time at most, decoding and checking included.
        steps: updates of the weights, at most.
        seed: of everything that is drawn.
        learning_rate: of AdamW; low, since the network has been trained.

    Raises:
        UsageError: a number out of range.
    """

    minutes: float
    steps: int = 1000
    seed: int = 0
    learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        if not (math.isfinite(self.minutes) and self.minutes > 0):
            raise UsageError(f"{self.minutes:g} minutes to adapt", expected="more than 0", todo="give for example 2")
        if self.steps < 1 or self.seed < 0 or not self.learning_rate > 0:
            raise UsageError(f"an adaptation of {self.settings}", expected="1 step or more, a seed of 0 or more")

    @property
    def settings(self) -> str:
        """See `Adapter.settings`."""
        return f"{self.minutes:g} minutes, {self.steps} steps, seed {self.seed}, learning rate {self.learning_rate:g}"

    def check(self, model: str) -> None:
        """See `Adapter.check`.

        Raises:
            UsageError: the model has no learned weights.
        """
        if model not in LEARNED_NAMES:
            raise UsageError(
                f"model {model} has nothing to adapt",
                expected="one of " + ", ".join(LEARNED_NAMES),
                todo="choose one with --model, or leave out --adapt",
            )

    def fit(self, model: Model, name: str, clip: Clip, settings: EngineSettings, report: Report) -> Adapted:
        """See `Adapter.fit`."""
        from vidfill.adapt.fitting import fit

        return fit(self, model, name, clip, settings, report)
