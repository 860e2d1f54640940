"""Smooth fields over a hole, from what is measured round it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

COARSE = 4


def carry_inwards(
    values: NDArray[np.float32], where: NDArray[np.bool_], *, sigmas_px: tuple[float, ...], power: float = 1.0
) -> NDArray[np.float32]:
    """Weighted means of given values by normalised Gaussians of several widths, the narrow ones first.

    Computed at a quarter of the size. Where a narrow Gaussian still reaches given values it dominates, farther in the
    wider ones take over.

    Args:
        values: (H, W, C) float32.
        where: (H, W) bool, where they are given.
        sigmas_px: widths.
        power: a Gaussian of width s has weight `s ** -power`.

    Returns:
        (H, W, C) float32; the mean of the given values beyond all reach, 0 where none are given.
    """
    height, width = where.shape
    small_wh = (max(1, width // COARSE), max(1, height // COARSE))
    weight = where.astype(np.float32)[..., None]
    stacked = cv2.resize(np.dstack((values * weight, weight)), small_wh, interpolation=cv2.INTER_AREA)
    total = np.zeros_like(stacked)
    for sigma in sigmas_px:
        total += cv2.GaussianBlur(stacked, (0, 0), sigma / COARSE, borderType=cv2.BORDER_CONSTANT) / sigma**power
    overall = stacked.mean(axis=(0, 1))
    # A trace of the overall mean decides where no Gaussian reaches.
    trace = 1e-6 / max(float(overall[-1]), 1e-6)
    total += overall * trace
    field = total[..., :-1] / np.maximum(total[..., -1:], 1e-12)
    resized = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32).reshape(values.shape)
