"""Where attention should fall: a loss on a model's queries, from motion that is known."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from vidfill.models.opn.attention import PeelQueries
from vidfill.models.opn.model import Peeling
from vidfill.models.opn.peels import CELL_PX, shrink
from vidfill.train.objective import Chunk

# A query counts where at least this ratio of one cell of the truth lies in the bank.
_MIN_SEEN = 0.25


def match_term(chunk: Chunk) -> Tensor:
    """Minus the logarithm of the attention that falls on what a cell of the hole shows in truth.

    The paper trains its attention through the pixels alone; for those to change a key, the right cell must already
    draw some attention. Here the motion says where each cell of a peel is seen in each reference, and the loss is
    -log(sum of attention times bilinear weight) over those places, the softmax going over all references of all samples
    of the batch: the cells of other samples serve as negatives.

    Args:
        chunk: its steps' records are `Peeling`; real clips count where their flow was measured.

    Returns:
        A scalar, the mean over the queries that have an answer; 0 where none has.
    """
    total = torch.stack([0 * step.fill.float().sum() for _, step in chunk.outputs]).sum()
    n_queries = 0
    for t, step in chunk.outputs:
        record: Peeling = step.record
        bank = record.bank
        if bank is None:
            continue
        height, width = (extent // CELL_PX for extent in step.fill.shape[-2:])
        places = [_places(*chunk.motion.between(t, other), (height, width)) for other in record.read]
        index = torch.cat([cells + k * height * width for k, (cells, _) in enumerate(places)], dim=-1)
        weight = torch.cat([weights for _, weights in places], dim=-1)
        known = bank.usable[:, 0, 0] & (bank.has_any[:, 0] > 0)  # of a sample that knows nothing all is "usable"
        weight = weight * known.gather(1, index.flatten(1)).view_as(weight)
        for asked in record.questions:
            losses = _negative_log_attention(asked, bank.keys, known, index, weight)
            total, n_queries = total + losses.sum(), n_queries + len(losses)
    return total / max(1, n_queries)


def _places(flow: Tensor, visible: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where each cell of a frame lies in another: the four nearest cells and their bilinear weights.

    Takes a flow in pixels and where it is visible; `size` is (h, w) in cells. Returns (B, h * w, 4) int64, row by row,
    and float, 0 where the cell is not seen.
    """
    height, width = size
    moved = F.avg_pool2d(flow, CELL_PX) / CELL_PX
    seen = (shrink(visible) > 0.999).float()[:, 0]  # noqa: PLR2004 - all of its middle
    y = moved[:, 1] + torch.arange(height, device=flow.device).view(-1, 1)
    x = moved[:, 0] + torch.arange(width, device=flow.device)
    top, left = y.floor(), x.floor()
    cells, weights = [], []
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        at_y, at_x = top + row, left + column
        weight = (1 - (y - at_y).abs()) * (1 - (x - at_x).abs()) * seen
        inside = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
        cells.append(at_y.clamp(0, height - 1).long() * width + at_x.clamp(0, width - 1).long())
        weights.append(weight * inside)
    return torch.stack(cells, dim=-1).flatten(1, 2), torch.stack(weights, dim=-1).flatten(1, 2)


def _negative_log_attention(asked: PeelQueries, keys: Tensor, known: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """The loss of each query of a peel that has an answer: (N,).

    Args:
        asked: the queries.
        keys: (B, K, C), of which `known`, (B, K) bool, count.
        known: see there.
        index: (B, cells, P), where in the bank each cell of the frame is seen.
        weight: likewise, how much.
    """
    n_keys, channels = keys.shape[1:]
    rows = asked.cells.unsqueeze(-1).expand(-1, -1, index.shape[-1])
    index, weight = index.gather(1, rows), weight.gather(1, rows)
    sample, number = torch.nonzero((weight.sum(dim=-1) > _MIN_SEEN) & asked.counts, as_tuple=True)
    # The product may round: it is what attention itself computes.
    scores = (asked.queries[sample, number].to(keys.dtype) @ keys.flatten(0, 1).T).float() / channels**0.5
    scores = scores.masked_fill(~known.view(1, -1), -torch.inf)
    own = index[sample, number] + (sample * n_keys).unsqueeze(-1)
    found = scores.gather(1, own) + weight[sample, number].log()
    return torch.logsumexp(scores, dim=1) - torch.logsumexp(found, dim=1)
