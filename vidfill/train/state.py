"""What a training run must keep to go on as if it had never stopped, and its checkpoints."""

from __future__ import annotations

import copy
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidfill.errors import OutputError, UsageError, WeightsError
from vidfill.files.atomic import atomic_write
from vidfill.models.base import Model
from vidfill.models.checkpoint import LearnedModel
from vidfill.train.critics import PictureCritics
from vidfill.train.discriminator import Discriminator
from vidfill.train.muon import MuonAdamW
from vidfill.train.recipes import Recipe
from vidfill.train.report import differences, plain
from vidfill.weights import Checkpoint, save_weights

CHECKPOINT = "checkpoint.pt"
FORMAT = 1
CRITIC_BETAS = (0.5, 0.99)


class TrainingState:
    """Model, averaged model, discriminator and their optimisers.

    Args:
        model: what is trained; lies on the training device.
        name: of the model, as the registry knows it.
        recipe: learning rate, weight decay, averaging.
        in_graph: the optimisers are to work inside a CUDA graph: learning rates are tensors, and going back to a
            snapshot keeps every tensor where it lies.

    Attributes:
        step: how many steps are done.
        n_updates: how many updates of the weights are done.
        n_critic_updates: how many of those of the discriminators of pictures, where that is counted.
        seconds: time spent on them.
        averaged: the model with the exponential moving average of the weights, in evaluation mode.
        critic: the discriminator of clips, None where no stage uses it.
        picture_critics: the discriminators of single pictures, likewise.
    """

    def __init__(self, model: Model, name: str, recipe: Recipe, *, in_graph: bool = False) -> None:
        self.model, self.name = model, name
        self.step = self.n_updates = self.n_critic_updates = 0
        self.seconds = 0.0
        self._decay = recipe.ema_decay
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False)
        self._in_graph, self._critic_rate = in_graph, recipe.critic_rate
        self.optimizer: torch.optim.Optimizer
        if recipe.optimizer == "muon":
            self.optimizer = MuonAdamW(model, recipe, betas=recipe.betas)
        else:
            self.optimizer = _adamw(model, recipe, betas=recipe.betas, in_graph=in_graph)
        device = next(model.parameters()).device
        self.critic: Discriminator | None = None
        self.critic_optimizer: torch.optim.Optimizer | None = None
        if any(stage.loss.adversarial for stage in recipe.stages):
            self.critic = Discriminator(recipe.discriminator_width).to(device)
            self.critic_optimizer = _adamw(self.critic, recipe, betas=CRITIC_BETAS)
        self.picture_critics: PictureCritics | None = None
        self.picture_critic_optimizer: torch.optim.Optimizer | None = None
        if any(stage.loss.needs_picture_critics for stage in recipe.stages):
            self.picture_critics = PictureCritics(recipe.discriminator_width).to(device)
            self.picture_critic_optimizer = _adamw(self.picture_critics, recipe, betas=CRITIC_BETAS, in_graph=in_graph)

    def set_learning_rate(self, rate: float) -> None:
        """The learning rate of the model's optimiser from here on; those of the discriminators get their fraction."""
        critics = (self.critic_optimizer, self.picture_critic_optimizer)
        for optimizer, own in ((self.optimizer, rate), *((critic, rate * self._critic_rate) for critic in critics)):
            for group in optimizer.param_groups if optimizer is not None else ():
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(own)
                else:
                    group["lr"] = own

    def begin_critics_with(self, path: Path) -> None:
        """Take the discriminators of pictures from a file that a run wrote.

        Raises:
            UsageError: this run has none.
            WeightsError: the file does not fit.
        """
        if self.picture_critics is None:
            raise UsageError(f"the recipe has no use for {path}", todo="leave it out of --start")
        self.picture_critics.begin_with(path)

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
                "n_critic_updates": self.n_critic_updates,
                "seconds": self.seconds,
                **{part: module.state_dict() for part, module in parts.items()},
            }
        )

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot of a run of the same model and recipe."""
        for part, module in self._parts().items():
            if self._in_graph and isinstance(module, torch.optim.Optimizer) and module.state:
                _refill(module, snapshot[part])
            else:
                module.load_state_dict(copy.deepcopy(snapshot[part]))
        self.step, self.n_updates, self.seconds = snapshot["step"], snapshot["n_updates"], snapshot["seconds"]
        self.n_critic_updates = snapshot.get("n_critic_updates", 0)

    def save(self, run: Path) -> None:
        """Write the checkpoint, and the averaged weights and the discriminators of pictures as fp16.

        Each file appears when it is complete.

        Raises:
            OutputError: the run's folder cannot be written.
            WeightsError: likewise.
        """
        _save_atomic(self.snapshot(), run / CHECKPOINT)
        half = {name: _halved(tensor) for name, tensor in self.averaged.state_dict().items()}
        save_weights(run / f"{self.name}.safetensors", Checkpoint(self.name, self.model.sizes, half))
        if self.picture_critics is not None:
            self.picture_critics.save(run / f"{self.name}.critics.safetensors")

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
            "picture_critics": self.picture_critics,
            "picture_critic_optimizer": self.picture_critic_optimizer,
        }
        return {name: part for name, part in parts.items() if part is not None}


def _adamw(
    module: nn.Module, recipe: Recipe, *, betas: tuple[float, float], in_graph: bool = False
) -> torch.optim.Optimizer:
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    used = [group for group in groups if group["params"]]
    if not in_graph:
        return torch.optim.AdamW(used, lr=recipe.learning_rate, betas=betas)
    rate = torch.tensor(recipe.learning_rate, device=parameters[0].device)
    return torch.optim.AdamW(used, lr=rate, betas=betas, fused=True, capturable=True)


def _refill(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Set an optimiser's tensors to saved values where they lie; to 0, where it was saved before its first step."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    with torch.no_grad():
        for index, parameter in enumerate(parameters):
            before = saved["state"].get(index, {})
            for name, value in optimizer.state[parameter].items():
                value.copy_(before[name]) if name in before else value.zero_()


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.dtype == torch.float32 else tensor


def _save_atomic(content: dict[str, Any], path: Path) -> None:
    """The file has its name only when it is complete and on the disk."""
    try:
        with atomic_write(path, sync=True) as partial, partial.open("wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        raise OutputError(f"cannot write {path} ({error})", todo="free some space, or name another --out") from error
