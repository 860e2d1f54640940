"""What a training run consists of, as plain data: the stages, the data that is kept, the optimiser and its schedule.

A step works on one batch of clips. It makes `Stage.n_chunks` updates, each with the gradient through `Stage.n_targets`
consecutive outputs, and goes on with its own detached outputs and memory (truncated backpropagation through time).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of a run.

    Attributes:
        name: as the metrics show it.
        ratio: of the run's steps; the ratios of a recipe sum to 1.
        batch: clips of one step, over all processes.
        crop_px: height of a training frame, and its width unless `width_px` says otherwise.
        loss: weight of each loss term by its name (`objective.TERMS`, or the model's own); the others are not computed.
        n_targets: consecutive outputs that one gradient goes through; 1, with 1 chunk, trains without recurrence.
        n_chunks: updates on one batch of clips.
        synthetic_ratio: of the clips, those made from photos.
        n_supports: how many different neighbours a window holds, drawn for each step and repeated until it is full; 0
            for all of them.
        n_references: frames beside the targets that are drawn from near and far, for a model that reads from a bank of
            references; 0 for the frames within the model's window.
        spread_targets: for such a model: the targets are drawn from near and far as well instead of following each
            other, and each is filled from all others.
        width_px: width of a training frame; 0 for a square.
    """

    name: str
    ratio: float
    batch: int
    crop_px: int
    loss: Mapping[str, float]
    n_targets: int = 1
    n_chunks: int = 1
    synthetic_ratio: float = 0.5
    n_supports: int = 0
    n_references: int = 0
    spread_targets: bool = False
    width_px: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a training frame."""
        return self.crop_px, self.width_px or self.crop_px

    @property
    def is_spread(self) -> bool:
        """Whether any frames of a clip are drawn from near and far."""
        return self.spread_targets or self.n_references > 0


@dataclass(frozen=True, slots=True)
class DataBudget:
    """How much of the data is decoded and kept on the device.

    Attributes:
        short_side_px: frames and photos are resized to this short side.
        frames_per_clip: the first so many of each clip.
        n_photos: of the photos, in the order of the archives.
        silhouette_px: object shapes are fitted into squares of this side.
        enlarge: enlarge photos with a smaller short side, so that every crop fits.
    """

    short_side_px: int
    frames_per_clip: int
    n_photos: int
    silhouette_px: int = 128
    enlarge: bool = True


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides how a run goes, apart from the model, the data and the machine.

    Attributes:
        name: of the recipe.
        n_steps: length of the run.
        data: what is kept of the data.
        stages: in order; empty in a base that is to be completed.
        sizes: arguments of the network, else its own defaults.
        optimizer: AdamW for all tensors, or Muon for the kernels of convolutions and AdamW for the rest (`optimizers`).
        betas: of AdamW, for the model.
        learning_rate: the highest, of AdamW and Muon.
        hold_ratio: of the run after the warmup, how long the rate stays there before its cosine begins.
        min_lr_ratio: of the learning rate, what is left at the end of the cosine.
        warmup_steps: over which the learning rate rises.
        weight_decay: on tensors with two or more axes.
        clip_norm: largest norm of the gradient.
        ema_decay: of the averaged weights, which are the ones that are validated and exported.
        precision: "auto" for bfloat16 autocast where the device has fast units for it, or "fp32" or "bf16".
        acceleration: on CUDA, torch.compile of the model's parts, or the whole step as one CUDA graph; "" for neither.
        critic_width: channels of the first layer of the discriminators.
        critic_lr_ratio: learning rate of the discriminators over the model's.
        critic_warmup_steps: over which the weights of their terms in the model's loss rise.
        minutes: length of a run whose schedule follows the clock; 0 for one that counts its steps.
        read_every: steps between two looks at the losses, for each of which the processor has to wait for the device.
        save_every: steps between two checkpoints.
        validate_every: steps between two validations.
        n_validation: held-back clips or pictures of a validation.
        validation_frames: frames filled in each clip.
        seed: of everything that is drawn.
    """

    name: str
    n_steps: int
    data: DataBudget
    stages: tuple[Stage, ...] = ()
    sizes: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Literal["adamw", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    learning_rate: float = 2e-4
    hold_ratio: float = 0.0
    min_lr_ratio: float = 0.02
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    acceleration: Literal["", "compile", "graph"] = "compile"
    critic_width: int = 32
    critic_lr_ratio: float = 1.0
    critic_warmup_steps: int = 0
    minutes: float = 0.0
    read_every: int = 1
    save_every: int = 200
    validate_every: int = 1000
    n_validation: int = 6
    validation_frames: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.stages and abs(sum(stage.ratio for stage in self.stages) - 1) > 1e-6:
            raise ValueError(f"the ratios of the stages of recipe {self.name} do not sum to 1")
        for stage in self.stages:
            if min(stage.batch, stage.n_targets, stage.n_chunks) < 1:
                raise ValueError(f"recipe {self.name} has a stage without clips, targets or updates")
            if stage.spread_targets and stage.n_references:
                raise ValueError(f"recipe {self.name} has references beside targets that are each other's references")
            if stage.crop_px > self.data.short_side_px:
                raise ValueError(f"recipe {self.name} crops more than the short side of its data")
            if stage.n_chunks > 1 and self.acceleration == "graph":
                raise ValueError(f"recipe {self.name} has a stage of several updates, which no CUDA graph can hold")

    @property
    def terms(self) -> frozenset[str]:
        """Names of the loss terms that any stage uses."""
        return frozenset(name for stage in self.stages for name, weight in stage.loss.items() if weight)

    def rate_at(self, step: int, progress: float) -> float:
        """The learning rate: a linear rise, a plateau, then half a cosine down to `min_lr_ratio`.

        Args:
            step: number of the step, from 0; for the rise.
            progress: how much of the run after the rise is done, 0 to 1.
        """
        rise = min(1.0, (step + 1) / max(1, self.warmup_steps))
        fallen = min(1.0, max(0.0, (progress - self.hold_ratio) / max(1e-9, 1 - self.hold_ratio)))
        cosine = 0.5 * (1 + math.cos(math.pi * fallen))
        return self.learning_rate * rise * (self.min_lr_ratio + (1 - self.min_lr_ratio) * cosine)

    def stage_at(self, step: int) -> Stage:
        """The stage that a step (from 0) belongs to; the last one for steps after the end."""
        end = 0.0
        for stage in self.stages:
            end += stage.ratio * self.n_steps
            if step < round(end):
                return stage
        return self.stages[-1]


# What the recipes of one size have in common: for a test, for hours on two cores, for an hour on one big GPU.
TINY = Recipe(
    name="tiny",
    n_steps=4,
    data=DataBudget(short_side_px=48, frames_per_clip=24, n_photos=16, silhouette_px=32),
    warmup_steps=2,
    precision="fp32",
    acceleration="",
    critic_width=4,
    save_every=2,
    validate_every=4,
    n_validation=2,
    validation_frames=4,
)
CPU = Recipe(
    name="cpu",
    n_steps=9000,
    data=DataBudget(short_side_px=192, frames_per_clip=40, n_photos=1500),
    learning_rate=3e-4,
    ema_decay=0.995,
    warmup_steps=100,
    save_every=100,
    validate_every=250,
    n_validation=8,
    validation_frames=12,
)
GPU = Recipe(
    name="gpu",
    n_steps=12000,
    data=DataBudget(short_side_px=256, frames_per_clip=400, n_photos=5000),
    learning_rate=3e-4,
    warmup_steps=500,
    n_validation=12,
    validation_frames=40,
)
