"""What a training run must keep to go on as if it had never stopped, and its checkpoints."""

from __future__ import annotations

import copy
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidfill.errors import OutputError, UsageError, WeightsError
from vidfill.models.base import Model
from vidfill.models.checkpoint import LearnedModel
from vidfill.train.discriminator import Discriminator
from vidfill.train.muon import MuonAdamW
from vidfill.train.recipes import Recipe
from vidfill.train.report import differences, plain
from vidfill.weights import Checkpoint, save_weights

CHECKPOINT = "checkpoint.pt"
FORMAT = 1


class TrainingState:
    """Model, averaged model, discriminator and their optimisers.

    Args:
        model: what is trained; lies on the training device.
        name: of the model, as the registry knows it.
        recipe: learning rate, weight decay, averaging.

    Attributes:
        step: how many steps are done.
        n_updates: how many updates of the weights are done.
        seconds: time spent on them.
        averaged: the model with the exponential moving average of the weights, in evaluation mode.
        critic: the discriminator, None where no stage uses it.
    """

    def __init__(self, model: Model, name: str, recipe: Recipe) -> None:
        self.model, self.name = model, name
        self.step = self.n_updates = 0
        self.seconds = 0.0
        self._decay = recipe.ema_decay
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False)
        self.optimizer = (MuonAdamW if recipe.optimizer == "muon" else _adamw)(model, recipe, betas=(0.9, 0.999))
        device = next(model.parameters()).device
        self.critic: Discriminator | None = None
        self.critic_optimizer: torch.optim.Optimizer | None = None
        if any(stage.loss.adversarial for stage in recipe.stages):
            self.critic = Discriminator(recipe.discriminator_width).to(device)
            self.critic_optimizer = _adamw(self.critic, recipe, betas=(0.5, 0.99))

    def set_learning_rate(self, rate: float) -> None:
        """The learning rate of both optimisers from here on."""
        for optimizer in (self.optimizer, self.critic_optimizer):
            for group in optimizer.param_groups if optimizer is not None else ():
                group["lr"] = rate

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
        parts = self._parts()
        return copy.deepcopy(
            {
                "format": FORMAT,
                "model_name": self.name,
                "sizes": self.model.sizes,
                "step": self.step,
                "n_updates": self.n_updates,
                "seconds": self.seconds,
                **{part: module.state_dict() for part, module in parts.items()},
            }
        )

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot of a run of the same model and recipe."""
        for part, module in self._parts().items():
            module.load_state_dict(copy.deepcopy(snapshot[part]))
        self.step, self.n_updates, self.seconds = snapshot["step"], snapshot["n_updates"], snapshot["seconds"]

    def save(self, run: Path) -> None:
        """Write the checkpoint, and the averaged weights as fp16 in vidfill's own format; both appear when complete.

        Raises:
            OutputError: the run's folder cannot be written.
            WeightsError: likewise.
        """
        _save_atomic(self.snapshot(), run / CHECKPOINT)
        half = {name: _halved(tensor) for name, tensor in self.averaged.state_dict().items()}
        save_weights(run / f"{self.name}.safetensors", Checkpoint(self.name, self.model.sizes, half))

    def load(self, run: Path) -> None:
        """Go on from the checkpoint of a run.

        Raises:
            UsageError: it is of another model, of other sizes or of a recipe without this one's discriminator; says
                which.
            WeightsError: it cannot be read.
        """
        path = run / CHECKPOINT
        device = next(self.model.parameters()).device
        try:
            snapshot = torch.load(path, map_location=device, weights_only=True)
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
        if snapshot["model_name"] != self.name:
            return f"is of {snapshot['model_name']}, not of {self.name}"
        before, now = self._completed(snapshot["sizes"]), plain(self.model.sizes)
        if before != now:
            changes = ", ".join(sorted(differences(before, now))) or f"{now}, was {before}"
            return f"is of a {self.name} of other sizes ({changes})"
        missing = self._parts().keys() - snapshot.keys()
        return f"has no {' and no '.join(sorted(missing))}" if missing else ""

    def _completed(self, sizes: dict[str, Any]) -> Any:
        """A checkpoint's sizes, with the defaults of those that its version did not have yet."""
        if isinstance(self.model, LearnedModel):
            with suppress(TypeError, ValueError):
                return plain(type(self.model).from_sizes(sizes).sizes)
        return plain(sizes)

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        parts: dict[str, nn.Module | torch.optim.Optimizer | None] = {
            "model": self.model,
            "averaged": self.averaged,
            "optimizer": self.optimizer,
            "critic": self.critic,
            "critic_optimizer": self.critic_optimizer,
        }
        return {name: part for name, part in parts.items() if part is not None}


def _adamw(module: nn.Module, recipe: Recipe, *, betas: tuple[float, float]) -> torch.optim.Optimizer:
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.learning_rate, betas=betas)


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.dtype == torch.float32 else tensor


def _save_atomic(content: dict[str, Any], path: Path) -> None:
    """The file has its name only when it is complete and on the disk; what a killed save left is written over."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:
        unfinished.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path} ({error})", todo="free some space, or name another --out") from error
