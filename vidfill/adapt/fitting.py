"""The loop of an adaptation: cut holes, learn from them, look whether it helps, stop in time."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from vidfill.adapt.excerpts import Excerpt, choose_spans, read_excerpts
from vidfill.adapt.judge import is_better, judge, mean_score
from vidfill.adapt.samples import Sample, drawn, make_sample
from vidfill.adapter import Adapted, Clip, Report, Score
from vidfill.engine import EngineSettings
from vidfill.engine.device import choose_runtime, is_out_of_memory, limited_threads
from vidfill.models.base import Model
from vidfill.train.clock import Clock, Part
from vidfill.train.parallel import Place
from vidfill.train.recipes import DataBudget, Recipe, Stage, find_recipe
from vidfill.train.state import TrainingState
from vidfill.train.step import Stepper

if TYPE_CHECKING:
    from vidfill.adapt.adaptation import Adaptation

CROP_PX = 160
JUDGED_CROP_PX = 224
N_JUDGED = 4
HELD_OUT = 1 / 3
"""Of each excerpt, its first part: only there holes are judged, only after it they are learned from."""
N_SAMPLES = 8
STEPS_PER_SAMPLE = 16
STEPS_PER_VERDICT = 40
PATIENCE = 3
"""Verdicts in a row that may be no better than the best before the rest of the time is given back."""
TRIES_PER_SAMPLE = 6
WARM_UP = 10
TOO_SHORT = "the time is too short"
LOSS = find_recipe("cpu", model="fuse").stages[0].loss
"""For every model: it looks at holes alone, while whole frames and flows would show what is to be removed."""

RECIPE = Recipe(
    name="adapt",
    n_steps=1,
    stages=(Stage("adapt", share=1, batch=1, crop_px=CROP_PX, n_targets=3, loss=LOSS),),
    data=DataBudget(short_side_px=CROP_PX, frames_per_clip=0, n_photos=0),
    ema_decay=0.97,
)


def fit(
    adaptation: Adaptation, model: Model, name: str, clip: Clip, settings: EngineSettings, report: Report
) -> Adapted:
    """Fine-tune a model on a clip; it keeps what it learned only if the held-out holes are filled better.

    Args:
        adaptation: how long, and from which seed.
        model: with learned weights, on any device; changed in place, or not at all.
        name: of the model.
        clip: what to fit it to.
        settings: device, threads, precision of the verdict.
        report: called with (seconds passed, seconds in all).
    """
    started = time.monotonic()
    fitting = _Fitting(adaptation, model, name, settings, report)
    obstacle = ""
    try:
        with limited_threads(settings.threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(adaptation.seed)
            fitting.run(clip)
    except _Obstacle as found:
        obstacle = str(found)
    except (RuntimeError, MemoryError, cv2.error) as error:
        if not is_out_of_memory(error):
            raise
        obstacle = "memory ran out"
    if fitting.best is not None:
        model.load_state_dict(fitting.best)
    report(fitting.total_s, fitting.total_s)
    return replace(fitting.outcome, seconds=time.monotonic() - started, obstacle=obstacle)


class _Obstacle(Exception):  # noqa: N818 - no fault
    """Why an adaptation ends here, as a phrase."""


class _OutOfTime(_Obstacle):
    """There is just enough time left for a verdict."""


class _NoRoom(_Obstacle):
    """No place for a hole was found."""


class _Fitting:
    """One adaptation.

    Attributes:
        best: the best weights so far, None for those that the model had.
        outcome: as it would be if it ended now.
        total_s: the time that it may take, in whole seconds, 1 at least.
    """

    def __init__(
        self, adaptation: Adaptation, model: Model, name: str, settings: EngineSettings, report: Report
    ) -> None:
        self._adaptation, self._report = adaptation, report
        self._clock = Clock(adaptation.minutes)
        self._started, self.total_s = time.monotonic(), max(1, round(60 * adaptation.minutes))
        self._runtime = choose_runtime(model, settings)
        recipe = replace(
            RECIPE,
            learning_rate=adaptation.learning_rate,
            seed=adaptation.seed,
            precision="float32" if settings.precision == "fp32" else "auto",
        )
        self._stage = recipe.stages[0]
        learner = self._runtime.place(copy.deepcopy(model))
        self._state = TrainingState(learner, name, recipe)
        self._stepper = Stepper(self._state, recipe, Place())
        self._samples: list[Sample] = []
        self._n_samples = 0
        self.best: dict[str, Tensor] | None = None
        self.outcome = Adapted(is_kept=False)

    def run(self, clip: Clip) -> None:
        """Adapt until the time is up or the steps are done.

        Raises:
            _Obstacle: there is no time or nothing to learn from, or the loss is not finite.
        """
        excerpts = list(read_excerpts(clip, choose_spans(clip.plan), self._on_frame))
        if not excerpts:
            raise _Obstacle("no run of frames is long enough, or the working size is too large")
        judged = [self._sample(excerpts, k, is_judged=True) for k in range(N_JUDGED)]
        if not self._clock.has_time_for("sample"):  # about as long as the first verdict will take
            raise _OutOfTime(TOO_SHORT)
        before = self._verdict(judged)
        self.outcome = replace(self.outcome, before=mean_score(before))
        n_judged = n_in_vain = 0
        while self._state.step < self._adaptation.steps and n_in_vain < PATIENCE and self._learn(excerpts):
            if self._state.step % STEPS_PER_VERDICT == 0 and self._clock.has_time_for("validation", "validation"):
                n_judged, n_in_vain = self._state.step, 0 if self._keep_better(judged, before) else n_in_vain + 1
        if self._state.step > n_judged:
            self._keep_better(judged, before)

    def _learn(self, excerpts: list[Excerpt]) -> bool:
        """One step, with a new sample before it if it is time for one; False if the time is up."""
        if self._state.step % STEPS_PER_SAMPLE == 0:
            try:
                self._renew_samples(excerpts)
            except _OutOfTime:
                if not self._state.step:
                    raise
                return False
        unless_known: Part = "step" if self._clock.knows("step") else "validation"
        if not self._clock.has_time_for(unless_known, "validation"):
            return False
        with self._clock.timed("step"):
            self._step()
        return True

    def _keep_better(self, judged: list[Sample], before: list[Score]) -> bool:
        """Judge the averaged weights; keep them if they are better than those before, and the best so far."""
        scores, best = self._verdict(judged), self.outcome.after
        score = mean_score(scores)
        is_best = best is None or not self.outcome.is_kept or score.hole_psnr_db > best.hole_psnr_db
        is_kept = is_best and is_better(scores, before)
        if is_kept:
            self.best = {name: tensor.detach().clone() for name, tensor in self._state.averaged.state_dict().items()}
        if is_kept or not self.outcome.is_kept:
            self.outcome = replace(self.outcome, is_kept=is_kept, after=score)
        return is_kept

    def _verdict(self, judged: list[Sample]) -> list[Score]:
        with self._clock.timed("validation"):
            return judge(self._state.averaged, judged, self._runtime)

    def _step(self) -> None:
        """One update of the weights from one window of one sample."""
        number = self._state.step
        rng = np.random.default_rng((self._adaptation.seed, 1, number))
        sample = self._samples[int(rng.integers(len(self._samples)))]
        windows = sample.windows(self._stage.n_targets)
        targets = windows[int(rng.integers(len(windows)))]
        self._state.set_learning_rate(self._adaptation.learning_rate * min(1.0, (number + 1) / WARM_UP))
        learner = self._state.model.train()
        stage = replace(self._stage, n_targets=len(targets))
        if self._stepper.step(drawn(learner, sample, targets), stage) is None:
            raise _Obstacle("the loss was not finite")
        self._state.step += 1
        self.outcome = replace(self.outcome, n_steps=self._state.step)
        self._tell()

    def _renew_samples(self, excerpts: list[Excerpt]) -> None:
        """One more sample, in the place of the oldest if there are many; none if the time is short."""
        if self._samples and not self._clock.has_time_for("sample", "step", "validation"):
            return
        try:
            sample = self._sample(excerpts, self._n_samples, is_judged=False)
        except _NoRoom:
            if not self._samples:
                raise
            return
        self._samples = [*self._samples, sample][-N_SAMPLES:]
        self._n_samples += 1
        self.outcome = replace(self.outcome, n_holes=self._n_samples)

    def _sample(self, excerpts: list[Excerpt], number: int, *, is_judged: bool) -> Sample:
        """A sample from one of the excerpts, one after the other; the next where there is no room."""
        crop_px = JUDGED_CROP_PX if is_judged else CROP_PX
        for attempt in range(TRIES_PER_SAMPLE):
            excerpt = excerpts[(number + attempt) % len(excerpts)]
            n_frames = len(excerpt.frames)
            n_held = max(1, round(n_frames * HELD_OUT))
            targets = range(n_held) if is_judged else range(n_held, n_frames)
            rng = np.random.default_rng((self._adaptation.seed, 2 + is_judged, number, attempt))
            with self._clock.timed("sample"):
                sample = make_sample(self._state.model, excerpt, targets, crop_px, rng, self._on_frame)
            if sample is not None:
                return sample
        raise _NoRoom("the object leaves no room for a hole beside it")

    def _on_frame(self) -> None:
        self._tell()
        if not self._clock.has_time_for("validation"):
            raise _OutOfTime(TOO_SHORT)

    def _tell(self) -> None:
        self._report(min(self.total_s - 1, int(time.monotonic() - self._started)), self.total_s)
