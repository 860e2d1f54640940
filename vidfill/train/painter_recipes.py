"""The recipes of the painter: single pictures with holes, first without discriminators, then with them."""

from __future__ import annotations

from dataclasses import replace

from vidfill.train.recipes import CPU, TINY, DataBudget, LossWeights, Recipe, Stage

_PAINTS = LossWeights(frame=0, ssim=0, hole=0, flow=0, short=0, long=0, rim=6.0, known=2.0, feature=0.5)
_SHARPENS = replace(_PAINTS, patches=0.5, matching=10.0, projected=0.5)

PAINTER_TINY = replace(
    TINY,
    stages=(
        Stage("paint", share=0.5, batch=2, crop_px=32, loss=_PAINTS),
        Stage("sharpen", share=0.5, batch=2, crop_px=32, width_px=48, loss=_SHARPENS),
    ),
    sizes={"painter": {"widths": [4, 8, 8, 8], "blocks": [1, 1, 1], "n_middle": 1, "head": 4}},
    betas=(0.5, 0.99),
)

# Two cores take days for what the shipped weights have seen. This is for a few hundred steps from them (`--start`).
PAINTER_CPU = replace(
    CPU,
    n_steps=2000,
    stages=(
        Stage("paint", share=0.25, batch=8, crop_px=128, loss=_PAINTS),
        Stage("sharpen", share=0.75, batch=8, crop_px=128, loss=_SHARPENS),
    ),
    data=DataBudget(short_side_px=192, frames_per_clip=400, n_photos=2000, enlarge=False),
    sizes={},
    betas=(0.5, 0.99),
    learning_rate=1e-4,
    critic_rate=0.7,
    critic_warm_up=100,
    clip_norm=5.0,
    discriminator_width=48,
    hold=0.35,
    n_validation=12,
)

# One H100, from the shipped weights (`--start`), which were trained on squares of 256 px at twice the rate; there the
# loss exploded once. The script that trained them took 54 ms a step of 32 such pictures in one CUDA graph, about
# 100 TFLOP/s. 24 pictures of 256x352 have as many pixels, so about 9,500 steps are to be expected. Neither this recipe
# nor the capture of the graph by `picture_step` has run on a GPU yet.
PAINTER_GPU = Recipe(
    name="gpu",
    n_steps=10_000,
    minutes=9.0,
    stages=(
        Stage("squares", share=0.4, batch=32, crop_px=256, loss=_SHARPENS),
        Stage("wide", share=0.6, batch=24, crop_px=256, width_px=352, loss=_SHARPENS),
    ),
    data=DataBudget(short_side_px=288, frames_per_clip=400, n_photos=10_000, enlarge=False),
    betas=(0.5, 0.99),
    learning_rate=1.5e-4,
    critic_rate=0.7,
    critic_warm_up=500,
    hold=0.3,
    final_rate=0.03,
    warm_up=200,
    clip_norm=5.0,
    discriminator_width=48,
    read_every=10,
    save_every=1500,
    validate_every=1500,
    n_validation=48,
)

PAINTER_RECIPES = {"painter": {recipe.name: recipe for recipe in (PAINTER_TINY, PAINTER_CPU, PAINTER_GPU)}}
