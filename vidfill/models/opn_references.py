"""Which references of the bank a frame reads from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vidfill.models.base import View

# A reference that uncovers less than this share of the hole anew is not chosen for what it uncovers.
WORTH_SHARE = 0.02


def choose(target: View, references: Sequence[View], *, n_most: int) -> list[View]:
    """The references that together uncover most of a hole, then those that are spread most evenly over time.

    First, one after the other, the reference that shows most of what lies at the place of the hole and no one before it
    shows (the nearest one of several that show as much). Where the object leaves its place this finds the frames before
    it came and after it went, and an object that stays is no reason to prefer one frame to another. The rest of the
    budget goes to the references farthest from those chosen and from the target, on a logarithmic scale of time: near
    ones show the same surroundings, far ones what was seen long ago or long after.

    Args:
        target: the frame to fill.
        references: the bank, `features` of which hold what is known.
        n_most: how many may be chosen.

    Returns:
        Ascending by position; all of them where that is within the budget.
    """
    if len(references) <= n_most:
        return list(references)
    missing = ~target.features.known
    left: Tensor = missing
    chosen: list[int] = []
    by_distance = sorted(range(len(references)), key=lambda i: abs(references[i].index - target.index))
    known = torch.stack([references[i].features.known for i in by_distance])
    while len(chosen) < n_most:
        gains = (known & left).sum(dim=(1, 2, 3, 4))
        best = int(gains.argmax())
        if float(gains[best]) <= WORTH_SHARE * float(missing.sum()):
            break
        chosen.append(by_distance[best])
        left = left & ~known[best]
    times = [_log_time(view.index - target.index) for view in references]
    while len(chosen) < n_most:
        taken = [0.0, *(times[i] for i in chosen)]
        free = [i for i in by_distance if i not in chosen]
        chosen.append(max(free, key=lambda i: min(abs(times[i] - time) for time in taken)))
    return [references[i] for i in sorted(chosen)]


def _log_time(offset: int) -> float:
    return math.copysign(math.log1p(abs(offset)), offset)
