"""The recipes of VINet.

The stages are those of the paper (Deep Video Inpainting, section 4, and the authors' code): one support frame, then the
full window, both without recurrence; then the recurrence, over unrolls that grow. Two are added. The first stage
learns motion alone: under the other losses the features of the two encoders diverge before they have ever matched, and
then no motion is found. In the last one a discriminator takes part.
"""

from __future__ import annotations

from dataclasses import replace

from vidfill.train import recipe
from vidfill.train.recipe import Stage

PAPER_LOSS = {"frame": 1.0, "ssim": 1.0, "hole": 5.0, "flow": 0.1, "short": 1.0, "long": 1.0}
_MOTION_LOSS = {"flow": 1.0}
_CPU_LOSS = {"frame": 1.0, "ssim": 0.5, "hole": 5.0, "flow": 0.3, "short": 0.5}
_GPU_LOSS = {**PAPER_LOSS, "flow": 0.3}

TINY = replace(
    recipe.TINY,
    stages=(
        Stage("support", ratio=0.25, batch=2, crop_px=32, loss=PAPER_LOSS, n_supports=1),
        Stage("window", ratio=0.25, batch=2, crop_px=32, loss=PAPER_LOSS),
        Stage(
            "recurrent", ratio=0.5, batch=2, crop_px=32, n_targets=2, n_chunks=2,
            loss={**PAPER_LOSS, "adversarial": 0.1},
        ),
    ),
    sizes={
        "encoder": (4, 4, 6, 8),
        "head": 4,
        "estimator": ((8, 8, 4),) * 4,
        "context": ((4, 4, 4, 4, 4, 4),) * 4,
        "search_range_px": 2,
    },
)  # fmt: skip

# Its learning rate is 3e-4: at 1e-3 the gradients of the motion stage grow a hundredfold, and it ends without the
# target's coarsest features. The network is slim at the finest scales, where the full one spends three quarters of its
# arithmetic.
CPU = replace(
    recipe.CPU,
    stages=(
        Stage("motion", ratio=0.05, batch=4, crop_px=128, synthetic_ratio=1, loss=_MOTION_LOSS),
        Stage("single", ratio=0.2, batch=4, crop_px=128, loss=_CPU_LOSS),
        Stage("recurrent", ratio=0.45, batch=2, crop_px=160, n_targets=3, loss=_CPU_LOSS),
        Stage("feedback", ratio=0.3, batch=2, crop_px=160, n_targets=3, n_chunks=3, loss=_CPU_LOSS),
    ),
    sizes={
        "encoder": (24, 32, 48, 64),
        "estimator": ((64, 64, 48, 32, 24), (48, 48, 32, 24, 16), (32, 24, 16), (8,)),
        "context": ((48, 48, 48, 32, 24, 16), (32, 32, 32, 24, 16, 16), (16, 16, 16, 16, 8, 8), (8, 8, 8, 8, 8, 8)),
        "normalise_correlation": True,
        "normalise_target": True,
    },
)

# One H200, 11.7 M parameters at 224x224: the paper's encoder, and half its width where the flow is estimated at the
# finest scale that is used. Counted: a target frame takes 98 GFLOP to train, in about 1,450 kernels; at half of 250
# TFLOP/s of bfloat16 that is 1,250 target frames a second. A batch of 16 computes for 6 ms a target, about what
# launching its kernels takes without torch.compile: smaller ones leave the GPU waiting. 12,000 steps have 1.75 M target
# frames (steps x batch x n_targets x n_chunks), 170 PFLOP: 25 minutes, and two for compiling. None of this has been
# measured. 25,000 frames at 256x455 are 8.7 GB of uint8 on the GPU, 5,000 photos 1.5 GB.
GPU = replace(
    recipe.GPU,
    stages=(
        Stage("motion", ratio=0.1, batch=32, crop_px=224, synthetic_ratio=1, loss=_MOTION_LOSS),
        Stage("support", ratio=0.05, batch=32, crop_px=224, n_supports=1, loss=_GPU_LOSS),
        Stage("window", ratio=0.25, batch=32, crop_px=224, loss=_GPU_LOSS),
        Stage("unroll", ratio=0.2, batch=16, crop_px=224, n_targets=3, loss=_GPU_LOSS),
        Stage("long", ratio=0.15, batch=16, crop_px=224, n_targets=8, loss=_GPU_LOSS),
        Stage("feedback", ratio=0.15, batch=16, crop_px=224, n_targets=5, n_chunks=6, loss=_GPU_LOSS),
        Stage(
            "adversarial", ratio=0.1, batch=16, crop_px=224, n_targets=5, n_chunks=4,
            loss={**_GPU_LOSS, "adversarial": 0.02},
        ),
    ),
    sizes={
        "estimator": ((128, 128, 96, 64, 32), (96, 96, 64, 48, 32), (64, 48, 32), (8,)),
        "context": (
            (128, 128, 128, 96, 64, 32), (64, 64, 64, 48, 32, 32), (32, 32, 32, 32, 24, 24), (8, 8, 8, 8, 8, 8),
        ),
        "normalise_correlation": True,
        "normalise_target": True,
    },
)  # fmt: skip

RECIPES = {"vinet": {"tiny": TINY, "cpu": CPU, "gpu": GPU}}
