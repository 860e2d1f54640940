"""One step of training: the gradient through a run of a model's own outputs, and the update of all weights.

A step launches thousands of small kernels, which may take the processor longer than computing them takes the GPU. A
CUDA graph is launched as a whole. It needs fixed addresses, so batches are copied into fixed buffers; and nothing may
wait for values, so gradients are clipped without looking at them, and losses are summed on the device and read now and
then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from vidfill.errors import UsageError
from vidfill.models.base import ClipSource, recur
from vidfill.train import graph, objective
from vidfill.train.batch import Batch, BatchMotion
from vidfill.train.objective import CRITIC_TERMS, TERMS, Chunk, Term
from vidfill.train.parallel import Ranks, average_gradients
from vidfill.train.recipe import Recipe, Stage
from vidfill.train.state import TrainingState


class Stepper:
    """Updates the weights of a run, step by step.

    Args:
        state: of the run; made for graphs if `in_graph`.
        recipe: its loss terms, and where gradients are clipped.
        terms: loss terms of the model.
        ranks: which of several processes this is.
        short_type: of autocast, None for plain float32.
        in_graph: steps run as CUDA graphs, one for each stage.

    Raises:
        UsageError: nobody knows a term, or the weights of the features that one needs are not installed.
    """

    def __init__(
        self,
        state: TrainingState,
        recipe: Recipe,
        terms: Mapping[str, Term],
        *,
        ranks: Ranks,
        short_type: torch.dtype | None,
        in_graph: bool,
    ) -> None:
        unknown = recipe.terms - TERMS.keys() - terms.keys()
        if unknown:
            raise UsageError(f"{state.name} has no loss term {min(unknown)!r}", expected=", ".join({**TERMS, **terms}))
        self._state, self._terms, self._ranks = state, terms, ranks
        self._clip_norm, self._short_type, self._in_graph = recipe.clip_norm, short_type, in_graph
        self._judges = objective.make_judges(recipe, state.critics, state.device, self._autocast)
        self._critic_weight = torch.ones((), device=state.device)
        self._names: list[str] = []
        self._sums = torch.zeros(0, device=state.device)
        self._stage: Stage | None = None
        self._buffers: Batch | None = None
        self._replay: Callable[[], object] = lambda: None

    @property
    def features(self) -> Callable[[Tensor], list[Tensor]] | None:
        """Feature maps of pictures, if a term of the recipe needs them."""
        return self._judges.features

    def set_critic_weight(self, weight: float) -> None:
        """The weight of the discriminators' terms from here on, as a ratio of what the stages say."""
        self._critic_weight.fill_(weight)

    def step(self, batch: Batch, stage: Stage) -> None:
        """One batch of clips: `n_chunks` updates along them."""
        if not self._in_graph:
            for _ in self._updates(batch, stage):
                self._state.average()
            return
        if stage is self._stage and self._buffers is not None:
            self._buffers.clip.copy_(batch.clip)
            self._buffers.holes.copy_(batch.holes)
        else:
            self._stage, self._buffers = stage, batch
            before = self._state.snapshot()
            self._replay = graph.capture(lambda: list(self._updates(batch, stage)))
            self._state.restore(before)
            self._sums.zero_()
        self._replay()
        self._state.average()

    def read(self) -> dict[str, float]:
        """Means of losses and norms of gradients over the updates since the last call; waits for the device."""
        values: list[float] = self._sums.tolist()
        self._sums.zero_()
        if not values or not values[-1]:
            return {}
        return {name: value / values[-1] for name, value in zip(self._names, values, strict=False)}

    def _updates(self, batch: Batch, stage: Stage) -> Iterator[None]:
        """Update the weights once for each chunk of the batch."""
        source, motion = ClipSource(self._state.model, batch.clip, batch.holes), BatchMotion(batch)
        steps = recur(self._state.model, source, detach_every=stage.n_targets, targets=batch.targets, spec=batch.window)
        for _ in range(stage.n_chunks):
            source.forget_features()
            with self._autocast():
                outputs = [next(steps) for _ in range(stage.n_targets)]
            self._update(Chunk(outputs, batch, motion, self._judges), stage.loss)
            yield

    def _update(self, chunk: Chunk, weights: Mapping[str, float]) -> None:
        """One update of the model, then of the discriminators that take part."""
        state = self._state
        learning = [p for p in state.critics.parameters() if p.requires_grad]
        for parameter in learning:
            parameter.requires_grad_(False)  # the model's loss has no gradients there
        terms = objective.loss_terms(chunk, weights, self._terms)
        judged = {name: term for name, term in terms.items() if name in CRITIC_TERMS}
        loss = objective.weighted_sum({name: term for name, term in terms.items() if name not in CRITIC_TERMS}, weights)
        whole = loss + self._critic_weight * objective.weighted_sum(judged, weights) if judged else loss
        parameters = [p for p in state.model.parameters() if p.requires_grad]
        values = {"loss": loss, **terms, "gradient": self._descend(whole, parameters, state.optimizers)}
        for parameter in learning:
            parameter.requires_grad_(True)
        if judged:
            losses = objective.critic_losses(chunk, weights)
            total = torch.stack(list(losses.values())).sum()
            values |= losses | {"critic_gradient": self._descend(total, learning, state.critic_optimizers)}
        self._add(values)

    def _descend(
        self, loss: Tensor, parameters: Sequence[Tensor], optimizers: Sequence[torch.optim.Optimizer]
    ) -> Tensor:
        """One update; the norm of the gradient before clipping."""
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=not self._in_graph)
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(parameters, self._ranks)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._clip_norm, foreach=self._in_graph or None)
        for optimizer in optimizers:
            optimizer.step()
        return norm

    def _add(self, values: Mapping[str, Tensor]) -> None:
        row = torch.stack([*(value.detach().float() for value in values.values()), self._sums.new_ones(())])
        if list(values) != self._names:
            self._names, self._sums = list(values), torch.zeros_like(row)
        self._sums.add_(row)

    def _autocast(self) -> AbstractContextManager[object]:
        # A graph must not hold the cache's casts of weights, which would be those of its capture.
        device, short_type = self._state.device.type, self._short_type
        return torch.autocast(device, short_type, enabled=short_type is not None, cache_enabled=not self._in_graph)
