"""Holes of single pictures, drawn on the training device a whole batch at a time.

Where no frame of a video shows the background, the hole is an object's silhouette, or what such a shape leaves
uncovered after it has moved, or what was painted over: text, a logo, a scratch.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from numpy.typing import NDArray
from torch import Tensor

from vidfill.train.holes import strokes

# Shapes made beside the silhouettes of the data.
N_STROKES = 1500
N_TEXTS = 600
# Ratios of the holes.
_TEXT_RATIO = 0.12
_BOX_RATIO = 0.12
_SMALL_RATIO = 0.15
_UNCOVERED_RATIO = 0.25
_CUT_RATIO = 0.15
_SECOND_RATIO = 0.25
# The area of the square that holds a shape, as a ratio of a square on the picture's short side.
_AREA = (0.1, 1.2)
_SMALL_AREA = (0.01, 0.1)
# Half the sides of a box, in units of half the short side.
_BOX_HALF = (0.06, 0.6)
# A hole is dilated by none of these or by one, all equally likely: masks are dilated more or less.
_DILATIONS_PX = (1, 2, 4)
# A hole outside this range of the picture's area is replaced by a square in the middle, of this half side.
_MIN_AREA, _MAX_AREA = 0.003, 0.6
_MIDDLE_HALF = 0.35
_LETTERS = "ABCDEFGHIKLMNOPRSTUVWYabcdefghiklmnoprstuvwy0123456789  "


class HoleShapes:
    """Draws holes, from silhouettes (N, S, S), which are uint8, 1 inside the shape, and shapes made from a seed."""

    def __init__(self, silhouettes: Tensor, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        side = silhouettes.shape[-1]
        drawn = [strokes(rng, side) for _ in range(N_STROKES)] + [text(rng, side) for _ in range(N_TEXTS)]
        self._device = silhouettes.device
        self._shapes = torch.cat((silhouettes, torch.from_numpy(np.stack(drawn)).to(self._device)))[:, None]
        self._n_texts = N_TEXTS

    def draw(self, n: int, size: tuple[int, int]) -> Tensor:
        """(n, 1, height, width) float, 1 = missing; drawn by torch's own generator of the device."""
        height, width = size
        short = min(size)
        y = (torch.arange(height, device=self._device) + 0.5 - height / 2) * (2 / short)
        x = (torch.arange(width, device=self._device) + 0.5 - width / 2) * (2 / short)
        points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        reach = torch.tensor([width / short, height / short], device=self._device)
        chance = torch.rand(n, 7, 1, 1, 1, device=self._device)
        is_text = chance[:, 0] < _TEXT_RATIO
        is_small = chance[:, 1] < _SMALL_RATIO

        at = (torch.rand(n, 2, device=self._device) * 2 - 1) * 0.8 * reach
        look = self._drawn_looks(n, is_text.flatten(), is_small.flatten())
        hole = self._shape(points, at, look)
        away = (torch.rand(n, 2, device=self._device) * 2 - 1) * torch.tensor([0.35, 0.12], device=self._device)
        uncovered = hole & ~self._shape(points, at + away, look)
        hole = torch.where((chance[:, 2] < _UNCOVERED_RATIO) & ~is_text, uncovered, hole)
        half = torch.exp(self._uniform(2 * n, *np.log(_BOX_HALF))).view(n, 2)
        box = ((points - at[:, None, None]).abs() < half[:, None, None]).all(dim=-1)[:, None]
        hole = torch.where((chance[:, 3] < _BOX_RATIO) & ~is_text, box, hole)
        # What other frames show of the hole would be filled already: here what lies beyond a line near its middle.
        angle = self._uniform(n, 0, 2 * math.pi)
        normal = torch.stack((angle.cos(), angle.sin()), dim=1)[:, None, None]
        offset = self._uniform(n, -0.15, 0.15)[:, None, None]
        is_beyond = (((points - at[:, None, None]) * normal).sum(dim=-1) > offset)[:, None]
        hole = torch.where(chance[:, 4] < _CUT_RATIO, hole & ~is_beyond, hole)
        elsewhere = (torch.rand(n, 2, device=self._device) * 2 - 1) * 0.9 * reach
        never = torch.zeros(n, dtype=torch.bool, device=self._device)
        second = self._shape(points, elsewhere, self._drawn_looks(n, never, is_small.flatten()))
        hole = torch.where(chance[:, 5] < _SECOND_RATIO, hole | second, hole).float()
        dilated = self._dilated(hole, chance[:, 6])
        area = dilated.mean(dim=(1, 2, 3), keepdim=True)
        middle = (points.abs() < _MIDDLE_HALF).all(dim=-1).float().expand_as(dilated)
        return torch.where((area < _MIN_AREA) | (area > _MAX_AREA), middle, dilated)

    def _drawn_looks(self, n: int, is_text: Tensor, is_small: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which shape, its half side in units of half the short side, and its rotation with stretch, (n, 2, 2)."""
        n_others = len(self._shapes) - self._n_texts
        other = torch.randint(n_others, (n,), device=self._device)
        written = n_others + torch.randint(self._n_texts, (n,), device=self._device)
        large, small = (self._uniform(n, *np.log(area)) for area in (_AREA, _SMALL_AREA))
        half = torch.exp(torch.where(is_small & ~is_text, small, large) / 2)
        angle = self._uniform(n, -0.45, 0.45) * torch.where(is_text, 0.15, 1.0)
        stretch = torch.exp(self._uniform(n, -0.25, 0.25))
        rows = (angle.cos() / stretch, angle.sin() / stretch, -angle.sin() * stretch, angle.cos() * stretch)
        return torch.where(is_text, written, other), half, torch.stack(rows, dim=1).view(n, 2, 2)

    def _shape(self, points: Tensor, at: Tensor, look: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        index, half, turn = look
        grid = torch.einsum("nij,nhwj->nhwi", turn, points - at[:, None, None]) / half[:, None, None, None]
        return F.grid_sample(self._shapes[index].float(), grid, align_corners=False) > 0.5

    def _dilated(self, hole: Tensor, chance: Tensor) -> Tensor:
        n_choices = len(_DILATIONS_PX) + 1
        dilated = hole
        for i, pixels in enumerate(_DILATIONS_PX):
            wide = F.max_pool2d(hole, 2 * pixels + 1, 1, pixels)
            dilated = torch.where((chance >= i / n_choices) & (chance < (i + 1) / n_choices), wide, dilated)
        return dilated

    def _uniform(self, n: int, low: float, high: float) -> Tensor:
        return torch.rand(n, device=self._device) * (high - low) + low


def text(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """(side, side) uint8, 1 inside: a few words across a square, in one to three lines, sometimes in a frame."""
    canvas = np.zeros((side, side), np.uint8)
    n_lines = int(rng.integers(1, 4))
    fonts = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)
    font = fonts[int(rng.integers(len(fonts)))]
    for line in range(n_lines):
        words = "".join(rng.choice(list(_LETTERS), rng.integers(3, 12)))
        thickness = int(rng.integers(1, 4))
        (width, _), _ = cv2.getTextSize(words, font, 1.0, thickness)
        scale = 0.9 * side / max(width, 1)
        y = int(side * (0.5 + (line + 0.5 - n_lines / 2) * 0.25) + 6)
        cv2.putText(canvas, words, (int(0.05 * side), y), font, min(scale, 1.5 * side / 128), 1, thickness)
    if rng.random() < 0.2:
        cv2.rectangle(canvas, (2, side // 4), (side - 3, 3 * side // 4), 1, int(rng.integers(1, 4)))
    return canvas
