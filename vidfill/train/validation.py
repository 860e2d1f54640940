"""How well the averaged weights fill held-back clips, beside OpenCV's Telea on the same holes."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from vidfill.evaluate.contenders import BASELINE_RADIUS_PX
from vidfill.models.base import Model, composite, unroll
from vidfill.train.batches import validation_clip
from vidfill.train.data import TrainingData
from vidfill.train.recipes import Recipe


class Example(NamedTuple):
    """One held-back clip, filled; each (T, C, H, W) on the CPU, RGB in [0, 1].

    Attributes:
        truth: the clip.
        holes: 1 = missing.
        telea: what OpenCV makes of each frame alone.
        filled: what the model makes of it, composited.
    """

    truth: Tensor
    holes: Tensor
    telea: Tensor
    filled: Tensor


class Validation:
    """The held-back clips of a run with their holes, and what Telea makes of them: the same at every validation.

    Args:
        data: the clips.
        recipe: how many of them, how long, and the seed of their holes.
    """

    def __init__(self, data: TrainingData, recipe: Recipe) -> None:
        self._data, self._recipe = data, recipe
        self._telea: dict[int, Tensor] = {}

    def run(self, model: Model) -> tuple[dict[str, float], list[Example]]:
        """Fill the clips.

        Args:
            model: put into evaluation mode for as long as it takes.

        Returns:
            Mean PSNR inside the hole, of the model and of Telea ("hole_psnr_db", "telea_hole_psnr_db"), and the clips.
            Both are empty where no clip is held back.
        """
        was_training = model.training
        model.eval()
        examples = []
        with torch.no_grad():
            for number in range(min(self._recipe.n_validation, len(self._data.held_back))):
                clip, holes = validation_clip(self._data, self._recipe, number)
                filled = composite(clip, holes, unroll(model, clip, holes).clamp(0, 1))
                truth, hole = clip[0].cpu(), holes[0].cpu()
                if number not in self._telea:
                    self._telea[number] = telea(truth, hole)
                examples.append(Example(truth, hole, self._telea[number], filled[0].cpu()))
        model.train(was_training)
        if not examples:
            return {}, []
        scores = {
            "hole_psnr_db": [hole_psnr_db(e.filled, e.truth, e.holes) for e in examples],
            "telea_hole_psnr_db": [hole_psnr_db(e.telea, e.truth, e.holes) for e in examples],
        }
        return {name: sum(values) / len(values) for name, values in scores.items()}, examples


def hole_psnr_db(filled: Tensor, truth: Tensor, holes: Tensor) -> float:
    """PSNR over the pixels inside the holes of a clip, all (T, C, H, W) in [0, 1]; 100 where nothing differs."""
    total = ((filled - truth).square() * holes).sum() / (truth.shape[1] * holes.sum()).clamp(min=1)
    return -10 * math.log10(max(float(total), 1e-10))


def telea(clip: Tensor, holes: Tensor) -> Tensor:
    """OpenCV's Telea inpainting of each frame alone; (T, 3, H, W) and (T, 1, H, W) to (T, 3, H, W)."""
    frames = (clip * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    masks = holes[:, 0].to(torch.uint8).numpy()
    filled = [
        cv2.inpaint(np.ascontiguousarray(frame), mask, BASELINE_RADIUS_PX, cv2.INPAINT_TELEA)
        for frame, mask in zip(frames, masks, strict=True)
    ]
    return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2).float() / 255
