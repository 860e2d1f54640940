"""I3D, the network whose features VFID compares; its weights are looked for and never fetched.

Carreira and Zisserman: Quo Vadis, Action Recognition?, CVPR 2017, figure 3 (Inception-v1 with 3-D kernels). Modules go
by the names of the converted checkpoint that the field uses, `i3d_rgb_imagenet.pt`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor, nn

# Of an inception module: 1x1x1; 1x1x1 then 3x3x3; 1x1x1 then 3x3x3; pooling then 1x1x1.
_MIXED = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}
N_FEATURES = 1024
N_CLASSES = 400
_EPSILON = 1e-3
_Size = tuple[int, int, int]


class I3D(nn.Module):
    """The network up to its last inception module; 12,697,264 parameters, 410,000 of them the classifier's.

    Differs from the paper: no classification; the features of the last module are averaged over space and time, as
    VFID takes them. The classifier's weights are kept, so that a checkpoint loads strictly.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {
            "Conv3d_1a_7x7": Unit(3, 64, kernel=(7, 7, 7), stride=(2, 2, 2)),
            "MaxPool3d_2a_3x3": SamePool((1, 3, 3), (1, 2, 2)),
            "Conv3d_2b_1x1": Unit(64, 64),
            "Conv3d_2c_3x3": Unit(64, 192, kernel=(3, 3, 3)),
            "MaxPool3d_3a_3x3": SamePool((1, 3, 3), (1, 2, 2)),
        }
        for name, (n_in, widths) in _MIXED.items():
            if name == "Mixed_4b":
                layers["MaxPool3d_4a_3x3"] = SamePool((3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                layers["MaxPool3d_5a_2x2"] = SamePool((2, 2, 2), (2, 2, 2))
            layers[name] = Inception(n_in, widths)
        self.names = tuple(layers)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.logits = nn.ModuleDict({"conv3d": nn.Conv3d(N_FEATURES, N_CLASSES, 1)})

    def forward(self, video: Tensor) -> Tensor:
        """(B, 3, T, H, W) in [0, 1] -> (B, 1024)."""
        x = video
        for name in self.names:
            x = self.get_submodule(name)(x)
        return x.mean(dim=(2, 3, 4))


class Unit(nn.Module):
    """A convolution that keeps the size (over its stride), batch normalisation, ReLU."""

    def __init__(self, n_in: int, n_out: int, *, kernel: _Size = (1, 1, 1), stride: _Size = (1, 1, 1)) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(n_in, n_out, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(n_out, eps=_EPSILON)
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, T, H, W) -> (B, n_out, ceil(T / stride), ...)."""
        return F.relu(self.bn(self.conv3d(_padded(x, self.kernel, self.stride))))


class SamePool(nn.Module):
    """The maximum over a window, zeros beyond the border."""

    def __init__(self, kernel: _Size, stride: _Size) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, ceil(T / stride), ...)."""
        return F.max_pool3d(_padded(x, self.kernel, self.stride), self.kernel, self.stride)


class Inception(nn.Module):
    """Four branches side by side."""

    def __init__(self, n_in: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.b0 = Unit(n_in, widths[0])
        self.b1a = Unit(n_in, widths[1])
        self.b1b = Unit(widths[1], widths[2], kernel=(3, 3, 3))
        self.b2a = Unit(n_in, widths[3])
        self.b2b = Unit(widths[3], widths[4], kernel=(3, 3, 3))
        self.b3a = SamePool((3, 3, 3), (1, 1, 1))
        self.b3b = Unit(n_in, widths[5])

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, T, H, W) -> the branches' channels, at the same size."""
        branches = (self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x)))
        return torch.cat(branches, dim=1)


def load_i3d(tensors: Mapping[str, Tensor], *, source: str) -> I3D:
    """The network with its weights, in evaluation mode; `WeightsError` for tensors of another network."""
    from vidfill.models.checkpoint import load_strict

    network = I3D()
    # The file of the field is older than these counters.
    counters = {name: t for name, t in network.state_dict().items() if name.endswith("num_batches_tracked")}
    load_strict(network, {**counters, **tensors}, source=source)
    return network.eval()


def _padded(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Zeros so that the output has ceil(size / stride) values, the odd one behind ("same" padding)."""
    pads: list[int] = []
    for size, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
        total = max(k - (size % s or s), 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)
