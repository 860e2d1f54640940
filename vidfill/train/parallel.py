"""Several processes that train one model: each has its part of the batch, the gradients are averaged.

Started by `torchrun`; without it there is one process and nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Place(NamedTuple):
    """Which of how many processes this one is, and its number on its own machine."""

    rank: int = 0
    n_ranks: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0


@contextmanager
def joined(device_type: str) -> Iterator[Place]:
    """Join the processes that torchrun started, for as long as the block runs.

    Args:
        device_type: "cuda" or "cpu"; decides how the processes talk.
    """
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield Place()
        return
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    try:
        yield Place(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        dist.destroy_process_group()


def average_gradients(parameters: Iterable[Tensor], place: Place) -> None:
    """Replace the gradients by their mean over the processes; every process must have the same ones."""
    if place.n_ranks == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= place.n_ranks
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def any_of(flag: bool, place: Place, device: torch.device) -> bool:  # noqa: FBT001 - the value that is shared
    """Whether the flag is up in any of the processes."""
    if place.n_ranks == 1:
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())


def wait_for_all(place: Place) -> None:
    """Return once every process has come here."""
    if place.n_ranks > 1:
        dist.barrier()
