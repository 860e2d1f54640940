"""A network of a few hundred weights under the contract, and data to train it on without any file."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor, nn

from vidfill.models.base import Model, Step, Window, WindowSpec, unroll
from vidfill.models.vinet.model import Motion
from vidfill.train import ModelTraining
from vidfill.train.clips import ClipSamples
from vidfill.train.data import TrainingData
from vidfill.train.state import TrainingState
from vidfill.train.vinet.training import flow_term

NEIGHBOURS = (-2, 2)
TRAINING = ModelTraining(ClipSamples, unroll, {"flow": flow_term})


class TinyModel(Model):
    """Neighbours, feedback, memory and flows, all of the simplest kind."""

    def __init__(self, *, channels: int = 4) -> None:
        super().__init__()
        self.spec = WindowSpec(neighbours=NEIGHBOURS, previous=True)
        self.sizes: dict[str, Any] = {"channels": channels}
        self.encoder = nn.Conv2d(4, channels, 3, padding=1)
        self.mix = nn.Conv2d(channels * 3 + 4, channels, 3, padding=1)
        self.flow = nn.Conv2d(2 * channels, 2, 3, stride=2, padding=1)
        self.rgb = nn.Conv2d(channels, 3, 3, padding=1)

    def encode(self, frame: Tensor, hole: Tensor) -> Tensor:
        return F.relu(self.encoder(torch.cat((frame, hole), dim=1)))

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        target, previous = window.target, window.previous
        before = target.frame if previous is None else previous.frame
        features = [target.features, *(view.features for view in window.neighbours)]
        x = F.relu(self.mix(torch.cat([*features, before, target.hole], dim=1)))
        x = x if state is None else 0.5 * x + 0.5 * state
        flows = torch.cat([self.flow(torch.cat((target.features, v.features), dim=1)) for v in window.neighbours])
        return Step(torch.sigmoid(self.rgb(x)), x, Motion((flows,)))


def tiny_model(seed: int = 0) -> TinyModel:
    torch.manual_seed(seed)
    return TinyModel()


def tiny_data() -> TrainingData:
    """Smooth random pictures: three clips of one moving picture each, one held back, photos, two shapes."""
    rng = np.random.default_rng(0)

    def picture(height: int, width: int) -> Tensor:
        coarse = torch.from_numpy(rng.random((1, 3, 8, 8))).float()
        smooth = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)[0]
        return (smooth.clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0).contiguous()

    def clip() -> Tensor:
        wide = picture(48, 80)
        return torch.stack([wide[:, t : t + 56] for t in range(20)])

    axis = torch.arange(-16.0, 16.0)
    disc = (torch.hypot(*torch.meshgrid(axis, axis, indexing="ij")) < 12).byte()
    bar = torch.zeros(32, 32, dtype=torch.uint8)
    bar[10:22, 2:30] = 1
    return TrainingData(
        clips=(clip(), clip()),
        held_back=(clip(),),
        photos=tuple(picture(48, 60) for _ in range(4)),
        silhouettes=torch.stack((disc, bar)),
    )


def tensors_of(state: TrainingState) -> dict[str, Tensor]:
    """Every tensor that a run keeps."""
    found: dict[str, Tensor] = {}

    def collect(name: str, value: object) -> None:
        if isinstance(value, Tensor):
            found[name] = value
        elif isinstance(value, dict):
            for key, item in value.items():
                collect(f"{name}.{key}", item)

    collect("", state.snapshot())
    return found
