"""The training loop: batches, updates, checkpoints, validation, and the way back from a loss that explodes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from vidfill.engine.device import fast_short_type
from vidfill.errors import OutputError, UsageError, VidfillError
from vidfill.models.base import Model
from vidfill.train import ModelTraining, graph, report
from vidfill.train.data import TrainingData
from vidfill.train.loss_guard import LossGuard
from vidfill.train.objective import CRITIC_TERMS
from vidfill.train.parallel import Ranks, any_of, wait_for_all
from vidfill.train.recipe import Recipe, Stage
from vidfill.train.state import CHECKPOINT, TrainingState
from vidfill.train.step import Stepper
from vidfill.train.time_budget import Phase, TimeBudget
from vidfill.train.validation import Validation

_log = logging.getLogger("vidfill")

_MAX_ROLL_BACKS = 10
# Steps between two copies of everything in memory, to go back to when the loss explodes; each save makes one as well.
SNAPSHOT_EVERY = 200
# Of a sitting whose recipe follows the clock, what is kept for the last checkpoint and validation.
_CLOSING_RATIO = 0.03


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """How a run ended."""

    step: int  # steps done, over all sittings
    finished: bool  # whether that is all of them; else the time was up or somebody asked to stop
    n_roll_backs: int  # of this sitting
    metrics: dict[str, float]  # of the last validation


class Trainer:
    """One run of one model.

    Args:
        model: any model of the contract with parameters, on the training device.
        name: of the model, as the registry knows it.
        training: what the trainer must know of it.
        data: on the same device.
        recipe: the whole run.
        run: folder for checkpoints, metrics and pictures.
        resume: go on from the folder's checkpoint where there is one.
        ranks: which of several processes this is.

    Raises:
        UsageError: nothing to learn, a batch that the processes cannot share, or a folder that holds another run.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        training: ModelTraining,
        data: TrainingData,
        recipe: Recipe,
        run: Path,
        *,
        resume: bool = False,
        ranks: Ranks = Ranks(),  # noqa: B008 - immutable
    ) -> None:
        if not any(p.requires_grad for p in model.parameters()):
            raise UsageError(f"model {name} has nothing to learn", todo="train another one")
        if any(stage.batch % ranks.n_ranks for stage in recipe.stages):
            raise UsageError(f"{ranks.n_ranks} processes cannot share the batches of recipe {recipe.name} evenly")
        self.model, self.recipe, self.run_folder, self.ranks = model, recipe, run, ranks
        self.device = next(model.parameters()).device
        self._started, self._total_s = time.monotonic(), math.inf
        in_graph = recipe.acceleration == "graph" and ranks.n_ranks == 1 and graph.can_capture(self.device)
        torch.manual_seed(recipe.seed)
        self.state = TrainingState(model, name, recipe, in_graph=in_graph)
        if (run / CHECKPOINT).exists():
            if not resume:
                raise UsageError(f"{run} holds a run already", todo="give --resume, or another --out")
            self.state.load(run)
            _log.info("%s", self._what_is_left())
        self._samples = training.samples(data, recipe, model.spec)
        fixed = {"fp32": None, "bf16": torch.bfloat16}
        short_type = fixed.get(recipe.precision, fast_short_type(self.device, for_training=True))
        self._stepper = Stepper(
            self.state, recipe, training.terms, ranks=ranks, short_type=short_type, in_graph=in_graph
        )
        self._validation = Validation(self._samples.held_back(), training.fill, self._stepper.features)
        self._guard = LossGuard()
        self._stage: Stage | None = None
        self._good = self.state.snapshot()
        self._n_roll_backs = self._n_roll_backs_in_a_row = 0
        self._scores: dict[str, float] = {}
        self._loss, self._unread_s = math.nan, 0.0
        if ranks.is_first:
            self._open_folder()
        model.train()
        if recipe.acceleration == "compile" and self.device.type == "cuda":
            for part in called_parts(model):
                part.compile(dynamic=False)  # sizes change with the stage only; dynamic ones fail in torch 2.13

    def run(self, *, minutes: float | None = None, should_stop: Callable[[], bool] = lambda: False) -> TrainingResult:
        """Train to the end of the recipe, until the time is up or somebody asks to stop; save in each case.

        Args:
            minutes: of this sitting, saving included; None for as long as it takes. The last validation is left out
                where it might not fit. A recipe that follows the clock ends in this time, None for its own; what is
                left of a resumed one is stretched or squeezed to fit.
            should_stop: asked before every step, and before the last validation.

        Raises:
            VidfillError: the loss is not finite again and again, whatever the weights are rolled back to.
            OutputError: the folder cannot be written.
        """
        if self.recipe.minutes:
            minutes = minutes or self.recipe.minutes
            self._total_s = self.state.seconds + 60 * minutes * (1 - _CLOSING_RATIO)
            self._started = time.monotonic() - self.state.seconds
        budget = TimeBudget(minutes)
        while self.position < self.recipe.n_steps:
            stage = self.recipe.stage_at(self.position)
            phase: Phase = "step" if stage is self._stage else "first step"
            if self._any(should_stop() or not budget.has_time_for(phase, "save", "validation")):
                break
            with budget.timed(phase):
                self._train_step(stage)
            if self.state.step % self.recipe.save_every == 0:
                with budget.timed("save"):
                    self._save()
                self._tell(stage)
            if self.state.step % self.recipe.validate_every == 0:
                with budget.timed("validation"):
                    self._validate()
        self._save()  # before the last validation: nothing that happens there can cost any steps
        if self.state.step % self.recipe.validate_every:
            is_rushed = budget.is_limited and not (budget.knows("validation") and budget.has_time_for("validation"))
            if self._any(should_stop() or is_rushed):
                _log.info("no time for a last validation")
            else:
                self._validate()
        if self.ranks.is_first:
            report.draw_curves(self.run_folder)
        is_finished = self.position >= self.recipe.n_steps
        return TrainingResult(self.state.step, is_finished, self._n_roll_backs, dict(self._scores))

    @property
    def position(self) -> int:
        """How far the schedule is, in steps of the recipe: steps done, or what the clock says of as many."""
        if not self.recipe.minutes:
            return self.state.step
        done = (time.monotonic() - self._started) / self._total_s
        return math.floor(min(1.0, done) * self.recipe.n_steps)

    def learning_rate(self, step: int) -> float:
        """The rate of a step; where the recipe follows the clock, at the present time."""
        recipe = self.recipe
        position = self.position if recipe.minutes else step
        progress = (position - recipe.warmup_steps) / max(1, recipe.n_steps - recipe.warmup_steps)
        return recipe.rate_at(step, progress)

    def _train_step(self, stage: Stage) -> None:
        """One batch: `n_chunks` updates along its clips."""
        started = time.monotonic()
        if stage is not self._stage:
            self._stage = stage
            self._guard.forget()
        state, recipe, number = self.state, self.recipe, self.state.step
        rate = self.learning_rate(number)
        state.set_learning_rate(rate)
        if any(stage.loss.get(name) for name in CRITIC_TERMS):
            state.n_critic_steps += 1
            self._stepper.set_critic_weight(min(1.0, state.n_critic_steps / max(1, recipe.critic_warmup_steps)))
        torch.manual_seed(hash((recipe.seed, number)))  # of all that is drawn by torch
        self._stepper.step(self._samples.draw(stage, step=number, ranks=self.ranks), stage)
        state.step += 1
        totals = self._stepper.read() if state.step % recipe.read_every == 0 else {}
        self._unread_s += time.monotonic() - started
        if totals:
            self._judge(stage, number, totals, rate)

    def _judge(self, stage: Stage, number: int, totals: dict[str, float], rate: float) -> None:
        """Look at the losses since the last time: go back to earlier weights, or note them."""
        seconds, self._unread_s = self._unread_s, 0.0
        if self._any(not all(map(math.isfinite, totals.values()))):
            self._roll_back(number, "not finite")
            return
        if self._any(self._guard.is_exploding(totals["loss"])):
            self._roll_back(number, "the loss explodes")
            return
        self._n_roll_backs_in_a_row = 0
        self._loss = totals["loss"]
        self.state.seconds += seconds
        if self.ranks.is_first:
            n_outputs = stage.batch * stage.n_targets * stage.n_chunks * self.recipe.read_every
            line = {"step": number, "stage": stage.name, **totals, "learning_rate": rate, "seconds": seconds}
            report.append_metrics(self.run_folder, {**line, "frames_per_s": n_outputs / seconds})
        if self.state.step % SNAPSHOT_EVERY == 0 and self._guard.is_calm:
            self._good = self.state.snapshot()

    def _roll_back(self, number: int, why: str) -> None:
        """Back to the last good weights, past the batch that spoiled them."""
        self._n_roll_backs += 1
        self._n_roll_backs_in_a_row += 1
        if self._n_roll_backs_in_a_row > _MAX_ROLL_BACKS:
            raise VidfillError(
                f"the loss was not finite or exploded {_MAX_ROLL_BACKS} times in a row, last at step {number}",
                todo="lower the learning rate or use fp32",
            )
        _log.warning("step %d: %s, back to the weights of step %d", number, why, self._good["step"])
        self.state.restore(self._good)
        self.state.step = number + 1

    def _any(self, flag: bool) -> bool:  # noqa: FBT001 - the value that is shared
        return any_of(flag, self.ranks, self.device)

    def _validate(self) -> None:
        if self.ranks.is_first:
            self._scores, examples = self._validation.run(self.state.averaged)
            if self._scores:
                line = {"step": self.state.step - 1, "stage": "validation", **self._scores}
                report.append_metrics(self.run_folder, line)
                report.draw_sheet(self.run_folder / "samples" / f"step_{self.state.step:06d}.png", examples)
        wait_for_all(self.ranks)

    def _save(self) -> None:
        if self._guard.is_calm:
            self._good = self.state.snapshot()
        if self.ranks.is_first:
            self.state.save(self.run_folder)
            report.draw_curves(self.run_folder)
        wait_for_all(self.ranks)

    def _tell(self, stage: Stage) -> None:
        if self.ranks.is_first:
            scores = "".join(f", {name} {value:.2f}" for name, value in self._scores.items())
            done = f"step {self.state.step}" + ("" if self.recipe.minutes else f" of {self.recipe.n_steps}")
            _log.info("%s, stage %s, loss %.4g%s", done, stage.name, self._loss, scores)

    def _what_is_left(self) -> str:
        """One line on what a resumed run does next: step, stage and rate follow from the present recipe."""
        step, n_steps = self.state.step, self.recipe.n_steps
        if self.recipe.minutes:
            return f"going on at step {step}"
        if step >= n_steps:
            return f"step {step} of {n_steps}: nothing left to do"
        stage, rate = self.recipe.stage_at(step).name, self.learning_rate(step)
        return f"going on at step {step} of {n_steps}, stage {stage}, learning rate {rate:.2g}"

    def _open_folder(self) -> None:
        try:
            self.run_folder.mkdir(parents=True, exist_ok=True)
            report.forget_metrics_from(self.run_folder, self.state.step)
            if self.state.step:
                for change in report.recipe_changes(self.run_folder, self.recipe):
                    _log.warning("the recipe of this run has changed: %s", change)
            report.write_recipe(self.run_folder, self.recipe, self.state.name, self.model.sizes)
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
