"""Ten-line models that pin the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidfill.models.base import Model, Previous, ReferenceSpec, Step, View, WindowSpec
from vidfill.video.frame import Remembered


class Recorder(Model):
    """Fills with a mix of all that it is shown, and writes down what that was.

    Attributes:
        windows: (target, neighbours, references, previous, state) positions of each step.
        encoded: the mean of each frame that was encoded.
    """

    sizes: dict[str, Any] = {}

    def __init__(self, spec: WindowSpec) -> None:
        super().__init__()
        self.spec = spec
        self.windows: list[tuple[int, list[int], list[int], int | None, int | None]] = []
        self.encoded: list[float] = []

    def encode(self, frame: Tensor, hole: Tensor) -> Tensor:
        self.encoded.append(float(frame.mean()))
        return frame.mean(dim=(1, 2, 3), keepdim=True)

    def step(
        self,
        target: View,
        neighbours: Sequence[View],
        references: Sequence[View],
        previous: Previous | None,
        state: Any,
    ) -> Step:
        before = None if previous is None else previous.index
        self.windows.append((target.index, [v.index for v in neighbours], [v.index for v in references], before, state))
        seen = [target.features, *(v.features for v in neighbours), *(v.features for v in references)]
        value = torch.stack(seen).mean(dim=0)
        if previous is not None:
            value = 0.5 * value + 0.5 * previous.frame.mean(dim=(1, 2, 3), keepdim=True)
        if target.record is not None:
            value = 0.5 * value + 0.5 * target.record
        count = 1 if state is None else state + 1
        fill = (0.9 * value + 0.1 * target.frame.flip(-1)).expand_as(target.frame)
        return Step(fill, count, record=value)


class Raising(Recorder):
    """Fails with a given error at given calls of `step`, counted from 0 over the model's whole life."""

    def __init__(self, spec: WindowSpec, error: BaseException, calls: Sequence[int]) -> None:
        super().__init__(spec)
        self._error, self._calls, self._count = error, set(calls), 0

    def step(
        self,
        target: View,
        neighbours: Sequence[View],
        references: Sequence[View],
        previous: Previous | None,
        state: Any,
    ) -> Step:
        self._count += 1
        if self._count - 1 in self._calls:
            raise self._error
        return super().step(target, neighbours, references, previous, state)


class Chained(Recorder):
    """Fills with a level that goes up with each step, and goes on from where the segment before has stopped."""

    def remember(self, state: Any) -> tuple[Remembered, ...]:
        return (Remembered(np.full((2, 2, 3), state, np.uint8), (1.0, 1.0)),)

    def recall(self, pictures: Sequence[Remembered]) -> int | None:
        return int(pictures[0].picture.max()) if pictures else None

    def step(
        self,
        target: View,
        neighbours: Sequence[View],
        references: Sequence[View],
        previous: Previous | None,
        state: Any,
    ) -> Step:
        step = super().step(target, neighbours, references, previous, state)
        self.n_painted += step.state == 1
        return step._replace(fill=(step.fill / 2 + step.state / 200).clamp(0, 1), invented=0.25 * target.hole)


WINDOW = WindowSpec(neighbours=(-2, 2), references=ReferenceSpec(stride=3, reach=4), previous=True)
