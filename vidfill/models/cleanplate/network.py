"""The painter network: fills a hole in one picture from the picture around it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor, nn

from vidfill.models.checkpoint import plain_sizes

MULTIPLE = 16
_SLOPE = 0.2


@dataclass(frozen=True, slots=True)
class PainterSizes:
    """What builds a `PainterNetwork`. The defaults are those of the shipped weights."""

    widths: tuple[int, int, int, int] = (64, 128, 192, 256)  # channels at 1/2, 1/4, 1/8 and 1/16 of the picture's size
    # Residual blocks of the encoder at 1/2, 1/4 and 1/8. The decoder has one more at 1/2 and at 1/4, and as many at
    # 1/8, there with attention.
    blocks: tuple[int, int, int] = (1, 2, 2)
    n_middle: int = 6  # residual blocks at 1/16, each with attention
    head: int = 64  # channels of one attention head

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or len(self.blocks) != 3:
            raise ValueError("widths has four entries and blocks has three")
        if any(type(n) is not int or n < 1 for n in (*self.widths, *self.blocks, self.n_middle, self.head)):
            raise ValueError("every size is a whole number, 1 or more")
        if any(width % self.head for width in self.widths[2:]):
            raise ValueError(f"widths at 1/8 and 1/16 must be multiples of head, {self.head}; found {self.widths[2:]}")


class PainterNetwork(nn.Module):
    """Paints a whole picture from one with a hole.

    A U-Net (Ronneberger et al., 2015) on pixel-unshuffled input: pre-activation residual blocks without normalisation
    layers at 1/2 to 1/16 of the size, and self-attention over the whole picture at 1/8 and 1/16. Attention has no
    positional encoding, so that the network takes pictures of any size and reads texture from anywhere. Skips are
    added. Residual branches start at zero. 14,855,180 parameters at the default sizes.
    """

    def __init__(self, sizes: PainterSizes | None = None) -> None:
        super().__init__()
        sizes = sizes or PainterSizes()
        self.sizes = plain_sizes(sizes)
        (at2, at4, at8, at16), (n2, n4, n8), head = sizes.widths, sizes.blocks, sizes.head
        self.stem = _conv(16, at2)
        self.enc2 = nn.Sequential(*(ResBlock(at2) for _ in range(n2)))
        self.down4 = _conv(at2, at4, stride=2)
        self.enc4 = nn.Sequential(*(ResBlock(at4) for _ in range(n4)))
        self.down8 = _conv(at4, at8, stride=2)
        self.enc8 = nn.Sequential(*(ResBlock(at8, dilation=1 + i % 2) for i in range(n8)))
        self.down16 = _conv(at8, at16, stride=2)
        self.middle = _attended(at16, (1, 2, 4), sizes.n_middle, head)
        self.up8 = Up(at16, at8)
        self.dec8 = _attended(at8, (1, 2), n8, head)
        self.up4 = Up(at8, at4)
        self.dec4 = nn.Sequential(*(ResBlock(at4) for _ in range(n4 + 1)))
        self.up2 = Up(at4, at2)
        self.dec2 = nn.Sequential(*(ResBlock(at2) for _ in range(n2 + 1)))
        self.out = nn.Conv2d(at2, 12, 3, padding=1)
        nn.init.normal_(self.out.weight, std=0.01)
        _zero(self.out.bias)

    def forward(self, rgb: Tensor, hole: Tensor) -> Tensor:
        """Paint a picture.

        Args:
            rgb: (B, 3, H, W) in [0, 1]; pixels inside the hole are not read. H and W multiples of 16.
            hole: (B, 1, H, W), 1 = missing.

        Returns:
            (B, 3, H, W) float32, about [0, 1], not clamped; known pixels are painted, too, not copied.
        """
        known = (rgb * 2 - 1) * (1 - hole)
        x = F.pixel_unshuffle(torch.cat((known, hole), dim=1), 2).to(self.stem.weight.dtype)
        x2 = self.enc2(self.stem(x))
        x4 = self.enc4(self.down4(_activate(x2)))
        x8 = self.enc8(self.down8(_activate(x4)))
        y8 = self.dec8(self.up8(self.middle(self.down16(_activate(x8))), x8))
        y4 = self.dec4(self.up4(y8, x4))
        y2 = self.dec2(self.up2(y4, x2))
        return F.pixel_shuffle(self.out(_activate(y2)).float(), 2) * 0.5 + 0.5


class ResBlock(nn.Module):
    """Pre-activation residual block (He et al., 2016), conv1 dilated; conv2 starts at zero."""

    def __init__(self, channels: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels, dilation=dilation)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        _zero(self.conv2.weight, self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        branch: Tensor = self.conv2(_activate(self.conv1(_activate(x))))
        return x + branch


class Attention(nn.Module):
    """Residual multi-head self-attention over all positions (Vaswani et al., 2017), after RMS normalisation.

    The output projection starts at zero. `channels` is a multiple of `head`, the channels of one head.
    """

    def __init__(self, channels: int, head: int) -> None:
        super().__init__()
        self.head = head
        self.gain = nn.Parameter(torch.ones(channels))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)
        _zero(self.out.weight, self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        b, n, h, w = x.shape
        # The mean square leaves the range of float16, so it is taken in float32.
        scale = torch.rsqrt(x.float().square().mean(dim=1, keepdim=True) + 1e-6)
        normalised = x * scale.to(x.dtype) * self.gain.to(x.dtype)[:, None, None]
        qkv = self.qkv(normalised).permute(0, 2, 3, 1).reshape(b, h * w, 3, n // self.head, self.head)
        query, key, value = (part.transpose(1, 2) for part in qkv.unbind(dim=2))
        read = F.scaled_dot_product_attention(query, key, value)
        read = read.transpose(1, 2).reshape(b, h, w, n).permute(0, 3, 1, 2)
        branch: Tensor = self.out(read)
        return x + branch


class Up(nn.Module):
    """Nearest-neighbour upsampling to twice the size and a convolution, plus a projection of the encoder's features."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = _conv(n_in, n_out)
        self.skip = nn.Conv2d(n_out, n_out, 1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, n_in, H, W) and (B, n_out, 2 H, 2 W) -> (B, n_out, 2 H, 2 W)."""
        raised: Tensor = self.conv(F.interpolate(_activate(x), scale_factor=2.0, mode="nearest"))
        projected: Tensor = self.skip(skip)
        return raised + projected


def _conv(n_in: int, n_out: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(n_in, n_out, 3, stride, padding=dilation, dilation=dilation)
    nn.init.kaiming_normal_(layer.weight, a=_SLOPE)
    _zero(layer.bias)
    return layer


def _attended(channels: int, dilations: tuple[int, ...], n_blocks: int, head: int) -> nn.Sequential:
    """Residual blocks of cycling dilations, each followed by attention."""
    pairs = (
        (ResBlock(channels, dilation=dilations[i % len(dilations)]), Attention(channels, head)) for i in range(n_blocks)
    )
    return nn.Sequential(*(layer for pair in pairs for layer in pair))


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE)


def _zero(*parameters: Tensor | None) -> None:
    for parameter in parameters:
        if parameter is not None:
            nn.init.zeros_(parameter)
