"""Candidates from alignment, decisions from a network: real pixels of other frames, believed where they fit.

`propagate` brings pixels from other frames and makes a first composite of them; a small recurrent network weighs the
candidates, that composite and its own previous output against each other at every pixel, and adds what none of them
shows.

Sources: the alignment and the attention over references of Align-and-Attend (Woo et al., BMVC 2020) and of
Copy-and-Paste (Lee et al., ICCV 2019), the recurrence of Deep Video Inpainting (Kim et al., CVPR 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from vidfill.align.seen import Seen
from vidfill.errors import WeightsError
from vidfill.models.base import Previous, Step, View
from vidfill.models.checkpoint import LearnedModel
from vidfill.models.fuse_candidates import GRID_PX, Box, box_on_grid, pack, unpack
from vidfill.models.fuse_network import Decider
from vidfill.models.layers import Memory
from vidfill.models.propagate import Decision, Propagate
from vidfill.models.propagate import State as PropagateState

N_CANDIDATES = 6


class State(NamedTuple):
    """What a pass carries along.

    Attributes:
        alignment: of `propagate`, for each clip of the batch.
        composite: (B, 3, H, W), what `propagate` alone made of the frame before, which its own feedback wants.
        memory: of the network, over the whole frame at 1/16 of its size.
    """

    alignment: tuple[PropagateState, ...]
    composite: Tensor | None = None
    memory: Memory | None = None


class Fuse(LearnedModel):
    """Propagation that a network decides about.

    The network works on the box round the hole alone, on a grid of 16 pixels. With new weights its output is close to
    that of `propagate`, since the composite has by far the largest weight.

    Args:
        target, candidate, key, score, feedback: sizes of the network (see `Decider`).
        n_candidates: of a frame, beside the spatial fills and the output before.
    """

    spec = Propagate.spec

    def __init__(
        self,
        *,
        target: tuple[int, int, int, int] = (32, 64, 96, 112),
        candidate: tuple[int, int] = (32, 48),
        key: int = 24,
        score: int = 16,
        feedback: bool = True,
        n_candidates: int = N_CANDIDATES,
    ) -> None:
        super().__init__()
        self.decider = Decider(target=target, candidate=candidate, key=key, score=score, feedback=feedback)
        self.sizes = {**self.decider.sizes, "n_candidates": n_candidates}
        self._alignment = Propagate()
        self._n_candidates = n_candidates
        self._n_memory = target[-1]

    @classmethod
    def from_sizes(cls, sizes: Mapping[str, Any]) -> Self:
        """See `LearnedModel.from_sizes`."""
        pyramids = {name: tuple(sizes[name]) for name in ("target", "candidate") if name in sizes}
        return cls(**{**sizes, **pyramids})

    @classmethod
    def from_authors(cls, tensors: Mapping[str, Tensor], *, source: str) -> Self:
        """No paper's authors have weights for this network.

        Raises:
            WeightsError: always.
        """
        raise WeightsError(f"{source} cannot be weights of fuse", todo="train it, or use the weights that come with it")

    def encode(self, frame: Tensor, hole: Tensor) -> list[Seen]:
        """What alignment needs of a frame, for each clip of the batch."""
        return self._alignment.encode(frame, hole)

    def step(
        self,
        target: View,
        neighbours: Sequence[View],
        references: Sequence[View],
        previous: Previous | None,
        state: State | None,
    ) -> Step:
        """Fill one frame (see `Model.step`); the backward pass fills nothing."""
        alignment = None if state is None else state.alignment
        if target.record is None:
            step = self._alignment.look_back(target, references, alignment)
            return step._replace(state=State(step.state))
        own = None
        if previous is not None and state is not None and state.composite is not None:
            own = previous._replace(frame=state.composite)
        decisions = self._alignment.decide(target, references, own, alignment)
        memory = state.memory if state is not None and state.memory is not None else self._new_memory(target.frame)
        composite = _pictures([d.fill for d in decisions], target.frame)
        fills, memories = [], []
        for b, decision in enumerate(decisions):
            fill, remembered = self._fill(
                decision,
                composite[b : b + 1],
                target.hole[b : b + 1],
                None if previous is None else previous.frame[b : b + 1],
                Memory(*(part[b : b + 1] for part in memory)),
            )
            fills.append(fill)
            memories.append(remembered)
        memory = Memory(*(torch.cat(parts) for parts in zip(*memories, strict=True)))
        return Step(torch.cat(fills), State(tuple(d.state for d in decisions), composite, memory))

    def _fill(
        self, decision: Decision, composite: Tensor, hole: Tensor, before: Tensor | None, memory: Memory
    ) -> tuple[Tensor, Memory]:
        """One frame of one clip: (1, 3, H, W), and the memory with the part round the hole renewed."""
        if decision.region is None:
            return composite, memory
        height, width = hole.shape[-2:]
        box = box_on_grid(decision.region.box, (height, width))
        here = np.s_[..., box[1] : box[3], box[0] : box[2]]
        coarse = _coarse(box)
        candidates = unpack(pack(decision, box, self._n_candidates), composite[here], hole[here])
        fill, remembered = self.decider(candidates, before, Memory(*(part[coarse] for part in memory)))
        whole = composite.clone()
        whole[here] = fill.to(whole.dtype)
        renewed = []
        for part, new in zip(memory, remembered, strict=True):
            copy = part.clone()
            copy[coarse] = new
            renewed.append(copy)
        return whole, Memory(*renewed)

    def _new_memory(self, frame: Tensor) -> Memory:
        height, width = (-(-side // GRID_PX) for side in frame.shape[-2:])
        zeros = torch.zeros(len(frame), self._n_memory, height, width, device=frame.device)
        return Memory(zeros, zeros)


def _coarse(box: Box) -> tuple[Any, slice, slice]:
    """The box in the memory, which is 1/16 of the size."""
    x0, y0, x1, y1 = box[0] // GRID_PX, box[1] // GRID_PX, -(-box[2] // GRID_PX), -(-box[3] // GRID_PX)
    return ..., slice(y0, y1), slice(x0, x1)


def _pictures(fills: Sequence[np.typing.NDArray[np.float32]], like: Tensor) -> Tensor:
    """(H, W, 3) in 0 to 255 each to (B, 3, H, W) in [0, 1]."""
    stacked = np.ascontiguousarray(np.stack(fills).transpose(0, 3, 1, 2)) / np.float32(255)
    return torch.from_numpy(stacked).to(like)
