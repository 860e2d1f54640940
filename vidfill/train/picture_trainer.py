"""The training loop of the painter: single pictures that never leave the device, and few looks at the losses."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from vidfill.errors import InputError, UsageError
from vidfill.models.cleanplate.painter import Painter
from vidfill.train.data import TrainingData
from vidfill.train.parallel import Place
from vidfill.train.picture_bank import PictureBank, held_back_pictures, training_pictures
from vidfill.train.picture_holes import HoleShapes
from vidfill.train.picture_step import PictureStepper
from vidfill.train.picture_validation import PictureValidation
from vidfill.train.recipes import Recipe, Stage
from vidfill.train.report import append_metrics, draw_sheet
from vidfill.train.trainer import Trainer

# Steps between two copies of everything in the device's memory, to go back to when the loss explodes.
SNAPSHOT_EVERY = 200
SHEET_PICTURES = 12


class PictureTrainer(Trainer):
    """One run of the painter; see `Trainer`.

    Args:
        painter: on the training device.
        name: of the model, as the registry knows it.
        data: on the same device.
        recipe: the whole run.
        run: folder for checkpoints, metrics and pictures; made if it is not there.
        resume: go on from the folder's checkpoint where there is one.
        place: which of several processes this is; there can be one only.

    Raises:
        InputError: no pictures.
        UsageError: several processes; and as `Trainer`.
    """

    def __init__(
        self,
        painter: Painter,
        name: str,
        data: TrainingData,
        recipe: Recipe,
        run: Path,
        *,
        resume: bool = False,
        place: Place = Place(),  # noqa: B008 - immutable
    ) -> None:
        if place.n_ranks > 1:
            raise UsageError("several processes cannot train one painter", todo="start it without torchrun")
        pictures = training_pictures(data)
        if not pictures:
            raise InputError("no pictures to train on", todo="name archives of photos, or longer clips")
        self._painter = painter
        painter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(painter, name, data, recipe, run, resume=resume, place=place)
        if self.state.picture_critics is not None:
            self.state.picture_critics.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        holes = HoleShapes(data.silhouettes, self.device, seed=recipe.seed)
        held_back = held_back_pictures(data)
        bank = PictureBank(pictures, holes, self.device)
        self._pictures = PictureStepper(
            self.state, painter, bank, self._judges, recipe, is_graphed=self._is_graphed
        )  # fmt: skip
        self._picture_validation = PictureValidation(
            PictureBank(held_back, holes, self.device) if held_back else None, self._judges, recipe
        )
        self._act: Callable[[], None] = lambda: None
        self._last_read = time.monotonic()

    @property
    def _is_graphed(self) -> bool:
        return self.device.type == "cuda" and self.recipe.compile_layers

    def _enter(self, stage: Stage) -> None:
        super()._enter(stage)
        self._act = self._pictures.prepare(stage)
        self._last_read = time.monotonic()

    def _train_step(self) -> None:
        """One batch of pictures, one update."""
        stage = self._stage or self.recipe.stage_at(self.position)
        state, recipe, number = self.state, self.recipe, self.state.step
        rate = self.learning_rate(number)
        state.set_learning_rate(rate)
        if stage.loss.needs_picture_critics:
            self._pictures.set_critic_weight(min(1.0, (state.n_critic_updates + 1) / max(1, recipe.critic_warm_up)))
            state.n_critic_updates += 1
        torch.manual_seed(hash((recipe.seed, number)))  # of all that is drawn
        self._act()
        state.average()
        state.step += 1
        if state.step % recipe.read_every == 0:
            self._read(stage, number, rate)

    def _read(self, stage: Stage, number: int, rate: float) -> None:
        """Look at the losses since the last time: go back, or note them."""
        totals = self._pictures.read()
        now = time.monotonic()
        seconds, self._last_read = now - self._last_read, now
        self.state.seconds += seconds
        if self._guard.is_exploding(totals["loss"]):
            self._roll_back(number, "the loss explodes")
            return
        self._n_roll_backs_in_a_row = 0
        self._loss = totals["loss"]
        line = {"step": number, "stage": stage.name, **totals, "learning_rate": rate, "seconds": seconds}
        append_metrics(self.run_folder, {**line, "pictures_per_s": stage.batch * self.recipe.read_every / seconds})
        if self.state.step % SNAPSHOT_EVERY == 0 and self._guard.is_calm:
            self._good = self.state.snapshot()

    def _validate(self) -> None:
        averaged = self.state.averaged
        assert isinstance(averaged, Painter)
        self._scores, examples = self._picture_validation.run(averaged)
        if self._scores:
            append_metrics(self.run_folder, {"step": self.state.step - 1, "stage": "validation", **self._scores})
            sheet = self.run_folder / "samples" / f"step_{self.state.step:06d}.png"
            draw_sheet(sheet, examples, n_clips=SHEET_PICTURES)
