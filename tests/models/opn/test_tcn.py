"""The temporal network against a plain twin and kept tensors, and the two networks as one model."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.golden.make_opn_small import PATH, SIZES, TARGET, TEMPORAL, opn_tensors, temporal_tensors
from tests.models.opn.test_model import moving_clip, ruled
from tests.models.opn.twin import TwinTCN
from vidfill.models.base import View, Window, composite, unroll
from vidfill.models.opn.authors import PEELING_LAYERS, TEMPORAL_LAYERS, authors_shapes, load_authors
from vidfill.models.opn.tcn import OPNTCN, TEMPORAL_REACH, GRUMemory, OPNTCNSizes


def both() -> OPNTCN:
    network = OPNTCN(OPNTCNSizes(opn=SIZES, temporal=TEMPORAL)).eval()
    load_authors(network.opn, PEELING_LAYERS, opn_tensors(), source="rule")
    load_authors(network.temporal, TEMPORAL_LAYERS, temporal_tensors(), source="rule")
    return network


def test_has_the_parameters_of_the_paper() -> None:
    network = OPNTCN()
    assert sum(parameter.numel() for parameter in network.temporal.parameters()) == 11_156_806
    assert sum(parameter.numel() for parameter in network.parameters()) == 14_577_228
    shapes = authors_shapes(network.temporal, TEMPORAL_LAYERS)
    assert len(shapes) == 82
    assert shapes["GRU.convHH.weight"] == (768, 256, 3, 3)
    assert shapes["Decoder.conv43.gating_conv.weight"] == (128, 256, 3, 3)


def test_a_new_one_gives_the_frame_as_it_is_and_learns_beside_it() -> None:
    torch.manual_seed(0)
    network = OPNTCN().eval().temporal
    frames = torch.rand(2, 1, 3, 32, 32)
    hole = torch.zeros(1, 1, 32, 32)
    hole[..., 8:20, 8:20] = 1
    output, _ = network((frames[0], hole), (frames[1], hole), None)
    assert torch.allclose(output, frames[1], atol=1e-5)
    (output - frames[0]).square().mean().backward()
    gradient = network.decoder.rgb.conv.weight.grad
    assert gradient is not None
    assert (gradient.abs().amax(dim=(0, 2, 3)) > 0).all(), "from every feature"


def test_agrees_with_kept_tensors() -> None:
    kept = np.load(PATH)
    frame, holes = torch.from_numpy(kept["peels"][-1:]), torch.from_numpy(kept["holes"])[:, None].float()
    network, twin = both().temporal, TwinTCN(temporal_tensors())
    before, memory, hidden = (frame, holes[TARGET]), None, None
    for t, wanted in enumerate(torch.from_numpy(kept["temporal"])):
        now = (frame, holes[TARGET + t])
        with torch.inference_mode():
            twins, hidden = twin.step(before, now, hidden)
            output, memory = network(before, now, memory)
        assert float((output[0] - wanted).abs().max()) < 1e-4
        assert float((twins[0] - wanted).abs().max()) < 1e-4
        assert float(wanted.std()) > 0.05
        before = (output.clamp(0, 1), now[1])


def test_steps_through_the_contract_after_opn() -> None:
    clip, holes = moving_clip(2, 4, 40, 48)
    network, twin = both(), TwinTCN(temporal_tensors())
    with torch.inference_mode():
        filled, found = unroll(ruled(), clip, holes), unroll(network, clip, holes)
    before: tuple[Tensor, Tensor] = (filled[:, 0], holes[:, 0])
    hidden = None
    for t in range(4):
        output, hidden = twin.step(before, (filled[:, t], holes[:, t]), hidden)
        output = composite(clip[:, t], holes[:, t], output)
        assert float((found[:, t] - output.clamp(0, 1)).abs().max()) < 1e-3, (
            "rounding, which the rule's weights enlarge"
        )
        before = (composite(clip[:, t], holes[:, t], output.clamp(0, 1)), holes[:, t])


def test_what_cannot_reach_the_hole_is_not_decoded() -> None:
    clip, holes = moving_clip(1, 2, 40, 256)
    holes[:, 1] = 0
    holes[:, 1, :, 16:24, 120:128] = 1
    network, twin = both(), TwinTCN(temporal_tensors())
    decoded: list[torch.Size] = []
    network.temporal.decoder.register_forward_hook(lambda module, inputs, output: decoded.append(output.shape))
    with torch.inference_mode():
        filled, found = unroll(ruled(), clip, holes), unroll(network, clip, holes)
        first, hidden = twin.step((filled[:, 0], holes[:, 0]), (filled[:, 0], holes[:, 0]), None)
        before = (composite(clip[:, 0], holes[:, 0], first.clamp(0, 1)), holes[:, 0])
        wanted, _ = twin.step(before, (filled[:, 1], holes[:, 1]), hidden)
    assert float(((found[:, 1] - wanted.clamp(0, 1)) * holes[:, 1]).abs().max()) < 1e-4
    assert decoded[1][-2:] == (40, 8 * (1 + 2 * TEMPORAL_REACH))


def test_a_frame_without_a_hole_stays_and_is_remembered() -> None:
    clip, holes = moving_clip(1, 2, 40, 48)
    holes[:, 0] = 0
    network = both()
    with torch.inference_mode():
        found = unroll(network, clip, holes)
        view = network.encode(clip[:, 0], holes[:, 0])
        step = network.step(Window(View(0, clip[:, 0], holes[:, 0], view)), None, 0)
    assert torch.equal(found[:, 0], clip[:, 0])
    assert float(step.state.hidden.abs().max()) > 0


def test_training_is_of_the_temporal_network_alone() -> None:
    clip, holes = moving_clip(1, 3, 40, 48)
    network = both().train()
    assert not network.opn.training
    unroll(network, clip, holes).square().mean().backward()  # type: ignore[no-untyped-call]
    learns = {name for name, p in network.named_parameters() if p.grad is not None}
    assert learns == {name for name, _ in network.named_parameters() if name.startswith("temporal.")}


def test_the_memory_is_float32_whatever_the_precision() -> None:
    network = both()
    x = torch.rand(1, 10, 4, 5)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        memory = network.temporal.memory(x, network.temporal.memory(x, None))
    assert isinstance(memory, GRUMemory)
    assert memory.hidden.dtype == torch.float32


def test_sizes_build_the_same_networks_again() -> None:
    network = both()
    again = OPNTCN.from_sizes(json.loads(json.dumps(network.sizes)))
    assert again.sizes == network.sizes
    assert again.spec == network.spec
    assert (again.spec.previous, again.spec.multiple) == (True, 8)


@pytest.mark.parametrize("wrong", [{"temporal": [1, 2, 3]}, {"temporal": [8, 8, 8, 0]}, {"opn": {"half": 0}}, {"x": 1}])
def test_sizes_that_build_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        OPNTCN.from_sizes(wrong)
