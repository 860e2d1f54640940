"""What a training run consists of, as plain data. Three recipes: a test's, hours on two cores, an hour on one big GPU.

The stages are those of the paper (Deep Video Inpainting, section 4, and the authors' code): one support frame, then the
full window, both without recurrence; then the recurrence, over unrolls that grow. Two are added. Before all others goes
one that learns motion alone: with the other losses pulling at them, the two encoders part before their features have
ever matched, and then no motion is found. In the last one a discriminator takes part.

A step works on one batch of clips; it makes `Stage.n_chunks` updates, each with the gradient through `Stage.n_targets`
consecutive outputs, and goes on with its own, detached outputs and memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vidfill.errors import UsageError

Sizes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LossWeights:
    """The factor of each term of the loss; terms of weight 0 are not computed.

    Attributes:
        frame: L1 over the whole frame.
        ssim: 1 - SSIM over the whole frame.
        hole: L1 inside the hole.
        flow: L1 of the flows, in pixels, against the truth: exact in synthetic scenes, optical flow that passed its
            checks in real clips, there for the last target of a chunk only (`batch_motion`).
        short: an output against the one before it, warped by that flow.
        long: an output against the chunk's first, warped likewise.
        adversarial: hinge loss of the spatio-temporal discriminator.
        peel: L1 inside each onion peel, summed over them, for a model that leaves peels as its record (`peel_losses`).
        valid: L1 of what is decoded where nothing is missing, likewise.
        variation: total variation inside each peel, likewise.
        match: minus the logarithm of the attention that falls on the truth, likewise (`match_loss`).
        rim: L1 inside the hole, less the deeper inside (`picture_losses`, as all that follow).
        known: L1 outside the hole.
        feature: distance of features of EfficientNet-Lite0 in and near the hole.
        patches: hinge loss of the discriminator of patches of single pictures.
        matching: L1 of that discriminator's features.
        projected: hinge loss of the discriminators of single pictures on frozen features.
    """

    frame: float = 1.0
    ssim: float = 1.0
    hole: float = 5.0
    flow: float = 0.1
    short: float = 1.0
    long: float = 1.0
    adversarial: float = 0.0
    peel: float = 0.0
    valid: float = 0.0
    variation: float = 0.0
    match: float = 0.0
    rim: float = 0.0
    known: float = 0.0
    feature: float = 0.0
    patches: float = 0.0
    matching: float = 0.0
    projected: float = 0.0

    @property
    def has_picture_terms(self) -> bool:
        """Whether a term looks at single pictures."""
        return bool(self.rim or self.known or self.feature or self.needs_picture_critics)

    @property
    def needs_features(self) -> bool:
        """Whether a term looks at features of EfficientNet-Lite0."""
        return bool(self.feature or self.projected)

    @property
    def needs_picture_critics(self) -> bool:
        """Whether a discriminator of single pictures takes part."""
        return bool(self.patches or self.matching or self.projected)


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of a run.

    Attributes:
        name: as the metrics show it.
        share: of the run's steps; the shares of a recipe sum to 1.
        batch: clips of one step, over all processes.
        crop_px: height and width of a training frame.
        width_px: its width, where that is another; 0 for a square. For `painter` only.
        n_targets: consecutive outputs that one gradient goes through; 1, with 1 chunk, trains without recurrence.
        n_chunks: updates on one batch of clips, each starting from the detached outputs of the one before.
        synthetic_share: fraction of the clips made from photos.
        n_supports: different neighbours that a window holds, drawn for each step and repeated until it is full; 0 for
            all of them.
        n_references: frames beside the targets that are drawn from near and far, for a model that reads from a bank of
            them; 0 for the frames that the model's own window reaches.
        spread_targets: for such a model: the targets do not follow each other but are drawn from near and far as well,
            and each is filled from all others.
        loss: what is minimised.
    """

    name: str
    share: float
    batch: int
    crop_px: int
    n_targets: int = 1
    n_chunks: int = 1
    synthetic_share: float = 0.5
    n_supports: int = 0
    n_references: int = 0
    spread_targets: bool = False
    loss: LossWeights = LossWeights()
    width_px: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a training frame."""
        return self.crop_px, self.width_px or self.crop_px


@dataclass(frozen=True, slots=True)
class DataBudget:
    """How much of the data is decoded and kept on the device.

    Attributes:
        short_side_px: frames and photos are resized to this short side.
        frames_per_clip: the first so many of each clip.
        n_photos: of the photos, in the order of the archives.
        silhouette_px: object shapes are fitted into squares of this side.
        enlarge: photos with a smaller short side are enlarged to it, so that every crop fits.
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
        n_steps: length of the run; the learning rate falls to `final_rate` of itself by its end.
        stages: in order.
        data: what is kept of the data.
        sizes: model name -> arguments of its network; a model that is not named takes its own defaults.
        optimizer: AdamW for all tensors, or Muon for those of most convolutions and AdamW for the others (`muon`).
        betas: of AdamW, for the model.
        learning_rate: of AdamW and Muon, at its highest.
        hold: share of the run that stays there before the cosine begins.
        final_rate: fraction of the learning rate that is left at the end of the cosine.
        warm_up: steps over which the learning rate rises.
        weight_decay: of either, on tensors with two or more axes.
        clip_norm: the gradient is scaled down to this norm.
        ema_decay: of the averaged weights, the ones that are evaluated and exported.
        precision: bf16 autocast, float32, or bf16 where the device has fast units for it.
        compile_layers: torch.compile on the model's parts, or for `painter` one CUDA graph of the step; CUDA only.
        discriminator_width: channels of the first layer of the discriminators.
        critic_rate: learning rate of the discriminators, as a fraction of the model's.
        critic_warm_up: steps over which the weights of their terms rise, for `painter`.
        minutes: length of a run whose schedule follows the clock, 0 for one that counts its steps; for `painter`.
        read_every: steps between two looks at the losses, for each of which the device has to be waited for; likewise.
        save_every: steps between two checkpoints.
        validate_every: steps between two validations.
        n_validation: held-back clips of a validation.
        validation_frames: frames filled in each of them.
        seed: of everything that is drawn.
    """

    name: str
    n_steps: int
    stages: tuple[Stage, ...]
    data: DataBudget
    sizes: Mapping[str, Sizes] = field(default_factory=dict)
    optimizer: Literal["adamw", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    learning_rate: float = 2e-4
    hold: float = 0.0
    final_rate: float = 0.02
    warm_up: int = 200
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile_layers: bool = True
    discriminator_width: int = 32
    critic_rate: float = 1.0
    critic_warm_up: int = 0
    minutes: float = 0.0
    read_every: int = 1
    save_every: int = 200
    validate_every: int = 1000
    n_validation: int = 6
    validation_frames: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if abs(sum(stage.share for stage in self.stages) - 1) > 1e-6:
            raise ValueError(f"the stages of recipe {self.name} do not share out the whole run")
        if any(min(stage.batch, stage.n_targets, stage.n_chunks) < 1 for stage in self.stages):
            raise ValueError(f"recipe {self.name} has a stage without clips, targets or updates")
        if any(stage.spread_targets and stage.n_references for stage in self.stages):
            raise ValueError(f"recipe {self.name} has references beside targets that are each other's references")
        if any(stage.crop_px > self.data.short_side_px for stage in self.stages):
            raise ValueError(f"recipe {self.name} crops more than the short side of its data")

    def rate_at(self, step: int, progress: float) -> float:
        """The learning rate: a linear rise, `hold`, then half a cosine down to `final_rate`.

        Args:
            step: number of the step, from 0; for the rise.
            progress: how much of the run after the rise is done, 0 to 1.
        """
        rise = min(1.0, (step + 1) / max(1, self.warm_up))
        fallen = min(1.0, max(0.0, (progress - self.hold) / max(1e-9, 1 - self.hold)))
        cosine = 0.5 * (1 + math.cos(math.pi * fallen))
        return self.learning_rate * rise * (self.final_rate + (1 - self.final_rate) * cosine)

    def stage_at(self, step: int) -> Stage:
        """The stage that a step (from 0) belongs to; the last one for steps after the end."""
        end = 0.0
        for stage in self.stages:
            end += stage.share * self.n_steps
            if step < round(end):
                return stage
        return self.stages[-1]


_TINY_VINET: Sizes = {
    "encoder": (4, 4, 6, 8),
    "head": 4,
    "estimator": ((8, 8, 4),) * 4,
    "context": ((4, 4, 4, 4, 4, 4),) * 4,
    "search_range_px": 2,
}

# Slim at the finest scales, where the full network spends three quarters of its arithmetic.
_SLIM_VINET: Sizes = {
    "encoder": (24, 32, 48, 64),
    "estimator": ((64, 64, 48, 32, 24), (48, 48, 32, 24, 16), (32, 24, 16), (8,)),
    "context": ((48, 48, 48, 32, 24, 16), (32, 32, 32, 24, 16, 16), (16, 16, 16, 16, 8, 8), (8, 8, 8, 8, 8, 8)),
    "normalise_correlation": True,
    "normalise_target": True,
}

# The paper's encoder; half the width where the flow is estimated at the finest scale that is used.
_GPU_VINET: Sizes = {
    "estimator": ((128, 128, 96, 64, 32), (96, 96, 64, 48, 32), (64, 48, 32), (8,)),
    "context": ((128, 128, 128, 96, 64, 32), (64, 64, 64, 48, 32, 32), (32, 32, 32, 32, 24, 24), (8, 8, 8, 8, 8, 8)),
    "normalise_correlation": True,
    "normalise_target": True,
}

TINY = Recipe(
    name="tiny",
    n_steps=4,
    stages=(
        Stage("support", share=0.25, batch=2, crop_px=32, n_supports=1),
        Stage("window", share=0.25, batch=2, crop_px=32),
        Stage("recurrent", share=0.5, batch=2, crop_px=32, n_targets=2, n_chunks=2, loss=LossWeights(adversarial=0.1)),
    ),
    data=DataBudget(short_side_px=48, frames_per_clip=24, n_photos=16, silhouette_px=32),
    sizes={"vinet": _TINY_VINET},
    warm_up=2,
    precision="float32",
    compile_layers=False,
    discriminator_width=4,
    save_every=2,
    validate_every=4,
    n_validation=2,
    validation_frames=4,
)

_MOTION_LOSS = LossWeights(frame=0, ssim=0, hole=0, flow=1, short=0, long=0)
_CPU_LOSS = LossWeights(ssim=0.5, flow=0.3, short=0.5, long=0.0)

CPU = Recipe(
    name="cpu",
    n_steps=9000,
    stages=(
        Stage("motion", share=0.05, batch=4, crop_px=128, synthetic_share=1, loss=_MOTION_LOSS),
        Stage("single", share=0.2, batch=4, crop_px=128, loss=_CPU_LOSS),
        Stage("recurrent", share=0.45, batch=2, crop_px=160, n_targets=3, loss=_CPU_LOSS),
        Stage("feedback", share=0.3, batch=2, crop_px=160, n_targets=3, n_chunks=3, loss=_CPU_LOSS),
    ),
    data=DataBudget(short_side_px=192, frames_per_clip=40, n_photos=1500),
    sizes={"vinet": _SLIM_VINET},
    # At 1e-3 the gradients of the motion stage grow a hundredfold, and it ends without the target's coarsest features.
    learning_rate=3e-4,
    ema_decay=0.995,
    warm_up=100,
    save_every=100,
    validate_every=250,
    n_validation=8,
    validation_frames=12,
)

_GPU_LOSS = LossWeights(flow=0.3)

# One H200, VINet of 11.7 M parameters at 224x224. Counted: a target frame takes 33 GFLOP forward, so 98 GFLOP to train,
# in about 1,450 kernels. At 250 TFLOP/s of bfloat16 that is 2,500 target frames a second; half of it, 1,250, is what to
# expect of small kernels and warping. A batch of 16 computes for 6 ms a target, which is about what launching its
# kernels takes without torch.compile: smaller ones leave the GPU waiting.
#
# Target frames: steps x batch x n_targets x n_chunks. Of 12,000 steps: motion, support and window 4,800 x 32 = 0.15 M;
# unroll 2,400 x 48 = 0.12 M; long 1,800 x 128 = 0.23 M; feedback 1,800 x 480 = 0.86 M; adversarial 1,200 x 320 =
# 0.38 M. Together 1.75 M, 170 PFLOP: 12 minutes at the ceiling, 25 at the rate to expect; two minutes or so of
# compiling beside it, for each of the two batch sizes. None of the rates has been measured on the GPU itself.
#
# Data: 25,000 frames (60 MiB of shards) at 256x455 are 8.7 GB of uint8 on the GPU, 5,000 photos 1.5 GB.
GPU = Recipe(
    name="gpu",
    n_steps=12000,
    stages=(
        Stage("motion", share=0.1, batch=32, crop_px=224, synthetic_share=1, loss=_MOTION_LOSS),
        Stage("support", share=0.05, batch=32, crop_px=224, n_supports=1, loss=_GPU_LOSS),
        Stage("window", share=0.25, batch=32, crop_px=224, loss=_GPU_LOSS),
        Stage("unroll", share=0.2, batch=16, crop_px=224, n_targets=3, loss=_GPU_LOSS),
        Stage("long", share=0.15, batch=16, crop_px=224, n_targets=8, loss=_GPU_LOSS),
        Stage("feedback", share=0.15, batch=16, crop_px=224, n_targets=5, n_chunks=6, loss=_GPU_LOSS),
        Stage(
            "adversarial", share=0.1, batch=16, crop_px=224, n_targets=5, n_chunks=4,
            loss=LossWeights(flow=0.3, adversarial=0.02),
        ),
    ),
    data=DataBudget(short_side_px=256, frames_per_clip=400, n_photos=5000),
    sizes={"vinet": _GPU_VINET},
    learning_rate=3e-4,
    warm_up=500,
    n_validation=12,
    validation_frames=40,
)  # fmt: skip

_RECIPES = {recipe.name: recipe for recipe in (TINY, CPU, GPU)}
RECIPE_NAMES: tuple[str, ...] = tuple(_RECIPES)


def find_recipe(name: str, *, model: str = "") -> Recipe:
    """The recipe of that name, a model's own where it has one.

    Raises:
        UsageError: there is none.
    """
    from vidfill.train.opn_recipes import OPN_RECIPES  # made of what this module defines
    from vidfill.train.painter_recipes import PAINTER_RECIPES

    recipes = _RECIPES | OPN_RECIPES.get(model, {}) | PAINTER_RECIPES.get(model, {})
    if name not in recipes:
        raise UsageError(f"no recipe {name!r}", expected="one of " + ", ".join(RECIPE_NAMES))
    return recipes[name]
