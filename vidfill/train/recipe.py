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
    """One part of a run."""

    name: str  # as the metrics show it
    ratio: float  # of the run's steps; the ratios of a recipe sum to 1
    batch: int  # clips of one step, over all processes
    crop_px: int  # height of a training frame, and its width unless `width_px` says otherwise
    loss: Mapping[str, float]  # weight of each term by name (`objective.TERMS` or the model's); others are not computed
    n_targets: int = 1  # consecutive outputs that one gradient goes through; 1, with 1 chunk, trains no recurrence
    n_chunks: int = 1  # updates on one batch of clips
    synthetic_ratio: float = 0.5  # of the clips, those made from photos
    # How many different neighbours a window holds, drawn for each step and repeated until it is full; 0 for all.
    n_supports: int = 0
    # Frames beside the targets that are drawn from near and far, for a model that reads from a bank of references; 0
    # for the frames within the model's window.
    n_references: int = 0
    # For such a model: the targets are drawn from near and far as well, and each is filled from all others.
    spread_targets: bool = False
    width_px: int = 0  # of a training frame; 0 for a square

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
    """How much of the data is decoded and kept on the device."""

    short_side_px: int  # frames and photos are resized to this short side
    frames_per_clip: int  # the first so many of each clip
    n_photos: int  # in the order of the archives
    silhouette_px: int = 128  # object shapes are fitted into squares of this side
    enlarge: bool = True  # also photos with a smaller short side, so that every crop fits


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides how a run goes, apart from the model, the data and the machine."""

    name: str
    n_steps: int
    data: DataBudget
    stages: tuple[Stage, ...] = ()  # in order; none in a base that is to be completed
    sizes: Mapping[str, Any] = field(default_factory=dict)  # arguments of the network, else its own defaults
    optimizer: Literal["adamw", "muon"] = "adamw"  # Muon for the kernels of convolutions, AdamW for the rest
    betas: tuple[float, float] = (0.9, 0.999)  # of AdamW, for the model
    learning_rate: float = 2e-4  # the highest, of AdamW and Muon
    hold_ratio: float = 0.0  # of the run after the warmup, the part at the highest rate, before its cosine begins
    min_lr_ratio: float = 0.02  # what is left of the learning rate at the end of the cosine
    warmup_steps: int = 200
    weight_decay: float = 1e-4  # on tensors with two or more axes
    clip_norm: float = 1.0  # largest norm of the gradient
    ema_decay: float = 0.999  # of the averaged weights, which are the ones that are validated and exported
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bfloat16 autocast where the device has fast units
    # On CUDA: torch.compile of the model's parts, or the whole step as one CUDA graph; "" for neither.
    acceleration: Literal["", "compile", "graph"] = "compile"
    critic_width: int = 32  # channels of the first layer of the discriminators
    critic_lr_ratio: float = 1.0  # learning rate of the discriminators over the model's
    critic_warmup_steps: int = 0  # over which the weights of their terms in the model's loss rise
    minutes: float = 0.0  # length of a run whose schedule follows the clock; 0 for one that counts its steps
    read_every: int = 1  # steps between two looks at the losses, for each of which the processor waits for the device
    save_every: int = 200
    validate_every: int = 1000
    n_validation: int = 6  # held-back clips or pictures of a validation
    validation_frames: int = 20  # filled in each clip
    seed: int = 0  # of everything that is drawn

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
        """The learning rate: a linear rise by the step's number, a plateau, then half a cosine down to `min_lr_ratio`.

        `progress` is how much of the run after the rise is done, 0 to 1.
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
