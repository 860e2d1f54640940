"""The recipes of Onion-Peel Networks: first `opn` on its own, then `opn-tcn`, which keeps it as it is.

Samples have five frames, as in the paper, from near and far alike; here each of them is filled from the other four, so
that what is encoded once serves as many gradients as there are frames. The motion of the synthetic scenes tells the
attention where to look, beside what it learns of that through the pixels.
"""

from __future__ import annotations

from dataclasses import replace

from vidfill.train import recipe
from vidfill.train.recipe import Stage

_PEEL_LOSS = {"peel": 5.0, "valid": 1.0, "variation": 0.05}
# The reconstruction of known pixels changes little from batch to batch, the fill of a hole much: at first the gradient
# of the fill is mostly noise.
_MATCH_LOSS = {**_PEEL_LOSS, "peel": 1.0, "valid": 5.0, "match": 0.3}
_FILL_LOSS = {**_PEEL_LOSS, "peel": 3.0, "valid": 3.0, "match": 0.2}
_TEMPORAL_LOSS = {"frame": 1.0, "hole": 5.0, "short": 2.0, "long": 2.0}
_TINY_SIZES = {"half": 4, "channels": 6}

TINY = replace(
    recipe.TINY,
    stages=(Stage("peels", ratio=1, batch=2, crop_px=32, n_references=4, loss=_PEEL_LOSS),),
    sizes=_TINY_SIZES,
)

CPU = replace(
    recipe.CPU,
    n_steps=1230,
    stages=(
        Stage(
            "matches", ratio=0.49, batch=4, crop_px=96, n_targets=5, spread_targets=True, synthetic_ratio=0.6,
            loss=_MATCH_LOSS,
        ),
        Stage("peels", ratio=0.36, batch=2, crop_px=128, n_targets=5, spread_targets=True, loss=_FILL_LOSS),
        Stage("wide", ratio=0.15, batch=2, crop_px=160, n_targets=4, spread_targets=True, loss=_FILL_LOSS),
    ),
    data=replace(recipe.CPU.data, frames_per_clip=64),
    optimizer="muon",
    learning_rate=4e-4,
    warmup_steps=50,
    save_every=50,
    validate_every=300,
)  # fmt: skip

# One H200, full width. Counted: at 192x192 encoding a frame is 10.5 GFLOP, decoding one 10.2. A frame of a sample is
# encoded once, decoded for each of some three peels, and encoded again for all but the first: 0.93 TFLOP to train on
# a sample of five targets; 0.34 at 128x128, 1.8 for four targets at 256x256. At 120 TFLOP/s of bfloat16 a step of the
# first stage takes 0.18 s, of the others 0.25 and 0.23; together 19 minutes. The rate has not been measured.
GPU = replace(
    recipe.GPU,
    n_steps=5000,
    stages=(
        Stage(
            "matches", ratio=0.3, batch=64, crop_px=128, n_targets=5, spread_targets=True, synthetic_ratio=0.6,
            loss=_MATCH_LOSS,
        ),
        Stage("peels", ratio=0.5, batch=32, crop_px=192, n_targets=5, spread_targets=True, loss=_FILL_LOSS),
        Stage("wide", ratio=0.2, batch=16, crop_px=256, n_targets=4, spread_targets=True, loss=_FILL_LOSS),
    ),
    optimizer="muon",
    learning_rate=4e-4,
)  # fmt: skip

TCN_TINY = replace(
    recipe.TINY,
    stages=(Stage("in time", ratio=1, batch=2, crop_px=32, n_targets=3, n_references=4, loss=_TEMPORAL_LOSS),),
    sizes={"opn": _TINY_SIZES, "temporal": (3, 4, 5, 6)},
)

# The temporal network has 2.7 M parameters in the place of 11.2 M: the file of both takes 12 MB, not 29.
TCN_CPU = replace(
    CPU,
    n_steps=380,
    stages=(
        Stage("in time", ratio=0.8, batch=1, crop_px=128, n_targets=4, n_references=4, loss=_TEMPORAL_LOSS),
        Stage(
            "feedback", ratio=0.2, batch=1, crop_px=160, n_targets=4, n_chunks=2, n_references=4, loss=_TEMPORAL_LOSS
        ),
    ),
    sizes={"temporal": (32, 48, 80, 112)},
    warmup_steps=20,
    validate_every=380,
)

TCN_GPU = replace(
    recipe.GPU,
    n_steps=6000,
    stages=(
        Stage("in time", ratio=0.6, batch=16, crop_px=224, n_targets=5, n_references=4, loss=_TEMPORAL_LOSS),
        Stage(
            "feedback", ratio=0.4, batch=8, crop_px=256, n_targets=5, n_chunks=3, n_references=4, loss=_TEMPORAL_LOSS
        ),
    ),
    learning_rate=2e-4,
)

RECIPES = {
    "opn": {"tiny": TINY, "cpu": CPU, "gpu": GPU},
    "opn-tcn": {"tiny": TCN_TINY, "cpu": TCN_CPU, "gpu": TCN_GPU},
}
