"""How well the averaged weights paint held-back pictures, beside OpenCV's Telea on the same holes."""

from __future__ import annotations

import torch
from torch import Tensor

from vidfill.models.base import composite
from vidfill.models.cleanplate.painter import Painter
from vidfill.train.batches import VALIDATION_STEP
from vidfill.train.picture_bank import PictureBank
from vidfill.train.picture_losses import feature_distance
from vidfill.train.picture_objective import Judges
from vidfill.train.recipes import Recipe
from vidfill.train.validation import Example, hole_psnr_db, telea

CHUNK = 8


class PictureValidation:
    """The held-back pictures of a run with their holes, and what Telea makes of them: the same at every validation.

    Args:
        bank: the held-back pictures; None where there are none.
        judges: with features.
        recipe: how many pictures, their size (its last stage's) and the seed of their holes.
    """

    def __init__(self, bank: PictureBank | None, judges: Judges, recipe: Recipe) -> None:
        self._judges = judges
        self._telea: Tensor | None = None
        self._truth = self._holes = torch.zeros(0)
        if bank is not None:
            torch.manual_seed(hash((recipe.seed, VALIDATION_STEP)))
            self._truth, self._holes = bank.first(recipe.n_validation, recipe.stages[-1].size)

    @torch.no_grad()
    def run(self, painter: Painter) -> tuple[dict[str, float], list[Example]]:
        """Paint the pictures.

        Args:
            painter: put into evaluation mode for as long as it takes.

        Returns:
            Mean PSNR inside the hole, of the painter and of Telea ("hole_psnr_db", "telea_hole_psnr_db"), the mean
            feature distance ("feature_distance", see `picture_losses`), and the pictures, each as a clip of one frame.
            Both are empty where no picture is held back.
        """
        if not len(self._truth):
            return {}, []
        was_training = painter.training
        painter.eval()
        filled, distances = [], []
        for truth, holes in zip(torch.split(self._truth, CHUNK), torch.split(self._holes, CHUNK), strict=True):
            made = composite(truth, holes, painter.network(truth, holes).clamp(0, 1))
            if self._judges.features is not None:
                shown, wanted = self._judges.features(made), self._judges.features(truth)
                distances.append(float(feature_distance(shown, wanted, holes)) * len(truth))
            filled.append(made.cpu())
        painter.train(was_training)
        truth, holes = self._truth.cpu(), self._holes.cpu()
        if self._telea is None:
            self._telea = telea(truth, holes)
        columns = (truth, holes, self._telea, torch.cat(filled))
        examples = [Example(*(column[i : i + 1] for column in columns)) for i in range(len(truth))]
        scores = {
            "hole_psnr_db": sum(hole_psnr_db(e.filled, e.truth, e.holes) for e in examples) / len(examples),
            "telea_hole_psnr_db": sum(hole_psnr_db(e.telea, e.truth, e.holes) for e in examples) / len(examples),
        }
        if distances:
            scores["feature_distance"] = sum(distances) / len(examples)
        return scores, examples
