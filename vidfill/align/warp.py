"""The one flow convention: (B, 2, H, W) in pixels, channel 0 (u) right, channel 1 (v) down.

`warp(image, flow)[y, x] = image[y + v, x + u]`.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor


def warp(image: Tensor, flow: Tensor, *, border: Literal["zeros", "border"] = "zeros") -> Tensor:
    """Sample an image where a flow points to (backward warping, bilinear).

    Args:
        image: (B, C, H, W), any range.
        flow: (B, 2, H, W), pixels; from each pixel of the result to where it is taken from.
        border: what is sampled outside the picture: zeros, or the nearest border pixel.

    Returns:
        (B, C, H, W) in the image's dtype; the sampling itself is float32.

    Example:
        >>> image = torch.arange(3.0).view(1, 1, 1, 3)
        >>> flow = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 3)
        >>> warp(image, flow).flatten().tolist()
        [1.0, 2.0, 0.0]
    """
    height, width = image.shape[-2:]
    rows = torch.arange(height, device=flow.device, dtype=torch.float32).view(1, height, 1)
    columns = torch.arange(width, device=flow.device, dtype=torch.float32).view(1, 1, width)
    flow = flow.float()
    # align_corners=True: -1 and 1 are the centres of the first and the last pixel.
    x = (columns + flow[:, 0]) * (2 / max(width - 1, 1)) - 1
    y = (rows + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    sampled = F.grid_sample(
        image.float(), torch.stack((x, y), dim=-1), mode="bilinear", padding_mode=border, align_corners=True
    )
    return sampled.to(image.dtype)
