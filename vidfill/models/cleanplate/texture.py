"""Adds the fine texture of the surrounding picture to an enlarged painting."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.video.frame import Bool, Float

# All in pixels of the coarse painting.
_CELL = 4  # distance of patches; a patch is two cells wide
_RADIUS = 3  # of the neighbourhood by which patches are compared
_SIGMA = 1.2  # of the Gaussian below which the painting is kept
# Cells belong to N x N classes in turn, each with its own sources, so that neighbours are never copies of one source.
_N_CLASSES_1D = 3
_MAX_SOURCES = 8192  # of a class


def add_texture(
    coarse: NDArray[np.uint8], rgb: NDArray[np.uint8], hole: Bool, device: torch.device
) -> NDArray[np.uint8]:
    """Enlarge a painting to the size of its picture and transfer detail from the known part into the hole.

    Low frequencies are those of the painting. High frequencies are copied patch by patch from where the coarse picture
    is most similar (contextual residual aggregation; Yi et al., CVPR 2020, section 3.3, with the nearest neighbour in
    the place of attention). Patches overlap by half and are blended with the variance of independent patches kept
    (Heitz and Neyret, HPG 2018, equation 6); a mean would blur.

    Args:
        coarse: (h, w, 3), the painted picture at a fraction of its size.
        rgb: (H, W, 3), the picture; pixels inside the hole are not read.
        hole: (H, W), True = missing.
        device: on which patches are compared.

    Returns:
        (H, W, 3): the fine painting inside the hole, `rgb` outside.
    """
    height, width = hole.shape
    factor = max(height / coarse.shape[0], width / coarse.shape[1])
    low = cv2.GaussianBlur(coarse.astype(np.float32), (0, 0), _SIGMA)
    low = cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC)
    half = round(_CELL * factor)
    targets, classes = _targets(hole, half)
    sources = _sources(hole, half, reach=half + round((_RADIUS + 1) * factor))
    if len(sources) < _N_CLASSES_1D**2:  # hardly anything is known
        low = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        return np.where(hole[..., None], low.round().clip(0, 255).astype(np.uint8), rgb)
    # The last patches may begin at the lower and the right border.
    detail = np.pad(rgb - low, ((half, 2 * half), (half, 2 * half), (0, 0)))
    total = np.zeros_like(detail)
    squares = np.zeros(detail.shape[:2], np.float32)
    window = _window(2 * half)
    for number in range(_N_CLASSES_1D**2):
        wanted, offered = targets[classes == number], sources[number :: _N_CLASSES_1D**2]
        found = offered[_nearest(_patches(coarse, wanted, hole.shape), _patches(coarse, offered, hole.shape), device)]
        for (y, x), (from_y, from_x) in zip(wanted.tolist(), found.tolist(), strict=True):
            total[y : y + 2 * half, x : x + 2 * half] += (
                detail[from_y : from_y + 2 * half, from_x : from_x + 2 * half] * window[..., None]
            )
            squares[y : y + 2 * half, x : x + 2 * half] += window**2
    inner = np.s_[half : half + height, half : half + width]
    fine = low + total[inner] / np.sqrt(np.maximum(squares[inner], 1e-6))[..., None]
    return np.where(hole[..., None], fine.round().clip(0, 255).astype(np.uint8), rgb)


def _targets(hole: Bool, half: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Centres (n, 2) of the patches that touch the hole, on a grid of `half` pixels, and the class of each, (n,)."""
    height, width = hole.shape
    rows, columns = -(-height // half) + 1, -(-width // half) + 1
    padded = np.pad(hole, ((half, rows * half - height), (half, columns * half - width)))
    cells: Bool = padded.reshape(rows + 1, half, columns + 1, half).max(axis=(1, 3))
    touched = cells[:-1, :-1] | cells[1:, :-1] | cells[:-1, 1:] | cells[1:, 1:]
    i, j = np.nonzero(touched)
    return np.stack((i, j), axis=1) * half, i % _N_CLASSES_1D * _N_CLASSES_1D + j % _N_CLASSES_1D


def _sources(hole: Bool, half: int, *, reach: int) -> NDArray[np.intp]:
    """Centres (n, 2) of patches inside the picture and at least `reach` pixels from the hole, shuffled."""
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    known = np.asarray(cv2.dilate(hole.astype(np.uint8), square) == 0)
    known[: half + 1] = known[hole.shape[0] - half :] = False
    known[:, : half + 1] = known[:, hole.shape[1] - half :] = False
    n_max = _MAX_SOURCES * _N_CLASSES_1D**2
    step = max(1, int(np.sqrt(np.count_nonzero(known) / n_max)))
    centres = np.argwhere(known[::step, ::step]) * step
    return np.random.default_rng(0).permutation(centres)[:n_max]


def _patches(coarse: NDArray[np.uint8], centres: NDArray[np.intp], size: tuple[int, int]) -> Tensor:
    """(n, D) in [0, 1]: the neighbourhoods in the coarse picture of centres in the picture of `size`."""
    side = 2 * _RADIUS + 1
    padded = np.pad(coarse, ((_RADIUS, _RADIUS), (_RADIUS, _RADIUS), (0, 0)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(0, 1))
    y, x = (np.minimum(centres[:, axis] * coarse.shape[axis] // size[axis], coarse.shape[axis] - 1) for axis in (0, 1))
    return torch.from_numpy(windows[y, x].reshape(len(centres), 3 * side**2).astype(np.float32) / 255)


def _nearest(wanted: Tensor, offered: Tensor, device: torch.device) -> NDArray[np.intp]:
    """For each row of `wanted` the index of the nearest row of `offered`."""
    with torch.autocast(device.type, enabled=False):
        offered = offered.to(device)
        squares = offered.square().sum(dim=1)
        # |a - b|^2 without |a|^2, which is the same for all b.
        nearest = [(squares - 2 * part @ offered.t()).argmin(dim=1) for part in torch.split(wanted.to(device), 1024)]
    return torch.cat(nearest).cpu().numpy() if nearest else np.zeros(0, np.intp)


def _window(side: int) -> Float:
    """(side, side): a Hann window."""
    line = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(side) + 0.5) / side)
    return np.outer(line, line).astype(np.float32)
