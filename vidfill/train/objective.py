"""The loss of a run of consecutive outputs, term by term."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vidfill.models.base import Step, WindowSpec, composite
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
from vidfill.train.recipes import LossWeights
from vidfill.train.synthesis import Scene, exact_flow

Outputs = Sequence[tuple[int, Step]]


def loss_terms(
    outputs: Outputs, batch: Batch, spec: WindowSpec, weights: LossWeights, critic: Discriminator | None
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
    """
    first = outputs[0][0]
    here = slice(first, first + len(outputs))
    fills = torch.stack([step.fill for _, step in outputs], dim=1).float()
    truth, holes = batch.clip[:, here], batch.holes[:, here]
    flat, flat_truth = fills.flatten(0, 1), truth.flatten(0, 1)
    terms: dict[str, Tensor] = {}
    if weights.frame:
        terms["frame"] = frame_l1(flat, flat_truth)
    if weights.ssim:
        terms["ssim"] = ssim_loss(flat, flat_truth)
    if weights.hole:
        terms["hole"] = hole_l1(flat, flat_truth, holes.flatten(0, 1))
    if weights.flow:
        terms["flow"] = _flow_term(outputs, batch, spec)
    if weights.short and len(outputs) > 1:
        terms["short"] = _warp_term(fills, batch, first, [(t, t - 1) for t in range(1, len(outputs))])
    if weights.long and len(outputs) > 2:
        terms["long"] = _warp_term(fills, batch, first, [(t, 0) for t in range(2, len(outputs))])
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


def weighted_sum(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """The loss itself."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()


def _flow_term(outputs: Outputs, batch: Batch, spec: WindowSpec) -> Tensor:
    """Mean over targets, sources and scales; real clips, whose motion is unknown, count 0."""
    # A stage of this term alone must have a gradient even where there is nothing to learn from.
    zero = 0 * outputs[0][1].fill.float().sum()
    if batch.scene is None:
        return zero
    n_samples, n_frames = batch.clip.shape[:2]
    rows = torch.tensor(batch.synthetic, device=batch.clip.device)
    errors: list[Tensor] = []
    for count, (t, step) in enumerate(outputs):
        flows: tuple[Tensor, ...] = getattr(step.record, "flows", ())
        sources = list(spec.neighbour_indices(t, n_frames)) + ([t - 1] if spec.previous and count else [])
        exact = [exact_flow(batch.scene, t, source) for source in sources] if flows else []
        for flow in flows:
            by_source = flow.view(-1, n_samples, *flow.shape[1:])
            errors += [
                flow_l1(own[rows], true_flow, visible)
                for own, (true_flow, visible) in zip(by_source, exact, strict=False)
            ]
    if not errors:
        return zero
    return torch.stack(errors).mean() * (len(rows) / n_samples)


def _warp_term(fills: Tensor, batch: Batch, first: int, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Mean over pairs of outputs (counted from the first); real clips, whose motion is unknown, count 0."""
    if batch.scene is None:
        return batch.clip.new_zeros(())
    scene: Scene = batch.scene
    rows = torch.tensor(batch.synthetic, device=batch.clip.device)
    own, truth = fills[rows], scene.frames
    errors = [
        warp_l1(
            own[:, at], own[:, to], truth[:, first + at], truth[:, first + to],
            exact_flow(scene, first + at, first + to)[0],
        )
        for at, to in pairs
    ]  # fmt: skip
    return torch.stack(errors).mean() * (len(rows) / len(batch.clip))
