"""Onion peels: a hole cut into rings, from its boundary inwards (section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from numpy.typing import NDArray
from torch import Tensor

from vidfill.video.frame import Bool

# Rows and columns of a block of pixels or cells.
Slices = tuple[slice, slice]

# Pixels in a cell of the feature maps, each way.
CELL_PX = 4


class Peel(NamedTuple):
    """One ring of the holes of a batch."""

    mask: Tensor  # (B, 1, H, W), 1 inside the ring; all 0 for a sample whose hole has fewer rings
    cells: Tensor  # (B, Q), which cells of the feature map (row by row) the ring covers, padded with cell 0
    counts: Tensor  # (B, Q) bool, false where padded
    around: tuple[int, int, int, int]  # cells (top, bottom, left, right; half-open) that hold all that is still missing


def peel(holes: Tensor, *, thickness_px: int, n_max: int) -> list[Peel]:
    """Cut holes (B, 1, H, W) into rings, from outside to inside; as many as the deepest hole has, at most `n_max`.

    Ring k holds the distances to the nearest known pixel in (k t, (k + 1) t] for a thickness of t; distances are
    OpenCV's (L2, 5x5 mask), as in the authors' code. The last of `n_max` rings takes what is left; a hole that fills
    its whole frame is one ring. Height and width are multiples of `CELL_PX`.
    """
    numbers = np.stack([_ring_numbers(hole, thickness_px, n_max) for hole in holes[:, 0].cpu().numpy() > 0.5])
    return [_peel(numbers, k, holes) for k in range(1, int(numbers.max(initial=0)) + 1)]


def shrink(masks: Tensor) -> Tensor:
    """Masks on cells, (B, 1, H, W) to (B, 1, h, w): bilinear, so the mean of a cell's middle four pixels."""
    return F.interpolate(masks, scale_factor=1 / CELL_PX, mode="bilinear", align_corners=False)


def _ring_numbers(hole: Bool, thickness_px: int, n_max: int) -> NDArray[np.int32]:
    """(H, W), counted from 1 at the boundary; 0 outside the hole."""
    if hole.all():
        return np.ones(hole.shape, np.int32)
    distance = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5)
    return np.minimum(np.ceil(distance / thickness_px), n_max).astype(np.int32)


def _peel(numbers: NDArray[np.int32], k: int, holes: Tensor) -> Peel:
    mask = torch.from_numpy((numbers == k)[:, None].astype(np.float32))
    covered = [np.flatnonzero(cells) for cells in (shrink(mask) >= 0.5).numpy()]
    n_cells = max(len(cells) for cells in covered)
    padded = np.stack([np.pad(cells, (0, n_cells - len(cells))) for cells in covered])
    counts = np.arange(n_cells) < np.array([len(cells) for cells in covered])[:, None]
    around = covering(torch.from_numpy(numbers[:, None] >= k), CELL_PX)
    assert around is not None
    return Peel(
        mask.to(holes),
        torch.from_numpy(padded).to(holes.device),
        torch.from_numpy(counts).to(holes.device),
        around,
    )


def grown(cells: tuple[int, int, int, int], reach: int, size: tuple[int, int]) -> Slices:
    """Rows and columns of cells (top, bottom, left, right), grown by `reach` on every side within (height, width)."""
    top, bottom, left, right = cells
    rows = slice(max(0, top - reach), min(size[0], bottom + reach))
    return rows, slice(max(0, left - reach), min(size[1], right + reach))


def covering(mask: Tensor, cell_px: int) -> tuple[int, int, int, int] | None:
    """The cells (top, bottom, left, right; half-open) that hold the masks (B, 1, H, W); None where they are empty."""
    inside = mask.cpu().numpy() > 0
    if not inside.any():
        return None
    rows, columns = (np.flatnonzero(inside.any(axis=axes)) // cell_px for axes in ((0, 1, 3), (0, 1, 2)))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def in_pixels(cells: Slices, cell_px: int = CELL_PX) -> Slices:
    """The pixels of a block of cells, or its smaller cells, `cell_px` to a cell each way."""
    rows, columns = (slice(part.start * cell_px, part.stop * cell_px) for part in cells)
    return rows, columns


def within(cells: Tensor, width: int, block: Slices) -> Tensor:
    """The numbers of cells of a map of that width within a block of it, row by row; 0 for cells above or left of it."""
    rows, columns = block
    inside: Tensor = (cells // width - rows.start) * (columns.stop - columns.start) + cells % width - columns.start
    return inside.clamp(min=0)
