"""Maps the parameters in the checkpoint of VINet's authors to ours."""

from __future__ import annotations

from torch import Tensor

_SCALE_SUFFIX = {"at8": "", "at4": "_64", "at2": "_128", "at1": "_256"}
_ENCODER = "at1:ec0 at2.0:ec1 at2.1:ec2 at4.0:ec3_1 at4.1:ec3_2 at8.0:ec4_1 at8.1:ec4 at8.2:ec5"
_DECODER = (
    "at8.0.conv:dc0.conv at8.1.conv:dc1.conv to_at4.gated.conv:dc1_1.conv.1 at4.0.conv:dc2_1.conv "
    "at4.1.conv:dc2_bt1.conv at4.2.conv:dc2_bt2.conv at4.3.conv:dc2_bt3.conv to_at2.gated.conv:dc2_2.conv.1 "
    "at2.0.conv:dc3_1.conv at2.1.conv:dc3_2.conv to_at1.gated.conv:dc4.conv.1 head.conv:dc5.conv rgb:dc6"
)


def _pairs(table: str) -> list[list[str]]:
    """(our name, theirs) from "ours:theirs ours:theirs"."""
    return [pair.split(":") for pair in table.split()]


_AUTHORS_NAMES = {
    **{f"target_encoder.{own}.conv": f"encoder1.{theirs}.conv" for own, theirs in _pairs(_ENCODER)},
    **{f"source_encoder.{own}.conv": f"encoder2.{theirs}.conv" for own, theirs in _pairs(_ENCODER)},
    **{f"bottleneck.{i}.conv": f"bottleneck.bt{i}.conv" for i in range(4)},
    "memory.gates": "convlstm.Gates",
    **{f"decoder.{own}": f"decoder.{theirs}" for own, theirs in _pairs(_DECODER)},
}


def authors_name(own: str) -> str:
    """The authors' name of one of our parameters."""
    layer, _, kind = own.rpartition(".")
    if layer in _AUTHORS_NAMES:
        return f"{_AUTHORS_NAMES[layer]}.{kind}"
    part, scale, rest = layer.split(".", 2)
    suffix = _SCALE_SUFFIX[scale]
    if part == "aggregation":
        return f"st_agg{suffix}.stAgg.conv.{kind}"
    name, _, index = rest.partition(".")
    if part == "mask":
        return f"masknet{suffix}.convs.{index}{'' if index == '2' else '.0'}.{kind}"
    inner = {"estimator": f"convs.{index}.0", "coarse": "conv1", "context": f"convs_fine.convs.{index}.0"}[name]
    return f"flownet{suffix}.flow_estimator.{inner}.{kind}"


def authors_shape(own: str, shape: tuple[int, ...], *, n_sources: int) -> tuple[int, ...]:
    """The authors' shape of one of our parameters; their aggregation and decoder are 3-D convolutions."""
    if own.startswith("aggregation."):
        return (shape[0], shape[1] // n_sources, n_sources, *shape[2:])
    if own.startswith("decoder."):
        return (*shape[:2], 1, *shape[2:])
    return shape


def kernel_from_authors(tensor: Tensor) -> Tensor:
    """A 3-D kernel (O, I, T, 3, 3) as a 2-D one (O, T * I, 3, 3) over frames side by side; others unchanged."""
    return tensor.transpose(1, 2).flatten(1, 2) if tensor.dim() == 5 else tensor
