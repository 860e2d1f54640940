"""Muon for kernels, AdamW for the rest, the same after a checkpoint."""

import copy
from dataclasses import replace

import torch
from torch import nn

from vidfill.train.optimizers import RMS, make_optimizers, orthogonal
from vidfill.train.recipe import TINY

BETAS = (0.9, 0.999)
RECIPE = replace(TINY, learning_rate=1e-2, weight_decay=0.0)


class _Network(nn.Module):
    """One kernel for Muon, one for AdamW."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.last = nn.Conv2d(16, 32, 3), nn.Conv2d(32, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.last(torch.relu(self.inner(x)))
        return y


def _optimizers(network: nn.Module, *, weight_decay: float = 0.0) -> list[torch.optim.Optimizer]:
    return make_optimizers(network, replace(RECIPE, weight_decay=weight_decay), betas=BETAS, muon=True)


def _train(network: nn.Module, optimizers: list[torch.optim.Optimizer], n_steps: int) -> list[float]:
    x = torch.rand(2, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(n_steps):
        loss = (network(x) - 1).square().mean()
        network.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    return losses


def test_singular_values_end_near_one_for_tall_and_wide_matrices() -> None:
    for shape in ((32, 144), (144, 32)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        values = torch.linalg.svdvals(orthogonal(matrix))
        assert 0.6 < float(values.min()) <= float(values.max()) < 1.3
        assert float((orthogonal(matrix) * matrix).sum()) > 0, "it goes on pointing the same way"
    assert torch.isfinite(orthogonal(torch.zeros(4, 9))).all()


def test_a_kernel_moves_as_far_as_adamw_would_move_it() -> None:
    network = _Network()
    before = copy.deepcopy(network)
    _train(network, _optimizers(network), 1)
    moved = (network.inner.weight - before.inner.weight).detach()
    rms = float(moved.square().mean().sqrt())
    assert 0.6 * RMS < rms / RECIPE.learning_rate < 1.3 * RMS
    first_of_adam = (network.last.weight - before.last.weight).detach().abs()
    assert abs(float(first_of_adam.max()) / RECIPE.learning_rate - 1) < 1e-3


def test_it_learns_and_goes_on_from_its_own_state_bit_for_bit() -> None:
    network = _Network()
    optimizers = _optimizers(network)
    first = _train(network, optimizers, 5)
    weights, states = copy.deepcopy(network.state_dict()), [copy.deepcopy(o.state_dict()) for o in optimizers]
    rest = _train(network, optimizers, 5)
    assert rest[-1] < 0.5 * first[0]
    again = _Network()
    again.load_state_dict(weights)
    resumed = _optimizers(again)
    for optimizer, state in zip(resumed, states, strict=True):
        optimizer.load_state_dict(state)
    assert _train(again, resumed, 5) == rest
    assert [len(optimizer.param_groups) for optimizer in resumed] == [2, 1]


def test_weights_decay_but_biases_do_not() -> None:
    network = _Network()
    kernel, bias = network.inner.weight, network.inner.bias
    assert bias is not None
    before = kernel.detach().clone(), bias.detach().clone()
    kernel.grad, bias.grad = torch.zeros_like(kernel), torch.zeros_like(bias)
    for optimizer in _optimizers(network, weight_decay=0.5):
        optimizer.step()
    assert torch.allclose(kernel, before[0] * (1 - 0.5 * RECIPE.learning_rate))
    assert torch.equal(bias, before[1])
