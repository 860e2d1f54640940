"""Layers that several of the networks share. Tensors are (B, C, H, W), channels-last in memory where that is faster."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor, nn

# Side in pixels of a tile of `correlation`: of those tried, the fastest from 15x27 to 60x108 on a CPU.
TILE = 6


class GatedConv(nn.Module):
    """Gated convolution: `sigmoid(gate) * leaky_relu(phi)`, both from one convolution, with "same" padding.

    Source: Yu et al., Free-Form Image Inpainting with Gated Convolution, equation 2. `negative_slope` is 0 for a ReLU,
    1 for no activation; the bias starts at zero.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        negative_slope: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        padding = kernel // 2 * dilation
        self.conv = nn.Conv2d(n_in, 2 * n_out, kernel, stride, padding=padding, dilation=dilation, bias=bias)
        # E[relu(phi)^2] E[sigmoid(gate)^2] is 0.5 * 0.29 for unit normals: this std keeps the scale of the input.
        nn.init.normal_(self.conv.weight, std=(7 / (kernel**2 * n_in)) ** 0.5)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, H, W) -> (B, n_out, H / stride, W / stride)."""
        # The gate is positive, so the activation may come after it.
        gated = F.glu(self.conv(x), dim=1)
        if self.negative_slope == 1:
            return gated
        return F.leaky_relu(gated, self.negative_slope, inplace=True) if self.negative_slope else F.relu_(gated)


class LeakyConv(nn.Conv2d):
    """3x3 convolution with bias that keeps the size, then a leaky ReLU of slope 0.1."""

    def __init__(self, n_in: int, n_out: int, *, dilation: int = 1) -> None:
        super().__init__(n_in, n_out, 3, padding=dilation, dilation=dilation)
        assert self.bias is not None
        nn.init.kaiming_normal_(self.weight, a=0.1)
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - nn.Conv2d's name
        """(B, n_in, H, W) -> (B, n_out, H, W)."""
        return self.activate(super().forward(input))

    def activate(self, x: Tensor) -> Tensor:
        """The leaky ReLU, in place."""
        return F.leaky_relu(x, 0.1, inplace=True)


class LSTMMemory(NamedTuple):
    """State of a `ConvLSTM`, both (B, C, H, W) float32."""

    hidden: Tensor
    cell: Tensor


class ConvLSTM(nn.Module):
    """Convolutional LSTM (Shi et al., 2015, equation 3, without the peephole terms).

    The 3x3 convolution `gates` gives, in this order, the input, forget and output gates and the candidate.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.gates = nn.Conv2d(2 * channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor, memory: LSTMMemory | None) -> LSTMMemory:
        """One time step on (B, channels, H, W); None for zeros.

        Returns:
            The new memory, in float32 since it is fed back over hundreds of frames; its hidden state is the output.
        """
        if memory is None:
            zeros = torch.zeros_like(x, dtype=torch.float32)
            memory = LSTMMemory(zeros, zeros)
        gates = self.gates(torch.cat((x, memory.hidden.to(x.dtype)), dim=1)).float()
        admit, keep, show, candidate = gates.chunk(4, dim=1)
        cell = torch.sigmoid(keep) * memory.cell + torch.sigmoid(admit) * torch.tanh(candidate)
        return LSTMMemory(torch.sigmoid(show) * torch.tanh(cell), cell)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation to (height, width), pixel centres at half-integers."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def correlation(target: Tensor, sources: Tensor, search_range_px: int) -> Tensor:
    """Mean product of each target pixel's features with those of the source pixels around it (cost volume).

    FlowNet's correlation layer (Dosovitskiy et al., 2015, equation 1) with kernel 1, divided by the number of
    channels. The products of a tile of the target with its surroundings are one matrix product, of which the wanted
    ones lie on a regular stride.

    Args:
        target: (B, C, H, W).
        sources: (S * B, C, H, W), S sources for each target, source by source; zero outside.
        search_range_px: displacements go from minus to plus this, in both directions.

    Returns:
        (S * B, n * n, H, W), n = 2 * search_range_px + 1; channel (dy + r) * n + (dx + r) holds the mean over
        channels of target[y, x] * source[y + dy, x + dx], r being the search range.
    """
    channels, height, width = target.shape[1:]
    # Padded to whole tiles at the right and below, the sources by the search range all around as well.
    right, below, reach = -width % TILE, -height % TILE, search_range_px
    queries = _tiles(F.pad(target / channels, (0, right, 0, below)), TILE)
    around = F.pad(sources, (reach, reach + right, reach, reach + below))
    # One source at a time: its products fit into a cache, those of all would not.
    volumes = [
        _wanted_products(torch.bmm(queries, _tiles(source, TILE + 2 * reach).transpose(1, 2)), 2 * reach + 1)
        for source in torch.split(around, len(target))
    ]
    down, across = (height + below) // TILE, (width + right) // TILE
    volume = torch.cat(volumes).reshape(len(sources), down, across, TILE, TILE, -1).transpose(2, 3)
    volume = volume.reshape(len(sources), height + below, width + right, -1)
    return volume[:, :height, :width].permute(0, 3, 1, 2)


def _tiles(x: Tensor, side: int) -> Tensor:
    """(B, C, H, W) cut into squares of `side` pixels, TILE apart: (B * tiles, side * side, C)."""
    squares = x.unfold(2, side, TILE).unfold(3, side, TILE)
    return squares.permute(0, 2, 3, 4, 5, 1).reshape(-1, side * side, x.shape[1])


def _wanted_products(products: Tensor, n: int) -> Tensor:
    """The products of each pixel within the search range, (tiles, TILE, TILE, n * n).

    `products` is (tiles, TILE * TILE, side * side), contiguous, of whole surroundings, side = TILE + n - 1.
    """
    side = TILE + n - 1
    # Moving on in the tile moves on in its surroundings: products[t, (y, x), (y + i, x + j)].
    strides = (TILE**2 * side**2, TILE * side**2 + side, side**2 + 1, side, 1)
    return products.as_strided((len(products), TILE, TILE, n, n), strides).flatten(3)
