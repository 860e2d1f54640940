"""Discriminators: of clips, of patches of single pictures, and projected ones on frozen features.

Those of pictures score a map of overlapping cells. A filled picture is real outside its hole, so only the cells that
touch the hole count as filled (`losses.hinge_discriminator`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from vidfill.errors import WeightsError
from vidfill.evaluate.features import CHANNELS
from vidfill.models.checkpoint import load_strict
from vidfill.weights import Checkpoint, load_weights, save_weights

_SLOPE = 0.2
_POWER_ITERATIONS_AT_START = 15
# Channels of the projected discriminators, fine to coarse, at FULL_WIDTH: after mixing, and of the heads.
MIXED = (32, 64, 96, 128, 128)
HEADS = (64, 96, 128, 128, 128)
FULL_WIDTH = 48
# What a file of discriminators names as its model.
FILE_KIND = "picture critics"


class PictureCritics(nn.Module):
    """Both discriminators of pictures.

    Args:
        width: channels of the first layer of the one for patches; the projected one is in proportion.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = {"width": width}
        self.patches = PatchDiscriminator(width)
        mixed, heads = ([max(1, n * width // FULL_WIDTH) for n in channels] for channels in (MIXED, HEADS))
        self.projected = ProjectedDiscriminator(CHANNELS, mixed, heads)

    def save(self, path: Path) -> None:
        """Write the weights as fp16, to go on from later."""
        tensors = {name: tensor.half() for name, tensor in self.state_dict().items()}
        save_weights(path, Checkpoint(FILE_KIND, self.sizes, tensors))

    def begin_with(self, path: Path) -> None:
        """Take the weights of a file that `save` wrote; `WeightsError` if it is of something else or damaged."""
        found = load_weights(path)
        if found.model != FILE_KIND:
            raise WeightsError(f"{path.name} holds weights for {found.model}", expected=FILE_KIND)
        load_strict(self, found.tensors, source=path.name)


class ClipDiscriminator(nn.Module):
    """Scores overlapping patches of a clip, in space and time (Chang et al., Free-form Video Inpainting, 2019).

    Args:
        width: channels of the first layer; four times as many in the last.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (4, width, 2 * width, 4 * width, 4 * width)
        self.layers = nn.ModuleList(
            _normalised(nn.Conv3d(n_in, n_out, (3, 5, 5), (1, 2, 2), (1, 2, 2)))
            for n_in, n_out in zip(channels, channels[1:], strict=False)
        )
        self.score = nn.Conv3d(channels[-1], 1, (3, 3, 3), padding=1)

    def forward(self, clip: Tensor, holes: Tensor) -> Tensor:
        """Score (B, T, 3, H, W) with holes (B, T, 1, H, W): (B, 1, T, H / 16, W / 16), high for real."""
        x = torch.cat((clip * 2 - 1, holes), dim=2).transpose(1, 2)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
        score: Tensor = self.score(x)
        return score.float()


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of 110 px, one for every 16 px (PatchGAN: Isola et al., 2017, section 3.2.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (3, width, 2 * width, 4 * width, 8 * width)
        self.layers = nn.ModuleList(
            _normalised(nn.Conv2d(n_in, n_out, 4, 2, 1)) for n_in, n_out in zip(channels, channels[1:], strict=False)
        )
        self.layers.append(_normalised(nn.Conv2d(8 * width, 8 * width, 3, padding=1)))
        self.last = _normalised(nn.Conv2d(8 * width, 1, 3, padding=1))

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Score pictures, (B, 3, H, W) in about [0, 1].

        Returns:
            (B, 1, H / 16, W / 16) in float32, high for real, and the features of every layer, fine to coarse.
        """
        x = (pictures * 2 - 1).contiguous(memory_format=torch.channels_last)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
            features.append(x)
        return self.last(x).float(), features


class ProjectedDiscriminator(nn.Module):
    """One small discriminator for each scale of frozen features (Sauer et al., Projected GANs Converge Faster, 2021).

    The features are first mixed across channels and, coarse to fine, across scales by random convolutions that are
    frozen, too (their section 3.2).

    Args:
        channels: of the features, fine to coarse; each map has half the size of the one before.
        mixed: channels of each map after mixing.
        heads: channels of each discriminator.
    """

    def __init__(self, channels: Sequence[int], mixed: Sequence[int], heads: Sequence[int]) -> None:
        super().__init__()
        self.across = nn.ModuleList(nn.Conv2d(n, m, 1, bias=False) for n, m in zip(channels, mixed, strict=True))
        self.down = nn.ModuleList(
            nn.Conv2d(coarse, fine, 3, padding=1, bias=False) for fine, coarse in zip(mixed, mixed[1:], strict=False)
        )
        for layer in (*self.across, *self.down):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        self.across.requires_grad_(False)
        self.down.requires_grad_(False)
        self.heads = nn.ModuleList(
            nn.Sequential(
                _normalised(nn.Conv2d(n_in, n, 3, 2 if scale < 2 else 1, padding=1)),
                nn.LeakyReLU(_SLOPE),
                _normalised(nn.Conv2d(n, n, 3, padding=1)),
                nn.LeakyReLU(_SLOPE),
                _normalised(nn.Conv2d(n, 1, 3, padding=1)),
            )
            for scale, (n_in, n) in enumerate(zip(mixed, heads, strict=True))
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Score pictures by their features, (B, C, h, w) each, fine to coarse.

        Returns:
            A map of scores for each scale, coarse to fine, (B, 1, h, w) in float32, high for real.
        """
        scores: list[Tensor] = []
        above: Tensor | None = None
        for i in reversed(range(len(features))):
            x = self.across[i](features[i])
            if above is not None:
                raised = F.interpolate(above, size=x.shape[-2:], mode="bilinear", align_corners=False)
                x = (x + self.down[i](raised)) * 0.5**0.5
            above = x
            scores.append(self.heads[i](x).float())
        return scores


class SpectralNorm(nn.Module):
    """Divides a kernel by an estimate of its largest singular value (Miyato et al., 2018).

    In float32 also under autocast, and without branches on values, so that a CUDA graph can hold it: torch's own is
    neither. One power iteration for each call in training mode.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("u", F.normalize(torch.randn(matrix.shape[0]), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(matrix.shape[1]), dim=0))
        for _ in range(_POWER_ITERATIONS_AT_START):
            self._iterate(matrix)

    def forward(self, weight: Tensor) -> Tensor:
        """The normalised kernel."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.float().flatten(1)
            if self.training:
                self._iterate(matrix.detach())
            # Clones: the next call changes the vectors in place before this one's gradient is taken.
            return weight / torch.dot(self.u.clone(), matrix @ self.v.clone())

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        self.u.copy_(F.normalize(matrix @ self.v, dim=0))
        self.v.copy_(F.normalize(matrix.t() @ self.u, dim=0))


def _normalised(layer: nn.Conv2d | nn.Conv3d) -> nn.Module:
    return register_parametrization(layer, "weight", SpectralNorm(layer.weight))
