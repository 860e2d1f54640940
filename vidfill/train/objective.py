"""The loss of a run of consecutive outputs, term by term."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vidfill.models.base import Step, WindowSpec, composite
from vidfill.train.batch_motion import BatchMotion, Pair
from vidfill.train.batches import Batch
from vidfill.train.discriminator import Discriminator
from vidfill.train.losses import (
    flow_l1,
    frame_l1,
    hinge_discriminator,
    hinge_generator,
    hole_l1,
    ssim_loss,
    warp_l1,
)
from vidfill.train.match_loss import match_loss
from vidfill.train.peel_losses import peel_terms
from vidfill.train.picture_objective import Judges, look, picture_critic_terms, picture_terms
from vidfill.train.recipes import LossWeights

Outputs = Sequence[tuple[int, Step]]


def loss_terms(
    outputs: Outputs,
    batch: Batch,
    spec: WindowSpec,
    weights: LossWeights,
    critic: Discriminator | None,
    judges: Judges = Judges(),  # noqa: B008 - immutable
) -> dict[str, Tensor]:
    """The terms of the loss, each a scalar, not yet weighted; those of weight 0 are left out.

    The flow term needs a model whose steps leave a `record` with `flows`: one tensor a scale, (S * B, 2, h, w), source
    by source in the order of the window's neighbours, then the previous output.

    Args:
        outputs: (position, step) of consecutive targets.
        batch: the clips they belong to.
        spec: the model's window.
        weights: which terms are wanted.
        critic: for the adversarial term.
        judges: for the terms of single pictures (`picture_objective`).
    """
    first = outputs[0][0]
    here = slice(first, first + len(outputs))
    fills = torch.stack([step.fill for _, step in outputs], dim=1).float()
    truth, holes = batch.clip[:, here], batch.holes[:, here]
    flat, flat_truth = fills.flatten(0, 1), truth.flatten(0, 1)
    motion = BatchMotion(batch)
    motion.measure(_needed_flows(outputs, batch, spec, weights))
    terms: dict[str, Tensor] = {}
    if weights.frame:
        terms["frame"] = frame_l1(flat, flat_truth)
    if weights.ssim:
        terms["ssim"] = ssim_loss(flat, flat_truth)
    if weights.hole:
        terms["hole"] = hole_l1(flat, flat_truth, holes.flatten(0, 1))
    if weights.flow:
        terms["flow"] = _flow_term(outputs, batch, spec, motion)
    if weights.short and len(outputs) > 1:
        terms["short"] = _warp_term(fills, batch, first, _short_pairs(first, len(outputs)), motion)
    if weights.long and len(outputs) > 2:
        terms["long"] = _warp_term(fills, batch, first, _long_pairs(first, len(outputs)), motion)
    if weights.peel or weights.valid or weights.variation:
        terms |= peel_terms(outputs, batch, weights)
    if weights.match:
        terms["match"] = match_loss(outputs, motion)
    if weights.has_picture_terms:
        looks = look(flat, flat_truth, holes.flatten(0, 1), weights, judges)
        terms |= picture_terms(flat, looks, weights, judges)
    if weights.adversarial and critic is not None:
        terms["adversarial"] = hinge_generator(critic(composite(truth, holes, fills), holes))
    return terms


def critic_loss(critic: Discriminator, outputs: Outputs, batch: Batch) -> Tensor:
    """What the discriminator minimises on the same outputs, which are taken as given."""
    first = outputs[0][0]
    here = slice(first, first + len(outputs))
    fills = torch.stack([step.fill.detach() for _, step in outputs], dim=1).float()
    truth, holes = batch.clip[:, here], batch.holes[:, here]
    return hinge_discriminator(critic(truth, holes), critic(composite(truth, holes, fills), holes))


def picture_critic_loss(outputs: Outputs, batch: Batch, weights: LossWeights, judges: Judges) -> Tensor:
    """What the discriminators of single pictures minimise on the same outputs."""
    assert judges.critics is not None
    fills = torch.cat([step.fill.detach().float() for _, step in outputs])
    truth, holes = (torch.cat([values[:, t] for t, _ in outputs]) for values in (batch.clip, batch.holes))
    looks = look(fills, truth, holes, weights, judges)
    return torch.stack(list(picture_critic_terms(looks, weights, judges.critics).values())).sum()


def weighted_sum(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """The loss itself."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()


def _flow_term(outputs: Outputs, batch: Batch, spec: WindowSpec, motion: BatchMotion) -> Tensor:
    """Mean over targets, sources and scales; a sample whose motion is unknown counts 0."""
    n_samples = len(batch.clip)
    errors: list[Tensor] = []
    for t, step in outputs:
        flows: tuple[Tensor, ...] = getattr(step.record, "flows", ())
        known = [motion.between(t, source) for source in _sources(t, batch, spec)] if flows else []
        for flow in flows:
            by_source = flow.view(-1, n_samples, *flow.shape[1:])
            # Before the first output there is no previous one: whatever stands in for it has no motion to be learned.
            errors += [flow_l1(own, *true) for own, true in zip(by_source, known, strict=False)]
    # A stage of this term alone must have a gradient even where there is nothing to learn from.
    return torch.stack(errors).mean() if errors else 0 * outputs[0][1].fill.float().sum()


def _warp_term(fills: Tensor, batch: Batch, first: int, pairs: Sequence[Pair], motion: BatchMotion) -> Tensor:
    """Mean over pairs of outputs."""
    errors = [
        warp_l1(
            fills[:, at - first], fills[:, to - first], batch.clip[:, at], batch.clip[:, to], motion.between(at, to)[0]
        )
        for at, to in pairs
    ]
    return torch.stack(errors).mean()


def _sources(target: int, batch: Batch, spec: WindowSpec) -> list[int]:
    """The positions that a model's flows point to: its neighbours, then the previous output, where there is one."""
    previous = [target - 1] if spec.previous and target > batch.targets.start else []
    return [*spec.neighbour_indices(target, batch.clip.shape[1]), *previous]


def _needed_flows(outputs: Outputs, batch: Batch, spec: WindowSpec, weights: LossWeights) -> list[Pair]:
    """Which flows the terms need of real clips. The flow term takes the last target alone: DIS is not for free."""
    first, (last, step) = outputs[0][0], outputs[-1]
    pairs = _short_pairs(first, len(outputs)) if weights.short else []
    pairs += _long_pairs(first, len(outputs)) if weights.long else []
    has_flows = bool(weights.flow) and hasattr(step.record, "flows")
    sources = _sources(last, batch, spec) if has_flows else []
    return [*pairs, *((last, source) for source in sources), *((source, last) for source in sources)]


def _short_pairs(first: int, n_outputs: int) -> list[Pair]:
    return [(t, t - 1) for t in range(first + 1, first + n_outputs)]


def _long_pairs(first: int, n_outputs: int) -> list[Pair]:
    return [(t, first) for t in range(first + 2, first + n_outputs)]
