"""Where a training step gets its frames: clips in memory, or anything else that can be unrolled."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from vidfill.models.base import ClipSource, Model, ViewSource, WindowSpec
from vidfill.train.batches import Batch, Shape, drawn_window, make_batch
from vidfill.train.data import TrainingData
from vidfill.train.parallel import Place
from vidfill.train.recipes import Recipe, Stage


class TrainingSource(ViewSource, Protocol):
    """A source of views whose features may depend on weights that change."""

    def forget_features(self) -> None:
        """Encode again from here on."""
        ...


class Drawn(NamedTuple):
    """What a step trains on.

    Attributes:
        batch: the frames and holes that the loss is taken of.
        source: the same as the model sees them.
        model: what is unrolled over them: the model that is trained, or the part of it that learns.
        window: what it needs around a target.
    """

    batch: Batch
    source: TrainingSource
    model: Model
    window: WindowSpec


class Feed(Protocol):
    """Draws what a step trains on, from its number alone."""

    def draw(self, stage: Stage, *, step: int, place: Place) -> Drawn:
        """This process's part of the batch of one step."""
        ...


class ClipFeed:
    """Real clips and synthetic scenes; the model aligns them itself.

    Args:
        model: what is trained.
        data: on its device.
        recipe: the whole run.
    """

    def __init__(self, model: Model, data: TrainingData, recipe: Recipe) -> None:
        self._model, self._data, self._recipe = model, data, recipe

    def draw(self, stage: Stage, *, step: int, place: Place) -> Drawn:
        """See `Feed.draw`."""
        size = (stage.crop_px, stage.crop_px)
        n_targets = stage.n_targets * stage.n_chunks
        shape = Shape(
            stage.batch, n_targets, size, stage.synthetic_share, stage.n_references, stage.spread_targets
        )  # fmt: skip
        window = drawn_window(
            self._model.spec, self._recipe, step=step, n_supports=stage.n_supports, is_spread=shape.is_spread
        )
        batch = make_batch(self._data, self._recipe, window, shape, step=step, rank=place.rank, n_ranks=place.n_ranks)
        return Drawn(batch, ClipSource(self._model, batch.clip, batch.holes), self._model, window)
