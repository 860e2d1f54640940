"""The encoder and the decoder of Onion-Peel Networks (figure 2), and the colours that they work in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor, nn

from vidfill.models.layers import GatedConv

# Mean and std of ImageNet's colours, RGB in [0, 1].
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
SLOPE = 0.2
LINEAR = 1.0

# Radii of the receptive fields in cells of 4x4 pixels: of features on the frame (1 + 8 + 4 + 2 + 1 of the convolutions
# on cells, 6 pixels of those before them), and of decoded pixels on features.
ENCODER_REACH = 18
DECODER_REACH = 17

# Where the gates of a new network start: sigmoid(1) is 0.73.
GATE_BIAS = 1.0
# Scale of what a new network decodes, relative to its features: near the mean colour, since gates that must first
# suppress noise close and do not open again.
FIRST_SCALE = 0.1


def gated(
    n_in: int,
    n_out: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    slope: float = SLOPE,
    scale: float = 1.0,
) -> GatedConv:
    """The gated convolution of the paper: with bias and a leaky ReLU.

    A new one keeps the scale of its input (times `scale`), and where the shape allows half of its power is the input
    itself: sixteen layers and several peels neither explode nor vanish, and learn twice as fast as from noise alone.
    """
    layer = GatedConv(n_in, n_out, kernel=kernel, stride=stride, dilation=dilation, negative_slope=slope, bias=True)
    assert layer.conv.bias is not None
    features, gates = layer.conv.weight.detach().chunk(2)
    layer.conv.bias.detach().chunk(2)[1].fill_(GATE_BIAS)
    gain = scale * (1 + math.exp(-GATE_BIAS))
    keeps = n_in == n_out and stride == 1
    fan_in = kernel**2 * n_in
    nn.init.normal_(features, std=gain * ((0.5 if keeps else 1.0) / (fan_in * (1 + slope**2) / 2)) ** 0.5)
    nn.init.normal_(gates, std=0.5 / fan_in**0.5)
    if keeps:
        features[:, :, kernel // 2, kernel // 2] += gain * 0.5**0.5 * torch.eye(n_in)
    return layer


# Features of a new network that carry the colours: each of the three and its negative, since activations pass only one
# of the two. Narrow networks, as in tests, do without.
N_CARRIED = 6
# Taps of a kernel along one axis: the mean of the middle pixel and the next; the middle pixel; linear interpolation
# between doubled pixels.
_HALVED, _SAME, _SMOOTHED = ((0, 0.5), (1, 0.5)), ((0, 1.0),), ((-1, 0.25), (0, 0.5), (1, 0.25))
Taps = tuple[tuple[int, float], ...]


def carries_colours(narrowest: int) -> bool:
    """Whether a network whose narrowest layer has so many channels starts by carrying colours."""
    return narrowest > 2 * N_CARRIED


@torch.no_grad()
def carry(
    layer: GatedConv, sources: Sequence[tuple[int, ...]], weights: Sequence[tuple[float, ...]], taps: Taps
) -> None:
    """Make the first features of a new layer weighted sums of channels of its input, with constant gates.

    For each of these features `sources` has the channels and `weights` theirs; `taps` are those of each row and column
    of the kernel: offset from the middle, and weight.
    """
    features, gates = layer.conv.weight.detach().chunk(2)
    middle = features.shape[-1] // 2
    gain = 1 + math.exp(-GATE_BIAS)
    for number, (channels, own) in enumerate(zip(sources, weights, strict=True)):
        features[number] = 0
        gates[number] = 0
        for channel, weight in zip(channels, own, strict=True):
            for (y, weight_y), (x, weight_x) in product(taps, taps):
                features[number, channel, middle + y, middle + x] = weight * gain * weight_y * weight_x


def split_colours(layer: GatedConv, first: int, taps: Taps = _SAME) -> None:
    """Three channels of the input from `first` on, and their negatives, as the first features of a layer."""
    carry(layer, [(first + n // 2,) for n in range(N_CARRIED)], [(1 - 2 * (n % 2),) for n in range(N_CARRIED)], taps)


def keep_colours(layer: GatedConv, taps: Taps = _SAME) -> None:
    """The first features of the previous layer as the first of this one."""
    carry(layer, [(n,) for n in range(N_CARRIED)], [(1,)] * N_CARRIED, taps)


def join_colours(layer: GatedConv, taps: Taps = _SAME, *, n_activations: int) -> None:
    """Colours from what was split: leaky(x) - leaky(-x) after n leaky ReLUs is (1 + slope^n) x."""
    weight = 1 / (1 + SLOPE**n_activations)
    carry(layer, [(2 * n, 2 * n + 1) for n in range(3)], [(weight, -weight)] * 3, taps)


class PeelEncoder(nn.Module):
    """From a frame to keys and values on cells of 4x4 pixels; in a new one some values are the colours of the cells.

    `half` channels at half the frame's scale, `channels` at a quarter and of keys and values.
    """

    def __init__(self, half: int, channels: int) -> None:
        super().__init__()
        at2 = [gated(5, half, kernel=5, stride=2), gated(half, half)]
        at4 = [gated(half, channels, stride=2), *(gated(channels, channels, dilation=d) for d in (1, 2, 4, 8))]
        self.at2, self.at4 = nn.Sequential(*at2), nn.Sequential(*at4)
        self.key = gated(channels, channels, slope=LINEAR)
        self.value = gated(channels, channels, slope=LINEAR)
        if carries_colours(half):
            split_colours(at2[0], 0, _HALVED)
            keep_colours(at4[0], _HALVED)
            for layer in (at2[1], *at4[1:], self.value):
                keep_colours(layer)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 5, H, W): normalised frame, originally known pixels, missing pixels -> key and value."""
        features = self.at4(self.at2(x))
        return self.key(features), self.value(features)


class PeelDecoder(nn.Module):
    """From values on cells of 4x4 pixels to a normalised frame; a new one shows the colours of the new encoder."""

    def __init__(self, half: int, channels: int) -> None:
        super().__init__()
        at4 = [gated(channels, channels, dilation=d) for d in (8, 4, 2, 1)]
        at2 = [gated(channels, half), gated(half, half)]
        self.at4, self.at2 = nn.Sequential(*at4), nn.Sequential(*at2)
        self.rgb = gated(half, 3, kernel=5, slope=LINEAR, scale=FIRST_SCALE)
        if carries_colours(half):
            for layer in (*at4, at2[1]):
                keep_colours(layer)
            keep_colours(at2[0], _SMOOTHED)
            join_colours(self.rgb, _SMOOTHED, n_activations=13)

    def forward(self, value: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 3, 4 h, 4 w)."""
        rgb: Tensor = self.rgb(twice(self.at2(twice(self.at4(value)))))
        return rgb


def twice(x: Tensor) -> Tensor:
    """Each pixel as a square of four."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def normalise(frame: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] to mean 0 and std 1 on ImageNet."""
    return (frame - _colour(MEAN, frame)) / _colour(STD, frame)


def denormalise(x: Tensor) -> Tensor:
    """Back from `normalise`, in float32."""
    x = x.float()
    return x * _colour(STD, x) + _colour(MEAN, x)


def _colour(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=like.dtype).view(1, 3, 1, 1)
