"""Training: data on the device, moving scenes made from photos, losses, one loop for every network. Needs no PyAV.

What only one network needs (its recipes, its samples, its own loss terms) is in a package of its own, named here.

Example:
    >>> from vidfill.train import find_recipe
    >>> find_recipe("vinet", "tiny").n_steps
    4
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from vidfill.errors import UsageError
from vidfill.models import LEARNED_NAMES, MODEL_NAMES
from vidfill.train.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from vidfill.models.base import Model, WindowSpec
    from vidfill.train.batch import Samples
    from vidfill.train.data import TrainingData
    from vidfill.train.objective import Term

RECIPE_NAMES = ("tiny", "cpu", "gpu")
# Model name -> package with `recipes.RECIPES` and `training.TRAINING`, both by model name.
_PACKAGES = {
    "vinet": "vidfill.train.vinet",
    "opn": "vidfill.train.opn",
    "opn-tcn": "vidfill.train.opn",
    "painter": "vidfill.train.painter",
}


class ModelTraining(NamedTuple):
    """What the trainer must know of one model."""

    samples: Callable[[TrainingData, Recipe, WindowSpec], Samples]  # makes the source of batches
    fill: Callable[[Model, Tensor, Tensor], Tensor]  # (model, clip, holes) to fills, for validation; mostly `unroll`
    terms: Mapping[str, Term]  # loss terms of this model alone, by the names that its recipes use


def find_recipe(model: str, name: str) -> Recipe:
    """The recipe of that name for a model.

    Raises:
        UsageError: there is none, or no such model, or one with nothing to learn.
    """
    check_trainable(model)
    recipes: dict[str, Recipe] = importlib.import_module(f"{_PACKAGES[model]}.recipes").RECIPES[model]
    if name not in recipes:
        raise UsageError(f"no recipe {name!r}", expected="one of " + ", ".join(recipes))
    return recipes[name]


def find_training(model: str) -> ModelTraining:
    """What the trainer must know of a model; imports its package and torch."""
    found: ModelTraining = importlib.import_module(f"{_PACKAGES[model]}.training").TRAINING[model]
    return found


def check_trainable(model: str) -> None:
    """`UsageError` if there is no such model, or it has nothing to learn."""
    if model not in _PACKAGES:
        found = f"model {model} has nothing to learn" if model in MODEL_NAMES else f"no model {model!r}"
        raise UsageError(found, expected="one of " + ", ".join(LEARNED_NAMES))
