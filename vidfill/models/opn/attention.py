"""Asymmetric attention from the pixels of a peel to all known pixels of the references (section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

# Bytes of float32 scores for one tile of queries, where torch has no fused kernel.
TILE_BYTES = 32 * 2**20


class EncodedFrame(NamedTuple):
    """What is kept of a frame, on cells of 4x4 pixels."""

    key: Tensor  # (B, C, h, w); of the frame to fill these are the queries
    value: Tensor  # (B, C, h, w)
    known: Tensor  # (B, 1, h, w) bool, where nothing is missing
    spectrum: Tensor  # (B, h, w // 2 + 1) complex, for the choice of references (see `references.spectrum`)


class Bank(NamedTuple):
    """All cells of all references side by side."""

    keys: Tensor  # (B, R * h * w, C)
    values: Tensor  # (B, R * h * w, C)
    usable: Tensor  # (B, 1, 1, R * h * w) bool, the known cells; all cells of a sample without any
    has_any: Tensor  # (B, 1, 1) float, 0 for a sample without known cells, else 1


class PeelQueries(NamedTuple):
    """The queries of a peel."""

    queries: Tensor  # (B, Q, C)
    cells: Tensor  # (B, Q) int64, see `Peel`
    counts: Tensor  # (B, Q) bool, see `Peel`


def gather(references: Sequence[EncodedFrame]) -> Bank:
    """Put the references of a batch side by side; there is at least one."""
    keys, values = (
        torch.cat([_rows(x) for x in part], dim=1) for part in zip(*(r[:2] for r in references), strict=True)
    )
    known = torch.cat([reference.known.flatten(1) for reference in references], dim=1)
    has_any = known.any(dim=1, keepdim=True)
    return Bank(keys, values, (known | ~has_any)[:, None, None], has_any[..., None].float())


def read(bank: Bank, queries: Tensor) -> Tensor:
    """For each query (B, Q, C) the usable values weighted by softmax(query . key / sqrt(C)) (equations 1 and 2).

    Computed for a tile of queries at a time, so that memory does not grow with queries times keys. Zero in a sample
    without known cells.
    """
    batch, n_keys = bank.keys.shape[:2]
    tile = max(1, TILE_BYTES // (4 * batch * n_keys))
    keys, values = bank.keys.unsqueeze(1), bank.values.unsqueeze(1)
    parts = [
        F.scaled_dot_product_attention(part, keys, values, attn_mask=bank.usable)
        for part in torch.split(queries.unsqueeze(1), tile, dim=2)
    ]
    return torch.cat(parts, dim=2).squeeze(1) * bank.has_any.to(values.dtype)


def queries_of(key: Tensor, cells: Tensor, counts: Tensor) -> PeelQueries:
    """The queries of a peel from the keys of the frame to fill, (B, C, h, w); see `Peel` for cells and counts."""
    return PeelQueries(_rows(key).gather(1, cells.unsqueeze(-1).expand(-1, -1, key.shape[1])), cells, counts)


def add_to_peel(value: Tensor, asked: PeelQueries, bank: Bank) -> Tensor:
    """Add what is read from the bank to the values of a peel; `value` is that of the frame to fill, (B, C, h, w)."""
    answers = read(bank, asked.queries.to(bank.keys.dtype)) * asked.counts.unsqueeze(-1)
    index = asked.cells.unsqueeze(-1).expand(-1, -1, value.shape[1])
    summed = _rows(value).scatter_add(1, index, answers.to(value.dtype))
    return summed.transpose(1, 2).reshape(value.shape)


def _rows(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h * w, C)."""
    return x.flatten(2).transpose(1, 2)
