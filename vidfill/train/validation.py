"""How well the averaged weights fill held-back clips, beside OpenCV's Telea on the same holes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vidfill.evaluate.contenders import inpaint_frame
from vidfill.models.base import Model, composite
from vidfill.train.losses import feature_distance


class Example(NamedTuple):
    """One held-back clip, filled; each (T, C, H, W) on the CPU, RGB in [0, 1]."""

    truth: Tensor
    holes: Tensor  # 1 = missing
    telea: Tensor  # what OpenCV makes of each frame alone
    filled: Tensor  # what the model makes of it, composited


class Validation:
    """The held-back clips of a run with their holes, and what Telea makes of them: the same at every validation.

    Args:
        held_back: clips (B, T, 3, H, W) and their holes, from `Samples.held_back`.
        fill: (model, clip, holes) to fills.
        features: feature maps of pictures, None to leave their distance out.
    """

    def __init__(
        self,
        held_back: Sequence[tuple[Tensor, Tensor]],
        fill: Callable[[Model, Tensor, Tensor], Tensor],
        features: Callable[[Tensor], list[Tensor]] | None,
    ) -> None:
        self._held_back, self._fill, self._features = held_back, fill, features
        self._telea: list[Tensor] = []

    @torch.no_grad()
    def run(self, model: Model) -> tuple[dict[str, float], list[Example]]:
        """Fill the clips, with the model in evaluation mode.

        Returns:
            Mean PSNR inside the hole, of the model and of Telea ("hole_psnr_db", "telea_hole_psnr_db"), with features
            the mean of `losses.feature_distance`, and the clips. Both are empty where no clip is held back.
        """
        was_training = model.training
        model.eval()
        examples: list[Example] = []
        distances: list[float] = []
        for clips, holes in self._held_back:
            filled = composite(clips, holes, self._fill(model, clips, holes).clamp(0, 1))
            for one, hole, made in zip(clips, holes, filled, strict=True):
                if len(self._telea) == len(examples):
                    self._telea.append(telea(one.cpu(), hole.cpu()))
                examples.append(Example(one.cpu(), hole.cpu(), self._telea[len(examples)], made.cpu()))
                if self._features is not None:
                    distances.append(float(feature_distance(self._features(made), self._features(one), hole)))
        model.train(was_training)
        if not examples:
            return {}, []
        scores = {
            "hole_psnr_db": [hole_psnr_db(e.filled, e.truth, e.holes) for e in examples],
            "telea_hole_psnr_db": [hole_psnr_db(e.telea, e.truth, e.holes) for e in examples],
            "feature_distance": distances,
        }
        return {name: sum(values) / len(values) for name, values in scores.items() if values}, examples


def hole_psnr_db(filled: Tensor, truth: Tensor, holes: Tensor) -> float:
    """PSNR over the pixels inside the holes of a clip; 100 where nothing differs."""
    total = ((filled - truth).square() * holes).sum() / (truth.shape[1] * holes.sum()).clamp(min=1)
    return -10 * math.log10(max(float(total), 1e-10))


def telea(clip: Tensor, holes: Tensor) -> Tensor:
    """OpenCV's Telea inpainting of each frame alone; (T, 3, H, W) and (T, 1, H, W) to (T, 3, H, W)."""
    frames = (clip * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    filled = [
        inpaint_frame(np.ascontiguousarray(frame), hole > 0)
        for frame, hole in zip(frames, holes[:, 0].numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2).float() / 255
