"""Paint the hole of a picture of any size with a painter network."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.models.cleanplate.network import MULTIPLE, PainterNetwork
from vidfill.models.cleanplate.texture import add_texture
from vidfill.video.frame import Bool, Box

MAX_PIXELS = 512 * 1024
MAX_DEPTH_PX = 48
"""Deeper inside a hole what the network paints loses structure; from about twice this on it repeats in a grid."""
_MAX_STEP = 2.5  # largest factor by which a painting is enlarged before texture is added
_CONTEXT_PX = 96  # of the picture around a hole, at least


@torch.inference_mode()
def paint(
    network: PainterNetwork,
    rgb: NDArray[np.uint8],
    hole: Bool,
    *,
    max_pixels: int = MAX_PIXELS,
    max_depth_px: int = MAX_DEPTH_PX,
) -> NDArray[np.uint8]:
    """Paint the hole of a picture, on the device of the network's parameters and in their type or that of autocast.

    Holes far apart are painted one by one, each with half its longer side of picture around it. Where that has too many
    pixels, or the hole is too deep, it is painted at a smaller size and enlarged in steps, each of which adds texture
    from the known part. Deterministic.

    Args:
        network: in evaluation mode.
        rgb: (H, W, 3), of any size; pixels inside the hole are not read.
        hole: (H, W), True = missing.
        max_pixels: that the network sees at once.
        max_depth_px: largest distance to a known pixel that the network sees.

    Returns:
        (H, W, 3): the painting inside the hole, `rgb` outside; grey where the whole picture is missing.
    """
    if hole.all():
        return np.full_like(rgb, 127)
    painted = rgb.copy()
    for box in _surroundings(hole):
        here = box.slices
        painted[here] = _paint_crop(network, rgb[here], hole[here], max_pixels, max_depth_px)
    return painted


def _surroundings(hole: Bool) -> list[Box]:
    """Boxes that do not overlap, each around a part of the hole and its context."""
    height, width = hole.shape
    square = np.ones((2 * _CONTEXT_PX + 1, 2 * _CONTEXT_PX + 1), np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(cv2.dilate(hole.astype(np.uint8), square))
    boxes: list[Box] = []
    for number, (x, y, w, h, _) in enumerate(stats.tolist()):
        around = Box(x, y, x + w, y + h)
        part = Box.around(hole[around.slices] & (labels[around.slices] == number)) if number else None
        if part is not None:
            part = Box(part.x0 + x, part.y0 + y, part.x1 + x, part.y1 + y)
            margin = max(_CONTEXT_PX, max(part.width, part.height) // 2)
            boxes.append(part.grow(margin, height=height, width=width))
    apart: list[Box] = []
    while boxes:
        box = boxes.pop()
        other = next((other for other in apart if _overlap(box, other)), None)
        if other is None:
            apart.append(box)
        else:
            apart.remove(other)
            boxes.append(box.union(other))
    return apart


def _overlap(one: Box, other: Box) -> bool:
    return one.x0 < other.x1 and other.x0 < one.x1 and one.y0 < other.y1 and other.y0 < one.y1


def _paint_crop(
    network: PainterNetwork, rgb: NDArray[np.uint8], hole: Bool, max_pixels: int, max_depth_px: int
) -> NDArray[np.uint8]:
    depth = float(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max())
    scale = min((max_pixels / hole.size) ** 0.5, max_depth_px / depth)
    if scale >= 1:
        return _paint_at_once(network, rgb, hole)
    device = next(network.parameters()).device
    n_steps = math.ceil(math.log(1 / scale, _MAX_STEP))
    painted = _paint_at_once(network, *_reduced(rgb, hole, scale))
    for step in reversed(range(n_steps)):
        painted = add_texture(painted, *_reduced(rgb, hole, scale ** (step / n_steps)), device)
    return painted


def _reduced(rgb: NDArray[np.uint8], hole: Bool, scale: float) -> tuple[NDArray[np.uint8], Bool]:
    """A smaller picture of means over known pixels; a pixel is missing where no part of it is known."""
    if scale == 1:
        return rgb, hole
    size_wh = max(1, round(hole.shape[1] * scale)), max(1, round(hole.shape[0] * scale))
    known = (~hole).astype(np.float32)
    covered = cv2.resize(known, size_wh, interpolation=cv2.INTER_AREA)
    total = cv2.resize(rgb * known[..., None], size_wh, interpolation=cv2.INTER_AREA)
    mean = total / np.maximum(covered, 1e-6)[..., None]
    return mean.round().clip(0, 255).astype(np.uint8), covered == 0


def _paint_at_once(network: PainterNetwork, rgb: NDArray[np.uint8], hole: Bool) -> NDArray[np.uint8]:
    height, width = hole.shape
    device = next(network.parameters()).device
    below, right = -height % MULTIPLE, -width % MULTIPLE
    picture = np.pad(rgb, ((0, below), (0, right), (0, 0)), mode="symmetric")
    missing = np.pad(hole, ((0, below), (0, right)), mode="symmetric")
    painted: Tensor = network(
        torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float() / 255,
        torch.from_numpy(missing).to(device)[None, None].float(),
    )
    levels = painted[0, :, :height, :width].mul(255).round().clamp(0, 255).byte()
    return np.where(hole[..., None], levels.permute(1, 2, 0).cpu().numpy(), rgb)
