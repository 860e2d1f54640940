"""One step on single pictures, both updates: on a CPU as it is written, on a GPU as one CUDA graph.

A step of the painter launches thousands of small kernels, which takes the processor longer than computing them takes
the GPU. A graph (torch.cuda.CUDAGraph) is launched as a whole. What it needs: fixed addresses, so the batch is drawn
outside into buffers; no decision by the processor that depends on values, so gradients are clipped without looking at
them, and losses are summed up on the device and read now and then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vidfill.models.cleanplate.painter import Painter
from vidfill.train.objective import weighted_sum
from vidfill.train.picture_bank import PictureBank
from vidfill.train.picture_objective import Judges, look, picture_critic_terms, picture_terms
from vidfill.train.recipes import Recipe, Stage
from vidfill.train.state import TrainingState
from vidfill.train.step import autocast_dtype

# Steps before the capture, so that everything that is allocated or chosen at first use is there; taken back after it.
N_CAPTURE_WARM_UP = 3
ADVERSARIAL_TERMS = ("patches", "matching", "projected")


class PictureStepper:
    """Updates the weights of a painter and of the discriminators.

    Args:
        state: of the run; made for graphs if `is_graphed`.
        painter: the model of the state.
        bank: where batches come from.
        judges: what the loss needs.
        recipe: its precision, and where gradients are clipped.
        is_graphed: whether steps run as CUDA graphs.
    """

    def __init__(
        self,
        state: TrainingState,
        painter: Painter,
        bank: PictureBank,
        judges: Judges,
        recipe: Recipe,
        *,
        is_graphed: bool,
    ) -> None:
        self._state, self._painter, self._bank, self._judges = state, painter, bank, judges
        self._clip_norm, self._is_graphed = recipe.clip_norm, is_graphed
        self._device = next(painter.parameters()).device
        self._dtype = autocast_dtype(recipe, self._device)
        self._critic_weight = torch.ones((), device=self._device)
        self._names: list[str] = []
        self._sums = torch.zeros(0, device=self._device)

    def prepare(self, stage: Stage) -> Callable[[], None]:
        """What makes one step of a stage: draws a batch and updates everything. Captures the graph, where there is one.

        Of the weights and optimisers nothing is changed.
        """
        height, width = stage.size
        truth = torch.zeros(stage.batch, 3, height, width, device=self._device)
        hole = torch.zeros(stage.batch, 1, height, width, device=self._device)
        self._names, self._sums = [], torch.zeros(0, device=self._device)

        def draw() -> None:
            pictures, holes = self._bank.draw(stage.batch, stage.size)
            truth.copy_(pictures)
            hole.copy_(holes)

        def step() -> None:
            draw()
            self._update(truth, hole, stage)

        if not self._is_graphed:
            return step
        before = self._state.snapshot()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(N_CAPTURE_WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._update(truth, hole, stage)
        self._state.restore(before)
        self._sums.zero_()

        def replay() -> None:
            draw()
            graph.replay()

        return replay

    def set_critic_weight(self, weight: float) -> None:
        """What the discriminators' terms count from here on, as a fraction of their weights."""
        self._critic_weight.fill_(weight)

    def read(self) -> dict[str, float]:
        """Means of the losses and gradients since the last call; waits for the device. Empty before any step."""
        values: list[float] = self._sums.tolist()
        self._sums.zero_()
        if not values or not values[-1]:
            return {}
        return {name: value / values[-1] for name, value in zip(self._names, values, strict=False)}

    def _update(self, truth: Tensor, hole: Tensor, stage: Stage) -> None:
        state, weights, critics = self._state, stage.loss, self._judges.critics
        uses_critics = critics is not None and weights.needs_picture_critics
        critic_parameters = [p for p in critics.parameters() if p.requires_grad] if critics and uses_critics else []
        for parameter in critic_parameters:
            parameter.requires_grad_(False)  # no gradients of the painter's loss there
        # Without autocast's cache, which would keep casts of weights from the capture.
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32, cache_enabled=False):
            fill = self._painter.network(truth, hole)
            looks = look(fill, truth, hole, weights, self._judges)
            terms = picture_terms(fill, looks, weights, self._judges)
        adversarial = {name: term for name, term in terms.items() if name in ADVERSARIAL_TERMS}
        others = {name: term for name, term in terms.items() if name not in ADVERSARIAL_TERMS}
        loss = weighted_sum(others, weights)
        whole = loss + self._critic_weight * weighted_sum(adversarial, weights) if adversarial else loss
        gradient = self._descend(whole, list(self._painter.parameters()), state.optimizer)
        values = {"loss": loss, **terms, "gradient": gradient}
        for parameter in critic_parameters:
            parameter.requires_grad_(True)
        if critics is not None and uses_critics and state.picture_critic_optimizer is not None:
            with torch.autocast(
                self._device.type, self._dtype, enabled=self._dtype != torch.float32, cache_enabled=False
            ):
                told = picture_critic_terms(looks, weights, critics)
            sum_told = torch.stack(list(told.values())).sum()
            values |= told
            values["critic_gradient"] = self._descend(sum_told, critic_parameters, state.picture_critic_optimizer)
        self._count(values)

    def _descend(self, loss: Tensor, parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> Tensor:
        """One update; the norm of the gradient before clipping."""
        optimizer.zero_grad(set_to_none=not self._is_graphed)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._clip_norm, foreach=True)
        optimizer.step()
        return norm

    def _count(self, values: dict[str, Tensor]) -> None:
        row = torch.stack([*(value.detach().float() for value in values.values()), self._critic_weight.new_ones(())])
        if not self._names:
            self._names = list(values)
            self._sums = torch.zeros_like(row)
        self._sums.add_(row)
