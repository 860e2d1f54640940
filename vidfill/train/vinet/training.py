"""VINet's samples and its own loss term: the flows that its steps leave as their record."""

from __future__ import annotations

import torch
from torch import Tensor

from vidfill.models.base import unroll
from vidfill.models.vinet.model import Motion
from vidfill.train import ModelTraining
from vidfill.train.clips import ClipSamples
from vidfill.train.losses import flow_l1
from vidfill.train.objective import Chunk


def flow_term(chunk: Chunk) -> Tensor:
    """L1 of the flows in pixels against the truth: mean over targets, sources and scales.

    The truth is exact in synthetic scenes. In real clips it is measured flow that passed its checks (`BatchMotion`),
    for the last target alone, since DIS takes its time; a sample whose motion is unknown counts 0.
    """
    last = chunk.outputs[-1][0]
    sources = _sources(chunk, last)
    chunk.motion.measure([*((last, source) for source in sources), *((source, last) for source in sources)])
    n_samples = len(chunk.truth)
    errors: list[Tensor] = []
    for t, step in chunk.outputs:
        record: Motion = step.record
        known = [chunk.motion.between(t, source) for source in _sources(chunk, t)]
        for flow in record.flows:
            by_source = flow.view(-1, n_samples, *flow.shape[1:])
            # At the first output something stands in for the previous one, whose motion is unknown.
            errors += [flow_l1(own, *true) for own, true in zip(by_source, known, strict=False)]
    return torch.stack(errors).mean() if errors else chunk.nothing()


def _sources(chunk: Chunk, target: int) -> list[int]:
    """The positions that flows point to: the neighbours, then the previous output, where there is one."""
    batch = chunk.batch
    previous = [target - 1] if batch.window.previous and target > batch.targets.start else []
    return [*batch.window.neighbour_indices(target, batch.clip.shape[1]), *previous]


TRAINING = {"vinet": ModelTraining(ClipSamples, unroll, {"flow": flow_term})}
