"""A model with one of its parts switched off, to see what the part is worth.

The weights stay as they were trained, with the part: what is measured is how much the model leans on it. (Tables in
papers mostly train a network anew without the part.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vidfill.errors import UsageError
from vidfill.models.base import Model, SegmentViews, Step, Window

SWITCHES = ("memory", "feedback", "flow")


class Ablated(Model):
    """A model of the contract without one of its parts.

    Without "memory" no state goes from step to step; without "feedback" no step sees the output before; without "flow"
    every network in the model's `flow`, which is changed in place, finds that nothing moves.

    Raises:
        UsageError: the model has no such part.
    """

    def __init__(self, model: Model, *, without: str) -> None:
        super().__init__()
        flow = getattr(model, "flow", None)
        if without == "flow":
            if not isinstance(flow, nn.ModuleDict):
                raise UsageError(f"{type(model).__name__} has no flow networks to switch off")
            for network in flow.values():
                network.register_forward_hook(_nothing_moves)
        elif without == "feedback":
            if not model.spec.previous:
                raise UsageError(f"{type(model).__name__} has no feedback to switch off")
        elif without != "memory":
            raise UsageError(f"no part {without!r} to switch off", expected="one of " + ", ".join(SWITCHES))
        self.model = model
        self.without = without
        self.spec = replace(model.spec, previous=model.spec.previous and without != "feedback")
        self.sizes = model.sizes

    def encode(self, frame: Tensor, hole: Tensor) -> Any:
        """As the model does."""
        return self.model.encode(frame, hole)

    @property
    def prepares(self) -> bool:
        """As the model does."""
        return self.model.prepares

    def prepare(self, segment: SegmentViews) -> Any:
        """As the model does."""
        return self.model.prepare(segment)

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        """As the model does, with what it remembers left out if that is the part."""
        return self.model.step(window, None if self.without == "memory" else state, pass_index)


def _nothing_moves(_network: nn.Module, _arguments: tuple[Tensor, ...], flow: Tensor) -> Tensor:
    return torch.zeros_like(flow)
