"""The painter as a model of the contract: every frame is painted by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from vidfill.errors import WeightsError
from vidfill.models.base import Step, Window, WindowSpec, to_uint8
from vidfill.models.checkpoint import LearnedModel
from vidfill.models.cleanplate.network import MULTIPLE, PainterNetwork, PainterSizes
from vidfill.models.cleanplate.painting import paint


class WithPainter(LearnedModel):
    """A model whose weights are those of a painter network.

    Args:
        sizes: of the network.
    """

    def __init__(self, sizes: PainterSizes | None = None) -> None:
        super().__init__()
        self.network = PainterNetwork(sizes)
        self.sizes: dict[str, Any] = self.network.sizes

    @classmethod
    def from_sizes(cls, sizes: Mapping[str, Any]) -> Self:
        """See `LearnedModel.from_sizes`."""
        return cls(PainterSizes.from_json(sizes))

    @classmethod
    def from_authors(cls, tensors: Mapping[str, Tensor], *, source: str) -> Self:
        """No paper's authors have weights for this network.

        Raises:
            WeightsError: always.
        """
        raise WeightsError(
            f"{source} cannot be weights of painter, a network of vidfill's own",
            todo="use the weights that come with it, or train it",
        )


class Painter(WithPainter):
    """Paints each frame from nothing but the frame itself, so a video of its fills flickers.

    Training goes through this model, and its weights are those of `cleanplate`, which paints only what no frame shows.

    Args:
        sizes: of the network.
    """

    spec = WindowSpec(multiple=MULTIPLE)

    def encode(self, frame: Tensor, hole: Tensor) -> None:
        """Nothing depends on one frame alone but the painting itself."""

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        """Paint one frame; see `Model.step`. In training the network's output as it is, not clamped."""
        target = window.target
        if self.training:
            return Step(self.network(target.frame, target.hole))
        frames = to_uint8(target.frame)
        holes = (target.hole[:, 0] > 0).cpu().numpy()
        painted = np.stack([paint(self.network, rgb, hole) for rgb, hole in zip(frames, holes, strict=True)])
        return Step(torch.from_numpy(painted).to(target.frame.device).permute(0, 3, 1, 2).to(target.frame) / 255)
