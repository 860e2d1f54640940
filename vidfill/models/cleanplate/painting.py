"""Paint the hole of a picture of any size with a painter network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.models.base import composite
from vidfill.models.cleanplate.network import MULTIPLE, PainterNetwork


@torch.inference_mode()
def paint(network: PainterNetwork, rgb: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Paint the hole of a picture, on the device of the network's parameters and in their type or that of autocast.

    Args:
        network: in evaluation mode.
        rgb: (H, W, 3), of any size; what lies inside the hole is not looked at.
        hole: (H, W), True = missing.

    Returns:
        (H, W, 3): the painting inside the hole, `rgb` outside.
    """
    if not hole.any():
        return rgb.copy()
    device = next(network.parameters()).device
    picture = torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(2, 0, 1)[None].float() / 255
    missing = torch.from_numpy(np.ascontiguousarray(hole)).to(device)[None, None].float()
    painted = paint_batch(network, picture, missing)[0].permute(1, 2, 0).mul(255).round().byte().cpu().numpy()
    return np.where(hole[..., None], painted, rgb)


def paint_batch(network: PainterNetwork, rgb: Tensor, hole: Tensor) -> Tensor:
    """Paint the holes of a batch of pictures.

    Args:
        network: in evaluation mode.
        rgb: (B, 3, H, W) in [0, 1], of any size; what lies inside the hole is not looked at.
        hole: (B, 1, H, W), 1 = missing.

    Returns:
        (B, 3, H, W) in [0, 1]: the painting inside the hole, `rgb` outside.
    """
    painted = network(_padded(rgb), _padded(hole))[..., : rgb.shape[-2], : rgb.shape[-1]]
    return composite(rgb, hole, painted.clamp(0, 1))


def _padded(x: Tensor) -> Tensor:
    """Reflected (with the border repeated) below and at the right, to a multiple of 16 pixels; any size."""
    for axis in (-2, -1):
        side = x.shape[axis]
        period = torch.arange(side + -side % MULTIPLE, device=x.device) % (2 * side)
        x = x.index_select(axis, torch.minimum(period, 2 * side - 1 - period))
    return x
