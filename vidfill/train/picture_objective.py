"""The terms of the loss that look at single filled pictures, and what the discriminators of pictures minimise."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vidfill.evaluate.features import Features, load_features
from vidfill.models.base import composite
from vidfill.train.critics import PictureCritics
from vidfill.train.picture_losses import (
    feature_distance,
    feature_matching,
    hinge_fill,
    hinge_tell,
    known_l1,
    rim_l1,
)
from vidfill.train.recipes import LossWeights, Recipe

# Fills are cut to this range before networks look at them: far outside of it their features mean nothing.
LOWEST, HIGHEST = -0.2, 1.2


class Judges(NamedTuple):
    """The networks that look at filled pictures; None for those that no term needs.

    Attributes:
        features: frozen.
        critics: trained beside the model.
    """

    features: Features | None = None
    critics: PictureCritics | None = None


def judges_for(recipe: Recipe, critics: PictureCritics | None, device: torch.device) -> Judges:
    """What the stages of a recipe need.

    Raises:
        UsageError: the package with the weights of the features is not installed.
    """
    if not any(stage.loss.needs_features for stage in recipe.stages):
        return Judges(None, critics)
    return Judges(load_features().to(device), critics)


class Looks(NamedTuple):
    """What the judges compare.

    Attributes:
        truth: (B, 3, H, W) in [0, 1].
        filled: the same with its hole filled; carries the fill's gradient.
        hole: (B, 1, H, W), 1 = filled.
        wanted: features of `truth`, empty where no term needs them.
        shown: features of `filled`, likewise.
    """

    truth: Tensor
    filled: Tensor
    hole: Tensor
    wanted: list[Tensor]
    shown: list[Tensor]


def look(fill: Tensor, truth: Tensor, hole: Tensor, weights: LossWeights, judges: Judges) -> Looks:
    """Put the fill into the picture and take the features that the terms need.

    Args:
        fill: (B, 3, H, W) in about [0, 1].
        truth: likewise.
        hole: (B, 1, H, W), 1 = missing.
        weights: which terms are wanted.
        judges: with features, if a term needs them.
    """
    filled = composite(truth, hole, fill.clamp(LOWEST, HIGHEST))
    if judges.features is None or not weights.needs_features:
        return Looks(truth, filled, hole, [], [])
    with torch.no_grad():
        wanted = judges.features(truth)
    return Looks(truth, filled, hole, wanted, judges.features(filled))


def picture_terms(fill: Tensor, looks: Looks, weights: LossWeights, judges: Judges) -> dict[str, Tensor]:
    """The terms, each a scalar, not yet weighted; those of weight 0 are left out.

    Args:
        fill: (B, 3, H, W) in about [0, 1].
        looks: of the same.
        weights: which terms are wanted.
        judges: with discriminators, if a term needs them.
    """
    truth, hole = looks.truth, looks.hole
    terms: dict[str, Tensor] = {}
    if weights.rim:
        terms["rim"] = rim_l1(fill, truth, hole)
    if weights.known:
        terms["known"] = known_l1(fill, truth, hole)
    if weights.feature:
        terms["feature"] = feature_distance(looks.shown, looks.wanted, hole)
    critics = judges.critics
    if critics is not None and (weights.patches or weights.matching):
        scores, shown = critics.patches(looks.filled)
        with torch.no_grad():
            _, wanted = critics.patches(truth)
        if weights.patches:
            terms["patches"] = hinge_fill(scores, hole)
        if weights.matching:
            terms["matching"] = feature_matching(shown, wanted, hole)
    if critics is not None and weights.projected:
        maps = critics.projected(looks.shown)
        terms["projected"] = torch.stack([hinge_fill(scores, hole) for scores in maps]).mean()
    return terms


def picture_critic_terms(looks: Looks, weights: LossWeights, critics: PictureCritics) -> dict[str, Tensor]:
    """What the discriminators minimise on pictures that are taken as given; the sum counts.

    Args:
        looks: of the same step.
        weights: which discriminators take part.
        critics: the discriminators.
    """
    terms: dict[str, Tensor] = {}
    if weights.patches or weights.matching:
        scores, _ = critics.patches(torch.cat((looks.truth, looks.filled.detach())))
        terms["patch_critic"] = _told(scores, looks.hole)
    if weights.projected:
        both = [torch.cat((real, shown.detach())) for real, shown in zip(looks.wanted, looks.shown, strict=True)]
        maps = critics.projected(both)
        terms["projected_critic"] = torch.stack([_told(m, looks.hole) for m in maps]).mean()
    return terms


def _told(scores: Tensor, hole: Tensor) -> Tensor:
    """The hinge loss of scores of real pictures followed by those of filled ones."""
    real, filled = scores.chunk(2)
    return hinge_tell(real, filled, hole)
