"""The recipes of Onion-Peel Networks: first `opn` on its own, then `opn-tcn`, which keeps it as it is.

Samples are of five frames, as the paper's, from near and far alike; here each of them is filled from the other four, so
that what is encoded once serves as many gradients as there are frames. The motion of the synthetic scenes tells the
attention where to look, beside what it learns of that through the pixels.
"""

from __future__ import annotations

from dataclasses import replace

from vidfill.train.recipes import CPU, GPU, TINY, LossWeights, Recipe, Stage

N_REFERENCES = 4

_PEELS = LossWeights(
    frame=0, ssim=0, hole=0, flow=0, short=0, long=0, peel=5.0, valid=1.0, variation=0.05
)  # fmt: skip
# What is decoded of known pixels is the same from batch to batch, what fills a hole is not: at first its gradient is
# mostly noise.
_MATCHES = replace(_PEELS, peel=1.0, valid=5.0, match=0.3)
_FILLS = replace(_PEELS, peel=3.0, valid=3.0, match=0.2)
_IN_TIME = LossWeights(frame=1.0, ssim=0, hole=5.0, flow=0, short=2.0, long=2.0)

_TINY_SIZES = {"half": 4, "channels": 6}

OPN_TINY = replace(
    TINY,
    stages=(Stage("peels", share=1, batch=2, crop_px=32, n_references=N_REFERENCES, loss=_PEELS),),
    sizes={"opn": _TINY_SIZES},
)

OPN_CPU = replace(
    CPU,
    n_steps=1230,
    stages=(
        Stage(
            "matches", share=0.49, batch=4, crop_px=96, n_targets=5, spread_targets=True, synthetic_share=0.6,
            loss=_MATCHES,
        ),
        Stage("peels", share=0.36, batch=2, crop_px=128, n_targets=5, spread_targets=True, loss=_FILLS),
        Stage("wide", share=0.15, batch=2, crop_px=160, n_targets=4, spread_targets=True, loss=_FILLS),
    ),
    data=replace(CPU.data, frames_per_clip=64),
    sizes={},
    optimizer="muon",
    learning_rate=4e-4,
    warm_up=50,
    save_every=50,
    validate_every=300,
)  # fmt: skip

# One H200, full width. Counted: at 192x192 encoding a frame is 10.5 GFLOP, decoding one 10.2. A frame of a sample is
# encoded once, decoded for each of some three peels, and encoded again for all but the first: 0.93 TFLOP to train on
# a sample of five targets; 0.34 at 128x128, 1.8 for four targets at 256x256. At 120 TFLOP/s of bfloat16 a step of the
# first stage takes 0.18 s, of the others 0.25 and 0.23; together 19 minutes. The rate has not been measured.
OPN_GPU = replace(
    GPU,
    n_steps=5000,
    stages=(
        Stage(
            "matches", share=0.3, batch=64, crop_px=128, n_targets=5, spread_targets=True, synthetic_share=0.6,
            loss=_MATCHES,
        ),
        Stage("peels", share=0.5, batch=32, crop_px=192, n_targets=5, spread_targets=True, loss=_FILLS),
        Stage("wide", share=0.2, batch=16, crop_px=256, n_targets=4, spread_targets=True, loss=_FILLS),
    ),
    sizes={},
    optimizer="muon",
    learning_rate=4e-4,
)  # fmt: skip

OPN_TCN_TINY = replace(
    TINY,
    stages=(
        Stage("in time", share=1, batch=2, crop_px=32, n_targets=3, n_references=N_REFERENCES, loss=_IN_TIME),
    ),
    sizes={"opn-tcn": {"opn": _TINY_SIZES, "temporal": (3, 4, 5, 6)}},
)  # fmt: skip

# The temporal network has 2.7 M parameters in the place of 11.2 M: the file of both takes 12 MB, not 29.
OPN_TCN_CPU = replace(
    CPU,
    n_steps=380,
    stages=(
        Stage("in time", share=0.8, batch=1, crop_px=128, n_targets=4, n_references=N_REFERENCES, loss=_IN_TIME),
        Stage(
            "feedback", share=0.2, batch=1, crop_px=160, n_targets=4, n_chunks=2, n_references=N_REFERENCES,
            loss=_IN_TIME,
        ),
    ),
    data=OPN_CPU.data,
    sizes={"opn-tcn": {"temporal": (32, 48, 80, 112)}},
    optimizer="muon",
    learning_rate=4e-4,
    warm_up=20,
    save_every=50,
    validate_every=380,
)  # fmt: skip

OPN_TCN_GPU = replace(
    GPU,
    n_steps=6000,
    stages=(
        Stage("in time", share=0.6, batch=16, crop_px=224, n_targets=5, n_references=N_REFERENCES, loss=_IN_TIME),
        Stage(
            "feedback", share=0.4, batch=8, crop_px=256, n_targets=5, n_chunks=3, n_references=N_REFERENCES,
            loss=_IN_TIME,
        ),
    ),
    sizes={},
    learning_rate=2e-4,
)  # fmt: skip


def _by_name(*recipes: Recipe) -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in recipes}


OPN_RECIPES = {
    "opn": _by_name(OPN_TINY, OPN_CPU, OPN_GPU),
    "opn-tcn": _by_name(OPN_TCN_TINY, OPN_TCN_CPU, OPN_TCN_GPU),
}
