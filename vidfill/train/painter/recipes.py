"""The recipes of the painter: single pictures with holes, first without discriminators, then with them."""

from __future__ import annotations

from dataclasses import replace

from vidfill.train import recipe
from vidfill.train.recipe import DataBudget, Stage

_PAINT_LOSS = {"rim": 6.0, "known": 2.0, "feature": 0.5}
_SHARPEN_LOSS = {**_PAINT_LOSS, "patches": 0.5, "matching": 10.0, "projected": 0.5}

TINY = replace(
    recipe.TINY,
    stages=(
        Stage("paint", ratio=0.5, batch=2, crop_px=32, loss=_PAINT_LOSS),
        Stage("sharpen", ratio=0.5, batch=2, crop_px=32, width_px=48, loss=_SHARPEN_LOSS),
    ),
    sizes={"widths": [4, 8, 8, 8], "blocks": [1, 1, 1], "n_middle": 1, "head": 4},
    betas=(0.5, 0.99),
)

# Two cores take days for what the shipped weights have seen. This is for a few hundred steps from them (`--start`).
CPU = replace(
    recipe.CPU,
    n_steps=2000,
    stages=(
        Stage("paint", ratio=0.25, batch=8, crop_px=128, loss=_PAINT_LOSS),
        Stage("sharpen", ratio=0.75, batch=8, crop_px=128, loss=_SHARPEN_LOSS),
    ),
    data=DataBudget(short_side_px=192, frames_per_clip=400, n_photos=2000, enlarge=False),
    betas=(0.5, 0.99),
    learning_rate=1e-4,
    critic_lr_ratio=0.7,
    critic_warmup_steps=100,
    clip_norm=5.0,
    critic_width=48,
    hold_ratio=0.35,
    n_validation=12,
)

# One H100, from the shipped weights (`--start`), which were trained on squares of 256 px at twice the rate; there the
# loss exploded once. The script that trained them took 54 ms a step of 32 such pictures in one CUDA graph, about
# 100 TFLOP/s. 24 pictures of 256x352 have as many pixels, so about 9,500 steps are to be expected. This recipe has not
# run on a GPU yet.
GPU = replace(
    recipe.GPU,
    n_steps=10_000,
    minutes=9.0,
    stages=(
        Stage("squares", ratio=0.4, batch=32, crop_px=256, loss=_SHARPEN_LOSS),
        Stage("wide", ratio=0.6, batch=24, crop_px=256, width_px=352, loss=_SHARPEN_LOSS),
    ),
    data=DataBudget(short_side_px=288, frames_per_clip=400, n_photos=10_000, enlarge=False),
    betas=(0.5, 0.99),
    learning_rate=1.5e-4,
    critic_lr_ratio=0.7,
    critic_warmup_steps=500,
    hold_ratio=0.3,
    min_lr_ratio=0.03,
    warmup_steps=200,
    clip_norm=5.0,
    critic_width=48,
    acceleration="graph",
    read_every=10,
    save_every=1500,
    validate_every=1500,
    n_validation=48,
)

RECIPES = {"painter": {"tiny": TINY, "cpu": CPU, "gpu": GPU}}
