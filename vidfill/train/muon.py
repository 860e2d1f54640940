"""Muon: momentum whose matrices are made orthogonal before each update (Jordan et al., 2024)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vidfill.train.recipes import Recipe

MOMENTUM = 0.95
# Coefficients of the quintic Newton-Schulz iteration of Jordan's post: singular values end between 0.7 and 1.2.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
N_ITERATIONS = 5
# An orthogonal update of (n, m) has root mean square 1 / sqrt(max(n, m)); scaled to this, AdamW's learning rates fit
# (Liu et al., Muon is Scalable for LLM Training, 2025, section 2.2).
RMS = 0.2
# A kernel of fewer channels on either side is no matrix to speak of: AdamW's.
LEAST_CHANNELS = 16
EPSILON = 1e-8


class MuonAdamW(torch.optim.Optimizer):
    """Muon for the kernels of convolutions, each a matrix of (channels out, channels in x positions); AdamW for others.

    Args:
        module: what is trained.
        recipe: learning rate and weight decay.
        betas: of AdamW.
    """

    def __init__(self, module: nn.Module, recipe: Recipe, *, betas: tuple[float, float]) -> None:
        parameters = [p for p in module.parameters() if p.requires_grad]
        kernels, others = [p for p in parameters if _is_kernel(p)], [p for p in parameters if not _is_kernel(p)]
        decaying, still = [p for p in others if p.dim() > 1], [p for p in others if p.dim() <= 1]
        groups: list[dict[str, Any]] = [
            {"params": kernels, "weight_decay": recipe.weight_decay, "is_muon": True},
            {"params": decaying, "weight_decay": recipe.weight_decay, "is_muon": False},
            {"params": still, "weight_decay": 0.0, "is_muon": False},
        ]
        super().__init__([g for g in groups if g["params"]], {"lr": recipe.learning_rate, "betas": betas})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override] # no optimiser here is given a closure
        """Update all tensors that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                state = self.state[parameter]
                change = (
                    _muon(state, parameter.grad) if group["is_muon"] else _adam(state, parameter.grad, *group["betas"])
                )
                parameter.sub_(change, alpha=group["lr"])


def _is_kernel(parameter: Tensor) -> bool:
    return parameter.dim() == 4 and min(parameter.shape[:2]) >= LEAST_CHANNELS  # noqa: PLR2004


def _muon(state: dict[str, Any], gradient: Tensor) -> Tensor:
    """How to move a kernel, at a learning rate of 1."""
    if not state:
        state["momentum"] = torch.zeros_like(gradient)
    momentum: Tensor = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
    direction = orthogonal(gradient.lerp(momentum, MOMENTUM).flatten(1))
    change: Tensor = direction.view_as(gradient) * (RMS * max(direction.shape) ** 0.5)
    return change


def _adam(state: dict[str, Any], gradient: Tensor, decay: float, square_decay: float) -> Tensor:
    """Likewise for any tensor (Kingma and Ba, 2015, algorithm 1)."""
    if not state:
        state |= {"step": 0, "mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
    state["step"] += 1
    mean: Tensor = state["mean"].lerp_(gradient, 1 - decay) / (1 - decay ** state["step"])
    square: Tensor = state["square"].lerp_(gradient.square(), 1 - square_decay) / (1 - square_decay ** state["step"])
    return mean / (square.sqrt() + EPSILON)


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix (n, m) with its singular values brought near 1, by Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(N_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
