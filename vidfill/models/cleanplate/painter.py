"""The painter as a model of the contract: every frame is painted by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidfill.errors import WeightsError
from vidfill.models.base import Step, Window, WindowSpec, to_uint8
from vidfill.models.checkpoint import LearnedModel
from vidfill.models.cleanplate.network import MULTIPLE, PainterNetwork, PainterSizes
from vidfill.models.cleanplate.painting import paint


class WithPainter(LearnedModel):
    """A model whose weights are those of a `PainterNetwork`."""

    sizes_type = PainterSizes

    def __init__(self, sizes: PainterSizes | None = None) -> None:
        super().__init__()
        self.network = PainterNetwork(sizes)
        self.sizes: dict[str, Any] = self.network.sizes

    def load_authors(self, tensors: Mapping[str, Tensor], *, source: str) -> None:
        """Raises WeightsError: there are no authors' weights of this network."""
        raise WeightsError(
            f"{source} cannot be weights of painter, a network of vidfill's own",
            todo="use the weights that come with it, or train it",
        )


class Painter(WithPainter):
    """Paints each frame from the frame itself, so that a video of its fills flickers.

    Training uses this model; `cleanplate`, which paints only what no frame shows, has the same weights.
    """

    spec = WindowSpec(multiple=MULTIPLE)

    def encode(self, frame: Tensor, hole: Tensor) -> None:
        """Nothing is encoded beforehand."""

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        """See `Model.step`. In training the network's output, not clamped."""
        target = window.target
        if self.training:
            return Step(self.network(target.frame, target.hole))
        frames = to_uint8(target.frame)
        holes = (target.hole[:, 0] > 0).cpu().numpy()
        painted = np.stack([paint(self.network, rgb, hole) for rgb, hole in zip(frames, holes, strict=True)])
        return Step(torch.from_numpy(painted).to(target.frame.device).permute(0, 3, 1, 2).to(target.frame) / 255)
