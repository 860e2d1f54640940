"""Smooth fields over a hole, extrapolated from values around it."""

from __future__ import annotations

import cv2
import numpy as np

from vidfill.video.frame import Bool, Float

COARSE = 4


def extrapolate(values: Float, where: Bool, *, sigmas_px: tuple[float, ...], power: float = 1.0) -> Float:
    """Normalised convolution of values (H, W, C), given at `where`, with Gaussians of weights `sigma ** -power`.

    Narrow Gaussians dominate where they reach given values, wider ones farther in. Computed at a quarter of the size.

    Returns:
        (H, W, C); the mean of the given values beyond the reach of all Gaussians, 0 where none are given.
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
