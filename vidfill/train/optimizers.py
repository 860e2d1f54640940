"""The optimisers of a run: torch's AdamW, and Muon for the kernels of convolutions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vidfill.train.recipe import Recipe

_MOMENTUM = 0.95
# Coefficients of the quintic Newton-Schulz iteration of Jordan's post: singular values end between 0.7 and 1.2.
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_N_ITERATIONS = 5
# An orthogonal update of (n, m) has root mean square 1 / sqrt(max(n, m)); scaled to this, AdamW's learning rates fit
# (Liu et al., Muon is Scalable for LLM Training, 2025, section 2.2).
RMS = 0.2
# Kernels with fewer channels on either side are left to AdamW.
_MIN_CHANNELS = 16


def make_optimizers(
    module: nn.Module, recipe: Recipe, *, betas: tuple[float, float], muon: bool = False, in_graph: bool = False
) -> list[torch.optim.Optimizer]:
    """The optimisers of all parameters that learn; weight decay for those with two or more axes.

    Args:
        module: what is trained.
        recipe: learning rate and weight decay.
        betas: of AdamW.
        muon: kernels are for Muon.
        in_graph: they are to work inside a CUDA graph: the learning rates are tensors.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    kernels = [p for p in parameters if muon and p.dim() == 4 and min(p.shape[:2]) >= _MIN_CHANNELS]
    others = [p for p in parameters if not any(p is kernel for kernel in kernels)]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in others if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in others if p.dim() <= 1], "weight_decay": 0.0},
    ]
    used = [group for group in groups if group["params"]]
    rate = torch.tensor(recipe.learning_rate, device=parameters[0].device) if in_graph else recipe.learning_rate
    made: list[torch.optim.Optimizer] = []
    if used:
        made.append(torch.optim.AdamW(used, lr=rate, betas=betas, fused=in_graph or None, capturable=in_graph))
    if kernels:
        made.append(Muon(kernels, lr=rate, weight_decay=recipe.weight_decay))
    return made


class Muon(torch.optim.Optimizer):
    """Momentum that is made orthogonal before each update (Jordan et al., 2024), for kernels of convolutions.

    A kernel is a matrix of (channels out, channels in x positions). torch's own takes matrices alone and computes in
    bfloat16. Learning rate and weight decay are as AdamW would have them.
    """

    def __init__(self, kernels: list[nn.Parameter], *, lr: float | Tensor, weight_decay: float) -> None:
        super().__init__(kernels, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override] # no optimiser here is given a closure
        """Update all kernels that have a gradient."""
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                state, gradient = self.state[kernel], kernel.grad
                if not state:
                    state["momentum"] = torch.zeros_like(gradient)
                momentum: Tensor = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
                direction = orthogonal(gradient.lerp(momentum, _MOMENTUM).flatten(1))
                change = direction.view_as(gradient) * (RMS * max(direction.shape) ** 0.5)
                kernel.mul_(1 - group["lr"] * group["weight_decay"])
                kernel.sub_(change * group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix (n, m) with its singular values brought near 1, by Newton-Schulz iteration."""
    a, b, c = _NEWTON_SCHULZ
    x: Tensor = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(_N_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
