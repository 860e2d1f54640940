"""What a training run must keep to go on as if it had never stopped, and its checkpoints."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidfill.errors import OutputError, UsageError, WeightsError
from vidfill.files.atomic import atomic_write
from vidfill.models.base import Model
from vidfill.train.objective import Critics
from vidfill.train.optimizers import make_optimizers
from vidfill.train.recipe import Recipe
from vidfill.train.report import differences, plain
from vidfill.weights import Checkpoint, save_weights

CHECKPOINT = "checkpoint.pt"
_FORMAT = 2
_CRITIC_BETAS = (0.5, 0.99)
_COUNTS = ("step", "n_updates", "n_critic_steps", "seconds")


class TrainingState:
    """Model, averaged model, discriminators and their optimisers.

    Args:
        model: what is trained; lies on the training device.
        name: of the model, as the registry knows it.
        recipe: learning rate, weight decay, averaging, discriminators.
        in_graph: the optimisers are to work inside a CUDA graph.

    Attributes:
        step: how many steps are done.
        n_updates: how many updates of the weights are done.
        n_critic_steps: how many steps the discriminators have taken part in.
        seconds: time spent on the steps.
        averaged: the model with the exponential moving average of the weights, in evaluation mode.
    """

    def __init__(self, model: Model, name: str, recipe: Recipe, *, in_graph: bool = False) -> None:
        _use_channels_last(model)
        self.model, self.name = model, name
        self.step = self.n_updates = self.n_critic_steps = 0
        self.seconds = 0.0
        self._decay, self._critic_lr_ratio = recipe.ema_decay, recipe.critic_lr_ratio
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False)
        self.device = next(model.parameters()).device
        self.optimizers = make_optimizers(
            model, recipe, betas=recipe.betas, muon=recipe.optimizer == "muon", in_graph=in_graph
        )
        self.critics = Critics(recipe).to(self.device)
        _use_channels_last(self.critics)
        self.critic_optimizers: list[torch.optim.Optimizer] = []
        if any(True for _ in self.critics.parameters()):
            self.critic_optimizers = make_optimizers(self.critics, recipe, betas=_CRITIC_BETAS, in_graph=in_graph)

    def set_learning_rate(self, rate: float) -> None:
        """The learning rate of the model's optimisers from here on; those of the discriminators get their ratio."""
        both = ((self.optimizers, rate), (self.critic_optimizers, rate * self._critic_lr_ratio))
        for optimizers, own in both:
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(own)
                else:
                    group["lr"] = own

    def begin_critics_with(self, path: Path) -> None:
        """Take the discriminators of pictures from a file that a run wrote; `UsageError` if this one has none."""
        if self.critics.pictures is None:
            raise UsageError(f"the recipe has no use for {path}", todo="leave it out of --start")
        self.critics.pictures.begin_with(path)

    def average(self) -> None:
        """Take one update into the averaged weights; over the first updates the average is shorter."""
        self.n_updates += 1
        decay = min(self._decay, (1 + self.n_updates) / (10 + self.n_updates))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.model.parameters()), 1 - decay)
            for kept, buffer in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
                kept.copy_(buffer)

    def snapshot(self) -> dict[str, Any]:
        """Everything, as plain data and tensors that later steps do not change."""
        return copy.deepcopy(
            {
                "format": _FORMAT,
                "model_name": self.name,
                "sizes": self.model.sizes,
                **{count: getattr(self, count) for count in _COUNTS},
                **{part: module.state_dict() for part, module in self._parts().items()},
            }
        )

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot of a run of the same model and recipe. Tensors stay where they lie, for CUDA graphs."""
        for part, module in self._parts().items():
            if isinstance(module, torch.optim.Optimizer) and module.state:
                refill(module, snapshot[part])
            else:
                module.load_state_dict(copy.deepcopy(snapshot[part]))
        for count in _COUNTS:
            setattr(self, count, snapshot[count])

    def save(self, run: Path) -> None:
        """Write the checkpoint, and the averaged weights and the discriminators of pictures as fp16.

        Raises:
            OutputError: the run's folder cannot be written.
        """
        path = run / CHECKPOINT
        try:
            with atomic_write(path, sync=True) as partial, partial.open("wb") as file:
                torch.save(self.snapshot(), file)
        except (OSError, RuntimeError) as error:
            raise OutputError(
                f"cannot write {path} ({error})", todo="free some space, or name another --out"
            ) from error
        half = {
            name: tensor.half() if tensor.dtype == torch.float32 else tensor
            for name, tensor in self.averaged.state_dict().items()
        }
        save_weights(run / f"{self.name}.safetensors", Checkpoint(self.name, self.model.sizes, half))
        if self.critics.pictures is not None:
            self.critics.pictures.save(run / f"{self.name}.critics.safetensors")

    def load(self, run: Path) -> None:
        """Go on from the checkpoint of a run.

        Raises:
            UsageError: it is of another model, size or version, or lacks discriminators; says which.
            WeightsError: it cannot be read.
        """
        path = run / CHECKPOINT
        try:
            snapshot = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:  # noqa: BLE001 - torch.load raises whatever the damage makes it raise
            raise WeightsError(
                f"{path} is not a whole checkpoint ({type(error).__name__})", todo="start a new run"
            ) from error
        problem = self._misfit(snapshot)
        if problem:
            raise UsageError(
                f"the run in {run} {problem}", todo="go on with the recipe it was started with, or give another --out"
            )
        self.restore(snapshot)

    def _misfit(self, snapshot: dict[str, Any]) -> str:
        """Why this run cannot go on from a checkpoint, "" if it can."""
        if snapshot["format"] != _FORMAT:
            return "was written by another version"
        if snapshot["model_name"] != self.name:
            return f"is of {snapshot['model_name']}, not of {self.name}"
        before, now = plain(snapshot["sizes"]), plain(self.model.sizes)
        if before != now:
            changes = ", ".join(sorted(differences(before, now))) or f"{now}, was {before}"
            return f"is of a {self.name} of other sizes ({changes})"
        missing = self._parts().keys() - snapshot.keys()
        if missing:
            return f"has no {' and no '.join(sorted(missing))}"
        critics = self.critics.state_dict().keys() - snapshot["critics"].keys()
        return f"has no {min(critics).split('.')[0]} among its discriminators" if critics else ""

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "model": self.model,
            "averaged": self.averaged,
            "critics": self.critics,
            **{f"optimizer_{i}": optimizer for i, optimizer in enumerate(self.optimizers)},
            **{f"critic_optimizer_{i}": optimizer for i, optimizer in enumerate(self.critic_optimizers)},
        }


@torch.no_grad()
def refill(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Set an optimiser's tensors to saved values in place; to 0 where it was saved before its first step."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        before = saved["state"].get(index, {})
        for name, value in optimizer.state[parameter].items():
            value.copy_(before[name]) if name in before else value.zero_()


def _use_channels_last(module: nn.Module) -> None:
    """Lay out the kernels of 2-D convolutions for the faster way to compute them, in place."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
