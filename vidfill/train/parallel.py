"""Several processes that train one model: each has its part of the batch, the gradients are averaged.

Started by `torchrun`; without it there is one process and nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Ranks(NamedTuple):
    """Which of how many processes this one is, and its number on its own machine."""

    rank: int = 0
    n_ranks: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def part_of(self, n_samples: int) -> tuple[int, int]:
        """The first sample of this process in a batch, and how many it has; all have as many."""
        return self.rank * (n_samples // self.n_ranks), n_samples // self.n_ranks


@contextmanager
def joined(device_type: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, for as long as the block runs; the type is "cuda" or "cpu"."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield Ranks()
        return
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        dist.destroy_process_group()


def average_gradients(parameters: Sequence[Tensor], ranks: Ranks) -> None:
    """Replace the gradients by their mean over the processes.

    One that only some processes have (one of them has no synthetic clip, say) counts 0 in the others.
    """
    if ranks.n_ranks == 1:
        return
    has_gradient = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), has_gradient])
    dist.all_reduce(flat)
    *parts, counts = torch.split(flat, [*(p.numel() for p in parameters), len(parameters)])
    for parameter, part, count in zip(parameters, parts, counts.tolist(), strict=True):
        parameter.grad = (part / ranks.n_ranks).view_as(parameter) if count else None


def any_of(flag: bool, ranks: Ranks, device: torch.device) -> bool:  # noqa: FBT001 - the value that is shared
    """Whether the flag is up in any of the processes."""
    if ranks.n_ranks == 1:
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())


def wait_for_all(ranks: Ranks) -> None:
    """Return once every process has come here."""
    if ranks.n_ranks > 1:
        dist.barrier()
