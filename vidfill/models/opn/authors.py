"""Maps the parameters in the two checkpoints of Onion-Peel's authors to ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vidfill.models.checkpoint import check_keys, load_strict
from vidfill.models.layers import GatedConv

# Constants that the authors keep as buffers: mean and std of ImageNet's colours.
_BUFFERS = {
    "mean": (1, 3, 1, 1),
    "mean3d": (1, 3, 1, 1, 1),
    **{f"{part}.{name}": (1, 3, 1, 1) for part in ("Encoder", "Decoder") for name in ("mean", "std")},
}
PEELING_LAYERS = {
    "encoder.at2.0": "Encoder.conv12",
    "encoder.at2.1": "Encoder.conv2",
    "encoder.at4.0": "Encoder.conv23",
    "encoder.at4.1": "Encoder.conv3a",
    "encoder.at4.2": "Encoder.conv3b",
    "encoder.at4.3": "Encoder.conv3c",
    "encoder.at4.4": "Encoder.conv3d",
    "encoder.key": "Encoder.key3",
    "encoder.value": "Encoder.val3",
    "decoder.at4.0": "Decoder.conv3d",
    "decoder.at4.1": "Decoder.conv3c",
    "decoder.at4.2": "Decoder.conv3b",
    "decoder.at4.3": "Decoder.conv3a",
    "decoder.at2.0": "Decoder.conv32",
    "decoder.at2.1": "Decoder.conv2",
    "decoder.rgb": "Decoder.conv21",
}
TEMPORAL_LAYERS = {
    "encoder.at1": "Encoder.conv1",
    "encoder.at2.0": "Encoder.conv21",
    "encoder.at2.1": "Encoder.conv2",
    "encoder.at4.0": "Encoder.conv23",
    "encoder.at4.1": "Encoder.conv3a",
    "encoder.at4.2": "Encoder.conv3b",
    "encoder.at8.0": "Encoder.conv34",
    "encoder.at8.1": "Encoder.conv4a",
    "encoder.at8.2": "Encoder.conv4b",
    "memory.gates_of_input": "GRU.convIH",
    "memory.gates_of_hidden": "GRU.convHH",
    "decoder.at8.0": "Decoder.conv4b",
    "decoder.at8.1": "Decoder.conv4a",
    "decoder.to_at4": "Decoder.conv43",
    "decoder.at4.0": "Decoder.conv3b",
    "decoder.at4.1": "Decoder.conv3a",
    "decoder.to_at2": "Decoder.conv32",
    "decoder.at2": "Decoder.conv2",
    "decoder.to_at1": "Decoder.conv21",
    "decoder.rgb": "Decoder.conv1",
}


def authors_shapes(network: nn.Module, layers: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the authors' state dict for our network; `layers` maps our names to theirs."""
    shapes = dict(_BUFFERS)
    for own, theirs in layers.items():
        layer = network.get_submodule(own)
        conv = layer.conv if isinstance(layer, GatedConv) else layer
        for kind, tensor in conv.named_parameters():
            if isinstance(layer, GatedConv):
                half = (len(tensor) // 2, *tensor.shape[1:])
                shapes |= {f"{theirs}.input_conv.{kind}": half, f"{theirs}.gating_conv.{kind}": half}
            else:
                shapes[f"{theirs}.{kind}"] = tuple(tensor.shape)
    return shapes


def load_authors(network: nn.Module, layers: Mapping[str, str], tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Load the authors' state dict (see `LearnedModel.load_authors`); two of their convolutions make one gated one."""
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_keys(authors_shapes(network, layers), found, source=source)
    own_tensors = {}
    for own, theirs in layers.items():
        for kind in ("weight", "bias"):
            if isinstance(network.get_submodule(own), GatedConv):
                both = (tensors[f"{theirs}.input_conv.{kind}"], tensors[f"{theirs}.gating_conv.{kind}"])
                own_tensors[f"{own}.conv.{kind}"] = torch.cat(both)
            else:
                own_tensors[f"{own}.{kind}"] = tensors[f"{theirs}.{kind}"]
    load_strict(network, own_tensors, source=source)
