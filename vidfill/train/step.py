"""One step of training: the gradient through a run of a model's own outputs, and the update of its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vidfill.models.base import ClipSource, WindowSpec, recur
from vidfill.train.batches import Batch
from vidfill.train.objective import Outputs, critic_loss, loss_terms, picture_critic_loss, weighted_sum
from vidfill.train.parallel import Place, any_of, average_gradients
from vidfill.train.picture_objective import Judges
from vidfill.train.recipes import Recipe, Stage
from vidfill.train.state import TrainingState


class _Rival(NamedTuple):
    """A discriminator in one update: what to call it, its loss, and its optimiser."""

    name: str
    loss: Tensor
    critic: nn.Module
    optimizer: torch.optim.Optimizer


class Stepper:
    """Updates the weights of a run, step by step.

    Args:
        state: of the run.
        recipe: its precision, and where gradients are clipped.
        place: which of several processes this is.
        judges: what the terms of single pictures need.
    """

    def __init__(self, state: TrainingState, recipe: Recipe, place: Place, judges: Judges) -> None:
        self._state, self._place, self._judges = state, place, judges
        self._clip_norm = recipe.clip_norm
        self._device = next(state.model.parameters()).device
        self._dtype = autocast_dtype(recipe, self._device)

    def step(self, batch: Batch, window: WindowSpec, stage: Stage) -> dict[str, float] | None:
        """One batch of clips: `n_chunks` updates along them.

        Args:
            batch: what the outputs are compared with.
            window: what the model is given around each target.
            stage: what is minimised, and how many targets and updates there are.

        Returns:
            The loss, its terms and the norms of the gradients, means over the updates; None where one of them was not
            finite in any of the processes: that update and those after it were left out.
        """
        model = self._state.model
        source = ClipSource(model, batch.clip, batch.holes)
        steps = recur(model, source, detach_every=stage.n_targets, targets=batch.targets, spec=window)
        totals: dict[str, float] = {}
        for _ in range(stage.n_chunks):
            source.forget_features()
            with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
                outputs = [next(steps) for _ in range(stage.n_targets)]
            terms = loss_terms(outputs, batch, window, stage.loss, self._state.critic, self._judges)
            values = self._update(terms, self._rivals(outputs, batch, stage), stage)
            if values is None:
                return None
            totals = {key: totals.get(key, 0.0) + value / stage.n_chunks for key, value in values.items()}
        return totals

    def _rivals(self, outputs: Outputs, batch: Batch, stage: Stage) -> list[_Rival]:
        """The discriminators that take part, with what they minimise on outputs that are taken as given."""
        state, found = self._state, []
        if stage.loss.adversarial and state.critic is not None and state.critic_optimizer is not None:
            loss = critic_loss(state.critic, outputs, batch)
            found.append(_Rival("critic", loss, state.critic, state.critic_optimizer))
        critics, optimizer = state.picture_critics, state.picture_critic_optimizer
        if stage.loss.needs_picture_critics and critics is not None and optimizer is not None:
            told = picture_critic_loss(outputs, batch, stage.loss, self._judges)
            found.append(_Rival("picture_critic", told, critics, optimizer))
        return found

    def _update(self, terms: dict[str, Tensor], rivals: Sequence[_Rival], stage: Stage) -> dict[str, float] | None:
        """One update of the weights, and of the discriminators'; None, and no update, where anything is not finite."""
        state = self._state
        loss = weighted_sum(terms, stage.loss)
        parameters = [p for p in state.model.parameters() if p.requires_grad]
        norm = self._gradients(loss, parameters, state.optimizer)
        scalars = {"loss": loss, **terms}
        values = {name: float(term.detach()) for name, term in scalars.items()} | {"gradient": norm}
        for name, told, critic, optimizer in rivals:
            own = [p for p in critic.parameters() if p.requires_grad]
            values[f"{name}_gradient"] = self._gradients(told, own, optimizer)
            values[name] = float(told.detach())
        if any_of(not all(map(math.isfinite, values.values())), self._place, self._device):
            return None
        state.optimizer.step()
        for rival in rivals:
            rival.optimizer.step()
        state.average()
        return values

    def _gradients(self, loss: Tensor, parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> float:
        """Averaged over the processes and clipped; returns their norm before the clipping."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(parameters, self._place)
        return float(torch.nn.utils.clip_grad_norm_(parameters, self._clip_norm))


def autocast_dtype(recipe: Recipe, device: torch.device) -> torch.dtype:
    """What the recipe's precision means on a device."""
    if recipe.precision != "auto":
        return torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # not in every version
    is_fast = device.type == "cpu" and probe is not None and probe()
    return torch.bfloat16 if is_fast else torch.float32
