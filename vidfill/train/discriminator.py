"""The critic of the last stage: spatio-temporal patches, real or filled."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """Spatio-temporal patch discriminator with spectral normalisation (Chang et al., Free-form Video Inpainting, 2019).

    It sees the frames and where they are filled, and scores overlapping patches of the clip.

    Args:
        width: channels of the first layer; four times as many in the last.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (4, width, 2 * width, 4 * width, 4 * width)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv3d(n_in, n_out, (3, 5, 5), (1, 2, 2), (1, 2, 2)))
            for n_in, n_out in zip(channels, channels[1:], strict=False)
        )
        self.score = nn.Conv3d(channels[-1], 1, (3, 3, 3), padding=1)

    def forward(self, clip: Tensor, holes: Tensor) -> Tensor:
        """Score a clip.

        Args:
            clip: (B, T, 3, H, W), RGB in about [0, 1].
            holes: (B, T, 1, H, W), 1 = filled.

        Returns:
            (B, 1, T, H / 16, W / 16), high for real.
        """
        x = torch.cat((clip * 2 - 1, holes), dim=2).transpose(1, 2)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        score: Tensor = self.score(x)
        return score
