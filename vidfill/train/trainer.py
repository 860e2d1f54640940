"""The training loop: batches, gradients through the model's own recurrence, checkpoints, validation."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vidfill.errors import OutputError, UsageError, VidfillError
from vidfill.models.base import Model, WindowSpec
from vidfill.train.batches import Batch, Shape, drawn_window, make_batch
from vidfill.train.clock import Clock, Part
from vidfill.train.data import TrainingData
from vidfill.train.guard import Guard
from vidfill.train.parallel import Place, any_of, wait_for_all
from vidfill.train.picture_objective import judges_for
from vidfill.train.recipes import Recipe, Stage
from vidfill.train.report import (
    append_metrics,
    draw_curves,
    draw_sheet,
    forget_metrics_from,
    recipe_changes,
    write_recipe,
)
from vidfill.train.state import CHECKPOINT, TrainingState
from vidfill.train.step import Stepper
from vidfill.train.validation import Validation

_log = logging.getLogger("vidfill")

MAX_ROLL_BACKS = 10
# Of a sitting whose recipe follows the clock, what is kept for the last checkpoint and validation.
CLOSING_SHARE = 0.03


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        step: steps done, over all sittings.
        finished: whether that is all of them; else the time was up or somebody asked to stop.
        n_roll_backs: of this sitting.
        metrics: the last validation's.
    """

    step: int
    finished: bool
    n_roll_backs: int
    metrics: dict[str, float]


class Trainer:
    """One run of one model.

    Args:
        model: any model of the contract with parameters, on the training device.
        name: of the model, as the registry knows it.
        data: on the same device.
        recipe: the whole run.
        run: folder for checkpoints, metrics and pictures; made if it is not there.
        resume: go on from the folder's checkpoint where there is one.
        place: which of several processes this is.

    Raises:
        UsageError: a model without parameters, a batch that the processes cannot share, a folder that holds a run
            when `resume` is off, or a checkpoint of another model.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        data: TrainingData,
        recipe: Recipe,
        run: Path,
        *,
        resume: bool = False,
        place: Place = Place(),  # noqa: B008 - immutable
    ) -> None:
        if not any(p.requires_grad for p in model.parameters()):
            raise UsageError(f"model {name} has nothing to learn", todo="train another one")
        if any(stage.batch % place.n_ranks for stage in recipe.stages):
            raise UsageError(f"{place.n_ranks} processes cannot share the batches of recipe {recipe.name} evenly")
        self.model, self.data, self.recipe, self.run_folder, self.place = model, data, recipe, run, place
        self.device = next(model.parameters()).device
        self._begun, self._seconds_in_all = time.monotonic(), math.inf
        torch.manual_seed(recipe.seed)
        self.state = TrainingState(model, name, recipe, in_graph=self._is_graphed)
        if (run / CHECKPOINT).exists():
            if not resume:
                raise UsageError(f"{run} holds a run already", todo="give --resume, or another --out")
            self.state.load(run)
            _log.info("%s", self._where_it_goes_on())
        self._judges = judges_for(recipe, self.state.picture_critics, self.device)
        self._stepper = Stepper(self.state, recipe, place, self._judges)
        self._validation = Validation(data, recipe)
        self._guard = Guard()
        self._stage: Stage | None = None
        self._good = self.state.snapshot()
        self._n_roll_backs = self._n_roll_backs_in_a_row = 0
        self._scores: dict[str, float] = {}
        self._loss = math.nan
        if place.is_first:
            self._open_folder()
        model.train()
        if recipe.compile_layers and self.device.type == "cuda" and not self._is_graphed:
            for part in called_parts(model):
                part.compile(dynamic=False)  # sizes change with the stage only; dynamic ones fail in torch 2.13

    def run(self, *, minutes: float | None = None, should_stop: Callable[[], bool] = lambda: False) -> Outcome:
        """Train to the end of the recipe, until the time is up, or until somebody asks to stop; save in each case.

        Args:
            minutes: of this sitting, saving included; None for as long as it takes. The last validation is left out
                where it might not fit, or where this sitting has had none to tell how long one takes. A recipe that
                follows the clock comes to its end in this time, None for its own; what is left of a resumed one is
                stretched or squeezed to fit.
            should_stop: asked before every step, and before the last validation.

        Raises:
            VidfillError: the loss is not finite again and again, whatever the weights are rolled back to.
            OutputError: the folder cannot be written.
        """
        if self.recipe.minutes:
            minutes = minutes or self.recipe.minutes
            self._seconds_in_all = self.state.seconds + 60 * minutes * (1 - CLOSING_SHARE)
            self._begun = time.monotonic() - self.state.seconds
        clock = Clock(minutes)
        while self.position < self.recipe.n_steps:
            stage = self.recipe.stage_at(self.position)
            step: Part = "step" if stage is self._stage else "first step"
            if self._any(should_stop() or not clock.has_time_for(step, "save", "validation")):
                break
            with clock.timed(step):
                if stage is not self._stage:
                    self._stage = stage
                    self._enter(stage)
                self._train_step()
            if self.state.step % self.recipe.save_every == 0:
                with clock.timed("save"):
                    self._save()
                self._tell(stage)
            if self.state.step % self.recipe.validate_every == 0:
                with clock.timed("validation"):
                    self._validate()
        self._save()  # before the last validation: nothing that happens there can cost any steps
        if self.state.step % self.recipe.validate_every:
            is_rushed = clock.is_limited and not (clock.knows("validation") and clock.has_time_for("validation"))
            if self._any(should_stop() or is_rushed):
                _log.info("no time for a last validation")
            else:
                self._validate()
        if self.place.is_first:
            draw_curves(self.run_folder)
        is_finished = self.position >= self.recipe.n_steps
        return Outcome(self.state.step, is_finished, self._n_roll_backs, dict(self._scores))

    @property
    def position(self) -> int:
        """How far the schedule is, in steps of the recipe: steps done, or what the clock says of as many."""
        if not self.recipe.minutes:
            return self.state.step
        done = (time.monotonic() - self._begun) / self._seconds_in_all
        return math.floor(min(1.0, done) * self.recipe.n_steps)

    def learning_rate(self, step: int) -> float:
        """The rate of a step; where the recipe follows the clock, at the time at hand."""
        recipe = self.recipe
        position = self.position if recipe.minutes else step
        progress = (position - recipe.warm_up) / max(1, recipe.n_steps - recipe.warm_up)
        return recipe.rate_at(step, progress)

    @property
    def _is_graphed(self) -> bool:
        """Whether steps run as CUDA graphs."""
        return False

    def _enter(self, stage: Stage) -> None:
        """A stage begins, or goes on in a new sitting."""
        self._guard.forget()

    def _train_step(self) -> None:
        """One batch of clips: `n_chunks` updates along them."""
        stage = self._stage or self.recipe.stage_at(self.position)
        started = time.monotonic()
        number = self.state.step
        rate = self.learning_rate(number)
        self.state.set_learning_rate(rate)
        torch.manual_seed(hash((self.recipe.seed, number)))  # for models that draw something themselves
        totals = self._stepper.step(*self._draw(stage, number), stage)
        if totals is None:
            self._roll_back(number, "not finite")
            return
        if self._any(self._guard.is_exploding(totals["loss"])):
            self._roll_back(number, "the loss explodes")
            return
        self._n_roll_backs_in_a_row = 0
        self._loss = totals["loss"]
        self.state.step += 1
        seconds = time.monotonic() - started
        self.state.seconds += seconds
        if self.place.is_first:
            n_outputs = stage.batch * stage.n_targets * stage.n_chunks
            line: dict[str, Any] = {"step": number, "stage": stage.name, **totals, "learning_rate": rate}
            append_metrics(self.run_folder, {**line, "seconds": seconds, "frames_per_s": n_outputs / seconds})

    def _draw(self, stage: Stage, number: int) -> tuple[Batch, WindowSpec]:
        """This process's part of a step's batch, and the window that the model has in it."""
        shape = Shape(
            stage.batch,
            stage.n_targets * stage.n_chunks,
            stage.size,
            stage.synthetic_share,
            stage.n_references,
            stage.spread_targets,
        )
        recipe, place = self.recipe, self.place
        window = drawn_window(
            self.model.spec, recipe, step=number, n_supports=stage.n_supports, is_spread=shape.is_spread
        )
        batch = make_batch(self.data, recipe, window, shape, step=number, rank=place.rank, n_ranks=place.n_ranks)
        return batch, window

    def _roll_back(self, number: int, why: str) -> None:
        """Back to the last good weights, past the batch that spoiled them."""
        self._n_roll_backs += 1
        self._n_roll_backs_in_a_row += 1
        if self._n_roll_backs_in_a_row > MAX_ROLL_BACKS:
            raise VidfillError(
                f"the loss was not finite or exploded {MAX_ROLL_BACKS} times in a row, last at step {number}",
                todo="lower the learning rate or use float32",
            )
        _log.warning("step %d: %s, back to the weights of step %d", number, why, self._good["step"])
        self.state.restore(self._good)
        self.state.step = number + 1

    def _any(self, flag: bool) -> bool:  # noqa: FBT001 - the value that is shared
        return any_of(flag, self.place, self.device)

    def _validate(self) -> None:
        if self.place.is_first:
            self._scores, examples = self._validation.run(self.state.averaged)
            if self._scores:
                line = {"step": self.state.step - 1, "stage": "validation", **self._scores}
                append_metrics(self.run_folder, line)
                draw_sheet(self.run_folder / "samples" / f"step_{self.state.step:06d}.png", examples)
        wait_for_all(self.place)

    def _save(self) -> None:
        if self._guard.is_calm:
            self._good = self.state.snapshot()
        if self.place.is_first:
            self.state.save(self.run_folder)
            draw_curves(self.run_folder)
        wait_for_all(self.place)

    def _tell(self, stage: Stage) -> None:
        if self.place.is_first:
            scores = "".join(f", {name} {value:.2f}" for name, value in self._scores.items())
            done = f"step {self.state.step}" + ("" if self.recipe.minutes else f" of {self.recipe.n_steps}")
            _log.info("%s, stage %s, loss %.4g%s", done, stage.name, self._loss, scores)

    def _where_it_goes_on(self) -> str:
        """One line on what a resumed run does next: step, stage and rate follow from the recipe at hand."""
        step, n_steps = self.state.step, self.recipe.n_steps
        if self.recipe.minutes:
            return f"going on at step {step}"
        if step >= n_steps:
            return f"step {step} of {n_steps}: nothing left to do"
        return f"going on at step {step} of {n_steps}, stage {self.recipe.stage_at(step).name}, learning rate " + (
            f"{self.learning_rate(step):.2g}"
        )

    def _open_folder(self) -> None:
        try:
            self.run_folder.mkdir(parents=True, exist_ok=True)
            forget_metrics_from(self.run_folder, self.state.step)
            if self.state.step:
                for change in recipe_changes(self.run_folder, self.recipe):
                    _log.warning("the recipe of this run has changed: %s", change)
            write_recipe(self.run_folder, self.recipe, self.state.name, self.model.sizes)
        except OSError as error:
            raise OutputError(
                f"cannot write to {self.run_folder} ({error.strerror})", todo="name another --out"
            ) from error


def called_parts(model: Model) -> list[torch.nn.Module]:
    """The largest parts of a model that are called as modules: its children, and those of its lists, dicts and models.

    They take tensors alone. The model's own `step` also takes frame numbers, for each of which it would be compiled.
    """
    containers = (torch.nn.ModuleDict, torch.nn.ModuleList, Model)
    parts: list[torch.nn.Module] = []
    for child in model.children():
        parts += child.children() if isinstance(child, containers) else [child]
    return parts
