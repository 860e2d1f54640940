"""How close a filled frame is to the true one.

Frames are uint8 RGB (H, W, 3), holes bool (H, W), True = was filled.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Hole = NDArray[np.bool_]

PEAK = 255.0
SSIM_WINDOW_PX = 7


def psnr(output: Frame, truth: Frame, hole: Hole | None = None) -> float:
    """Peak signal-to-noise ratio in dB: `10 log10(255^2 / mean squared difference)`.

    Args:
        output: what is judged.
        truth: what it should be.
        hole: judge these pixels alone; None, or a hole without pixels, for the whole frame.

    Returns:
        dB; two equal pictures have 108.13 (a mean of 1e-6 is the least that is told apart).

    Example:
        >>> black = np.zeros((8, 8, 3), np.uint8)
        >>> round(psnr(black, black + np.uint8(16)), 2)
        24.05
    """
    squared = (output.astype(np.float64) - truth.astype(np.float64)) ** 2
    mean = squared[hole].mean() if hole is not None and hole.any() else squared.mean()
    return float(10 * np.log10(PEAK**2 / max(float(mean), 1e-6)))


def ssim(output: Frame, truth: Frame) -> float:
    """Structural similarity: uniform windows of 7x7, sample covariances, mean over the channels and inner pixels.

    Source: Wang et al., IEEE TIP 2004, equation 13, with the constants of its section III-B (K1 = 0.01, K2 = 0.03).

    Raises:
        ValueError: a frame smaller than the window.
    """
    height, width = truth.shape[:2]
    if min(height, width) < SSIM_WINDOW_PX:
        raise ValueError(f"a frame of {height}x{width} is smaller than the window of {SSIM_WINDOW_PX}x{SSIM_WINDOW_PX}")
    x, y = output.astype(np.float64), truth.astype(np.float64)
    n = SSIM_WINDOW_PX**2
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    sample = n / (n - 1)
    variance_x = sample * (_window_mean(x * x) - mean_x * mean_x)
    variance_y = sample * (_window_mean(y * y) - mean_y * mean_y)
    covariance = sample * (_window_mean(x * y) - mean_x * mean_y)
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    edge = SSIM_WINDOW_PX // 2
    inner = (above / below)[edge : height - edge, edge : width - edge]
    return float(inner.mean())


def _window_mean(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.blur(image, (SSIM_WINDOW_PX, SSIM_WINDOW_PX)), np.float64)
