"""Ten-line models that pin the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidfill.models.base import Model, ReferenceSpec, SegmentViews, Step, Window, WindowSpec
from vidfill.removal.request import LoadModel
from vidfill.video.frame import Remembered


def _unit(frame: Tensor) -> Tensor:
    return frame if frame.is_floating_point() else frame.float() / 255


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
        self.encoded.append(float(_unit(frame).mean()))
        return _unit(frame).mean(dim=(1, 2, 3), keepdim=True)

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        target, previous = window.target, window.previous
        before = None if previous is None else previous.index
        around = [v.index for v in window.neighbours], [v.index for v in window.references]
        self.windows.append((target.index, *around, before, state))
        seen = [view.features for view in (target, *window.neighbours, *window.references)]
        value = torch.stack(seen).mean(dim=0)
        if previous is not None:
            value = 0.5 * value + 0.5 * _unit(previous.frame).mean(dim=(1, 2, 3), keepdim=True)
        if target.record is not None:
            value = 0.5 * value + 0.5 * target.record
        count = 1 if state is None else state + 1
        fill = (0.9 * value + 0.1 * _unit(target.frame).flip(-1)).expand_as(target.frame)
        return Step(fill, count, record=value)


class Raising(Recorder):
    """Fails with a given error at given calls of `step`, counted from 0 over the model's whole life."""

    def __init__(self, spec: WindowSpec, error: BaseException, calls: Sequence[int]) -> None:
        super().__init__(spec)
        self._error, self._calls, self._count = error, set(calls), 0

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        self._count += 1
        if self._count - 1 in self._calls:
            raise self._error
        return super().step(window, state, pass_index)


class Chained(Recorder):
    """Fills with a level that goes up with each step, and goes on from where the segment before has stopped."""

    def remember(self, state: Any) -> tuple[Remembered, ...]:
        return (Remembered(np.full((2, 2, 3), state, np.uint8), (1.0, 1.0)),)

    def recall(self, pictures: Sequence[Remembered]) -> int | None:
        return int(pictures[0].picture.max()) if pictures else None

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        step = super().step(window, state, pass_index)
        self.n_painted += step.state == 1
        return step._replace(fill=(step.fill / 2 + step.state / 200).clamp(0, 1), invented=0.25 * window.target.hole)


class Triplets(Model):
    """Prepares a segment once and fills three frames a step, in both passes, without looking at any frame twice.

    Attributes:
        calls: "prepare" and (pass, position) of each step, in order.
    """

    sizes: dict[str, Any] = {}
    spec = WindowSpec(neighbours=(1, 2), previous=True, passes=("backward", "forward"))

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str | tuple[int, int]] = []

    def encode(self, frame: Tensor, hole: Tensor) -> Tensor:
        return frame.mean(dim=(1, 2, 3), keepdim=True)

    def prepare(self, segment: SegmentViews) -> list[Tensor]:
        self.calls.append("prepare")
        levels = [segment.view(i).features for i in range(segment.n_frames)]
        return [torch.stack(levels[: i + 1]).mean(dim=0) for i in range(len(levels))]

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        target, sign = window.target, 1 if pass_index else -1
        self.calls.append((pass_index, target.index))
        level = 0 if window.previous is None else window.previous.frame.mean(dim=(1, 2, 3), keepdim=True)
        count = 1 if state is None else state + 1
        steps = {}
        for i in (target.index, target.index + sign, target.index + 2 * sign):
            if 0 <= i < len(window.prepared):
                value = (level + window.prepared[i] + 0.01 * count) / 2
                steps[i] = Step((0.5 * value + 0.05 * i).expand_as(target.frame), record=0.1 * value)
        if target.record is not None:
            steps = {i: step._replace(fill=step.fill + target.record) for i, step in steps.items()}
        first = steps.pop(target.index)
        return first._replace(state=count, further=steps)


WINDOW = WindowSpec(neighbours=(-2, 2), references=ReferenceSpec(stride=3, reach=4), previous=True)


def loading(model: Model) -> LoadModel:
    """For `load=`: this model, whichever is asked for."""
    return lambda name, **options: model
