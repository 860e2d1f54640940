"""Known answers, and a slow obvious twin for SSIM."""

import math

import numpy as np
import pytest

from vidfill.evaluate.quality import psnr, ssim


def test_psnr_of_a_known_difference() -> None:
    black = np.zeros((8, 8, 3), np.uint8)
    assert psnr(black, black + np.uint8(16)) == pytest.approx(10 * math.log10(255**2 / 256))
    assert psnr(black, black) == pytest.approx(10 * math.log10(255**2 / 1e-6))


def test_psnr_inside_a_hole_sees_the_hole_alone() -> None:
    truth = np.zeros((8, 8, 3), np.uint8)
    output = truth.copy()
    hole = np.zeros((8, 8), np.bool_)
    hole[2:4, 2:4] = True
    output[hole] = 16
    assert psnr(output, truth, hole) == pytest.approx(10 * math.log10(255**2 / 256))
    assert psnr(output, truth) == pytest.approx(10 * math.log10(255**2 / (256 * 4 / 64)))
    assert psnr(output, truth, np.zeros_like(hole)) == psnr(output, truth)


def _slow_ssim(output: np.ndarray, truth: np.ndarray) -> float:
    values = []
    for y in range(3, truth.shape[0] - 3):
        for x in range(3, truth.shape[1] - 3):
            for channel in range(3):
                a = output[y - 3 : y + 4, x - 3 : x + 4, channel].astype(float).ravel()
                b = truth[y - 3 : y + 4, x - 3 : x + 4, channel].astype(float).ravel()
                cov = np.cov(a, b)
                c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
                above = (2 * a.mean() * b.mean() + c1) * (2 * cov[0, 1] + c2)
                below = (a.mean() ** 2 + b.mean() ** 2 + c1) * (cov[0, 0] + cov[1, 1] + c2)
                values.append(above / below)
    return float(np.mean(values))


def test_ssim_against_its_slow_twin() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (12, 15, 3)).astype(np.uint8)
    output = np.clip(truth.astype(int) + rng.integers(-40, 41, truth.shape), 0, 255).astype(np.uint8)
    assert ssim(output, truth) == pytest.approx(_slow_ssim(output, truth), abs=1e-6)
    assert ssim(truth, truth) == pytest.approx(1)


def test_ssim_needs_room_for_its_window() -> None:
    small = np.zeros((6, 40, 3), np.uint8)
    with pytest.raises(ValueError, match="6x40"):
        ssim(small, small)
