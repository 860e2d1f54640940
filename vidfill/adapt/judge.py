"""Whether adapted weights are better: scores on holes that were held out of the adaptation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vidfill.adapt.samples import Sample, drawn
from vidfill.adapter import Score
from vidfill.engine.device import Runtime
from vidfill.metrics.temporal import warp_error
from vidfill.models.base import Model, composite, recur
from vidfill.train.validation import hole_psnr_db

LEAST_GAIN_DB = 0.1
MOST_LOSS_DB = 0.1
MOST_WARP_GROWTH = 1.02


def is_better(scores: Sequence[Score], than: Sequence[Score]) -> bool:
    """Whether weights are to be preferred: nearer to the truth, in no hole much farther from it, and no less steady.

    The holes are few, and lie elsewhere than the one that counts. A gain of 0.07 dB in the mean alone has been seen to
    go with a loss of 0.45 dB there.

    Args:
        scores: of the weights, hole by hole.
        than: of the others, in the same holes.
    """
    gains_db = [ours.hole_psnr_db - theirs.hole_psnr_db for ours, theirs in zip(scores, than, strict=True)]
    is_steady = mean_score(scores).warp_error <= mean_score(than).warp_error * MOST_WARP_GROWTH
    return min(gains_db) >= -MOST_LOSS_DB and float(np.mean(gains_db)) >= LEAST_GAIN_DB and is_steady


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean of each measure."""
    return Score(*(float(np.mean(values)) for values in zip(*scores, strict=True)))


def judge(model: Model, samples: Sequence[Sample], runtime: Runtime) -> list[Score]:
    """Fill the extra holes of samples as the engine would, and compare them with the truth.

    Args:
        model: on the runtime's device, in evaluation mode.
        samples: held out; at least one.
        runtime: how to compute.
    """
    return [_judged(model, sample, runtime) for sample in samples]


def _judged(model: Model, sample: Sample, runtime: Runtime) -> Score:
    batch, source, unrolled, window = drawn(model, sample, sample.targets)
    here = slice(batch.targets.start, batch.targets.stop)
    truth, hole = batch.clip[0, here], batch.holes[0, here]
    with runtime.computing():
        steps = recur(unrolled, source, targets=batch.targets, spec=window)
        fills = [step.fill[0].float() for _, step in steps]
    filled = [composite(*parts).clamp(0, 1) for parts in zip(truth, hole, fills, strict=True)]
    holed = [t for t in range(len(filled)) if hole[t].any()]
    psnr_db = [hole_psnr_db(filled[t][None], truth[t : t + 1], hole[t : t + 1]) for t in holed]
    return Score(float(np.mean(psnr_db)), 1000 * warp_error(_pictures(filled), _pictures(truth)))


def _pictures(frames: Sequence[Tensor] | Tensor) -> list[NDArray[np.uint8]]:
    """(3, H, W) in [0, 1] each to (H, W, 3)."""
    return [(255 * frame).round().byte().permute(1, 2, 0).cpu().numpy() for frame in frames]
