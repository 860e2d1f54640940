"""Asymmetric attention: the pixels of a peel ask, every known pixel of the references answers (section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

# Bytes of float32 scores that one tile of queries may need, where torch has no kernel that does without them.
TILE_BYTES = 32 * 2**20


class Encoded(NamedTuple):
    """What is kept of a frame, on cells of 4x4 pixels."""

    key: Tensor  # (B, C, h, w), where a pixel is looked for; of the frame to fill, what is looked for
    value: Tensor  # (B, C, h, w), what it gives
    known: Tensor  # (B, 1, h, w) bool, where nothing is missing
    spectrum: Tensor  # (B, h, w // 2 + 1) complex, for the choice of references (`opn_references.spectrum`)


class Bank(NamedTuple):
    """All cells of all references side by side."""

    keys: Tensor  # (B, R * h * w, C)
    values: Tensor  # (B, R * h * w, C)
    # (B, 1, 1, R * h * w) bool, where there is something known; everywhere in a sample that knows nothing.
    usable: Tensor
    has_any: Tensor  # (B, 1, 1) float, 0 for a sample that knows nothing, else 1


class Questions(NamedTuple):
    """What the cells of a peel look for."""

    queries: Tensor  # (B, Q, C)
    cells: Tensor  # (B, Q) int64, where they lie in the map, row by row; see `Peel`
    counts: Tensor  # (B, Q) bool, see `Peel`


def gather(references: Sequence[Encoded]) -> Bank:
    """Put the references of a batch side by side; there is at least one."""
    keys, values = (
        torch.cat([_rows(x) for x in part], dim=1) for part in zip(*(r[:2] for r in references), strict=True)
    )
    known = torch.cat([reference.known.flatten(1) for reference in references], dim=1)
    has_any = known.any(dim=1, keepdim=True)
    return Bank(keys, values, (known | ~has_any)[:, None, None], has_any[..., None].float())


def read(bank: Bank, queries: Tensor) -> Tensor:
    """For each query the mean of the usable values, weighted by softmax(query . key / sqrt(C)) (equations 1 and 2).

    Computed for a tile of queries at a time, so that memory does not grow with queries times keys.

    Args:
        bank: what is known.
        queries: (B, Q, C).

    Returns:
        (B, Q, C); zero in a sample that knows nothing.
    """
    batch, n_keys = bank.keys.shape[:2]
    tile = max(1, TILE_BYTES // (4 * batch * n_keys))
    keys, values = bank.keys.unsqueeze(1), bank.values.unsqueeze(1)
    parts = [
        F.scaled_dot_product_attention(part, keys, values, attn_mask=bank.usable)
        for part in torch.split(queries.unsqueeze(1), tile, dim=2)
    ]
    return torch.cat(parts, dim=2).squeeze(1) * bank.has_any.to(values.dtype)


def ask(key: Tensor, cells: Tensor, counts: Tensor) -> Questions:
    """The questions of a peel.

    Args:
        key: (B, C, h, w), of the frame to fill.
        cells: (B, Q), which of them.
        counts: (B, Q), see `Peel`.
    """
    return Questions(_rows(key).gather(1, cells.unsqueeze(-1).expand(-1, -1, key.shape[1])), cells, counts)


def add_to_peel(value: Tensor, asked: Questions, bank: Bank) -> Tensor:
    """Add what the references answer to the values of a peel.

    Args:
        value: (B, C, h, w), of the frame to fill.
        asked: by the peel's cells, on the same map.
        bank: what is known.

    Returns:
        (B, C, h, w).
    """
    answers = read(bank, asked.queries.to(bank.keys.dtype)) * asked.counts.unsqueeze(-1)
    index = asked.cells.unsqueeze(-1).expand(-1, -1, value.shape[1])
    summed = _rows(value).scatter_add(1, index, answers.to(value.dtype))
    return summed.transpose(1, 2).reshape(value.shape)


def _rows(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h * w, C), a row for each cell."""
    return x.flatten(2).transpose(1, 2)
