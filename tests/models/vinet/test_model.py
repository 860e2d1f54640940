"""VINet against a plain twin and kept tensors, and its habits: recurrence, windows, sizes, precision."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.golden.make_vinet_small import OFFSETS, PATH, TARGETS, run_twin, slim_sizes
from tests.models.vinet.twin import TwinVINet, rule_weights
from vidfill.models.base import Previous, View, Window, composite, unroll
from vidfill.models.layers import LSTMMemory
from vidfill.models.vinet.flow import upsample_flow
from vidfill.models.vinet.model import VINet, VINetSizes

VARIANTS = pytest.mark.parametrize("double_size", [False, True], ids=["256", "512"])


def ruled(sizes: VINetSizes) -> VINet:
    network = VINet(sizes).eval()
    network.load_authors(rule_weights(network.authors_shapes()), source="rule")
    return network


def moving_clip(batch: int, n_frames: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    holes = torch.zeros(batch, n_frames, 1, height, width)
    for t in range(n_frames):
        holes[:, t, :, height // 4 : height // 2, t : t + width // 3] = 1
    return torch.rand(batch, n_frames, 3, height, width), holes


def test_has_the_parameters_of_the_paper() -> None:
    network = VINet()
    assert sum(parameter.numel() for parameter in network.parameters()) == 14_115_364
    shapes = network.authors_shapes()
    assert len(shapes) == 166
    assert shapes["st_agg_64.stAgg.conv.weight"] == (192, 96, 5, 3, 3)
    assert shapes["decoder.dc1_1.conv.1.weight"] == (192, 128, 1, 3, 3)
    assert shapes["flownet_128.flow_estimator.convs.0.0.weight"] == (128, 147, 3, 3)
    assert shapes["flownet.flow_estimator.convs_fine.convs.6.0.bias"] == (2,)
    assert shapes["masknet_256.convs.2.weight"] == (1, 16, 3, 3)
    assert shapes["convlstm.Gates.bias"] == (512,)


@VARIANTS
def test_agrees_with_kept_tensors(double_size: bool) -> None:
    kept, variant = np.load(PATH), "512" if double_size else "256"
    network = ruled(slim_sizes(double_size=double_size))
    frames = torch.from_numpy(kept["frames"]).flip(1).float()[:, None] / 255
    holes = torch.from_numpy(kept["holes"]).float()[:, None]
    frames = frames * (1 - holes)
    previous, memory = None, None
    outputs: list[Tensor] = []
    flows: tuple[Tensor, ...] = ()
    with torch.inference_mode():
        views = [View(t, f, h, network.encode(f, h)) for t, (f, h) in enumerate(zip(frames, holes, strict=True))]
        for t in TARGETS:
            window = [views[t + offset].features for offset in OFFSETS]
            output, memory, flows = network.inpaint(views[t], window, previous, memory)
            previous = Previous(t, (output.flip(1) + 1) / 2, holes[t])
            outputs.append(output)
    assert memory is not None
    for found, name in (
        (torch.cat(outputs), "outputs"),
        (memory.hidden, "hidden"),
        (memory.cell, "cell"),
        (flows[-1], "flow"),
    ):
        wanted = torch.from_numpy(kept[f"{name}_{variant}"])
        assert wanted.std() > 1e-3
        assert float((found - wanted).abs().max()) < 1e-4


@VARIANTS
def test_kept_tensors_are_what_the_twin_gives(double_size: bool) -> None:
    kept, variant = np.load(PATH), "512" if double_size else "256"
    outputs, _, _ = run_twin(torch.from_numpy(kept["frames"]), torch.from_numpy(kept["holes"]), double_size=double_size)
    assert np.abs(torch.cat(outputs).numpy() - kept[f"outputs_{variant}"]).max() < 1e-4


@VARIANTS
@pytest.mark.parametrize("size", [(45, 70), (18, 17), (33, 49)])
def test_agrees_with_the_twin_at_odd_sizes(double_size: bool, size: tuple[int, int]) -> None:
    sizes = slim_sizes(double_size=double_size)
    network = ruled(sizes)
    twin = TwinVINet(rule_weights(network.authors_shapes()), double_size=double_size)
    clip, holes = moving_clip(1, 6, *size)
    frames = clip * (1 - holes)
    masked = (clip.flip(2) * 2 - 1) * (1 - holes)
    with torch.inference_mode():
        views = [View(t, frames[:, t], holes[:, t], network.encode(frames[:, t], holes[:, t])) for t in range(6)]
        previous = Previous(5, clip[:, 5], holes[:, 5])
        found, _, _ = network.inpaint(views[4], [view.features for view in views[:4]], previous, None)
        window = [(masked[:, t], holes[:, t]) for t in range(4)]
        wanted, _, _ = twin.step(
            (masked[:, 4], holes[:, 4]), window, (clip[:, 5].flip(1) * 2 - 1, 0.5 * holes[:, 5]), None
        )
    assert found.shape == (1, 3, *size)
    assert float((found - wanted).abs().max()) < 1e-3


@VARIANTS
def test_takes_frames_smaller_than_its_strides(double_size: bool) -> None:
    clip, holes = moving_clip(1, 2, 5, 3)
    with torch.inference_mode():
        fill = unroll(ruled(slim_sizes(double_size=double_size)), clip, holes)
    assert fill.shape == (1, 2, 3, 5, 3)
    assert bool(torch.isfinite(fill).all())


def test_512_variant_computes_no_flow_in_vain() -> None:
    clip, holes = moving_clip(1, 3, 32, 32)
    for double_size in (True, False):
        network = ruled(slim_sizes(double_size=double_size))
        with torch.no_grad():
            clean = unroll(network, clip, holes)
            for parameter in network.flow["at1"].parameters():
                parameter.fill_(float("nan"))
            assert torch.equal(unroll(network, clip, holes), clean) is double_size


def test_flow_goes_from_scale_to_scale_twice_as_long() -> None:
    network = VINet(slim_sizes(double_size=False)).eval()  # fresh: every flow sub-network answers zero
    start = torch.tensor([1.5, -0.5])
    with torch.no_grad():
        network.get_parameter("flow.at8.coarse.bias").copy_(start)
        clip, holes = moving_clip(1, 1, 32, 40)
        view = View(0, clip[:, 0], holes[:, 0], network.encode(clip[:, 0], holes[:, 0]))
        _, _, flows = network.inpaint(view, [view.features] * 4, None, None)
    for factor, flow in zip((1, 2, 4), flows, strict=True):
        assert torch.allclose(flow, (factor * start).view(1, 2, 1, 1).expand_as(flow), atol=1e-5)


def test_upsampled_flow_keeps_its_meaning_at_odd_sizes() -> None:
    flow = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 5, 7)
    raised = upsample_flow(flow, (9, 13), factor=2)
    assert raised.shape == (1, 2, 9, 13)
    assert torch.allclose(raised, torch.tensor([2.0, -4.0]).view(1, 2, 1, 1).expand_as(raised))


@VARIANTS
def test_windows_are_mirrored_at_both_ends(double_size: bool) -> None:
    network = ruled(slim_sizes(double_size=double_size))
    clip, holes = moving_clip(1, 5, 32, 48)
    frames = clip * (1 - holes)
    around = np.pad(np.arange(5), 6, mode="reflect")
    previous, state = None, None
    with torch.inference_mode():
        found = unroll(network, clip, holes)
        views = [View(t, frames[:, t], holes[:, t], network.encode(frames[:, t], holes[:, t])) for t in range(5)]
        for t in range(5):
            step = network.step(Window(views[t], [views[around[t + 6 + o]] for o in OFFSETS], (), previous), state, 0)
            previous, state = Previous(t, composite(frames[:, t], holes[:, t], step.fill), holes[:, t]), step.state
            assert torch.equal(found[:, t], step.fill)


def test_two_clips_side_by_side_are_each_filled_as_alone() -> None:
    network = ruled(slim_sizes(double_size=True))
    clip, holes = moving_clip(2, 4, 32, 48)
    holes[1] = holes[1].flip(-1)
    with torch.inference_mode():
        together = unroll(network, clip, holes)
        alone = torch.cat([unroll(network, clip[b : b + 1], holes[b : b + 1]) for b in range(2)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_what_lies_in_the_hole_is_never_looked_at() -> None:
    network = ruled(slim_sizes(double_size=True))
    clip, holes = moving_clip(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(unroll(network, clip, holes), unroll(network, clip * (1 - holes) + 0.7 * holes, holes))


def test_each_frame_is_encoded_once() -> None:
    network = ruled(slim_sizes(double_size=True))
    calls = {"target": 0, "source": 0}

    def count(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            calls[name] += 1

        return hook

    network.target_encoder.register_forward_hook(count("target"))
    network.source_encoder.register_forward_hook(count("source"))
    clip, holes = moving_clip(1, 9, 32, 32)
    with torch.inference_mode():
        unroll(network, clip, holes)
    assert calls == {"target": 9, "source": 9 + 8}  # every frame, and every previous output but the first's


def test_memory_is_carried_unless_told_not_to() -> None:
    sizes = slim_sizes(double_size=True)
    clip, holes = moving_clip(1, 3, 32, 32)
    carrying, forgetting = ruled(sizes), ruled(replace(sizes, carry_memory=False))
    with torch.no_grad():
        for network in (carrying, forgetting):
            network.memory.gates.weight.mul_(20)  # at the rule's scale it hardly stirs
        kept, emptied = unroll(carrying, clip, holes), unroll(forgetting, clip, holes)
        view = View(0, clip[:, 0], holes[:, 0], carrying.encode(clip[:, 0], holes[:, 0]))
        assert isinstance(carrying.step(Window(view, [view] * 4), None, 0).state, LSTMMemory)
        assert forgetting.step(Window(view, [view] * 4), None, 0).state is None
    assert torch.equal(kept[:, 0], emptied[:, 0])
    assert float((kept[:, 2] - emptied[:, 2]).abs().max()) > 2e-5


def test_fill_is_clamped_but_not_in_training() -> None:
    network = ruled(slim_sizes(double_size=True))
    with torch.no_grad():
        network.decoder.rgb.weight.mul_(1000)
    clip, holes = moving_clip(1, 1, 32, 32)
    with torch.no_grad():
        fill = unroll(network, clip, holes)
        assert float(fill.min()) == 0
        assert float(fill.max()) == 1
        assert float(unroll(network.train(), clip, holes).abs().max()) > 1


@VARIANTS
def test_gradients_reach_everything_that_is_computed(double_size: bool) -> None:
    network = ruled(slim_sizes(double_size=double_size)).train()
    clip, holes = moving_clip(1, 3, 32, 48)
    unroll(network, clip, holes).square().mean().backward()  # type: ignore[no-untyped-call]
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert without == {name for name in network.state_dict() if double_size and name.startswith("flow.at1.")}


def test_bfloat16_stays_close_to_float32() -> None:
    """Measured with these weights, in grey levels: mean difference 0.07, largest 1.3, where the fill's spread is 15."""
    network = ruled(slim_sizes(double_size=True))
    clip, holes = moving_clip(1, 4, 48, 64)
    with torch.inference_mode():
        exact = unroll(network, clip, holes)
        with torch.autocast("cpu", torch.bfloat16):
            short = unroll(network, clip, holes)
    difference = (exact - short.float()).abs() * 255
    assert 0 < float(difference.mean()) < 0.3
    assert float(difference.max()) < 5


def test_sizes_build_the_same_network_again() -> None:
    network = VINet(slim_sizes(double_size=False))
    again = VINet.from_sizes(json.loads(json.dumps(network.sizes)))
    assert again.sizes == network.sizes
    assert again.authors_shapes() == network.authors_shapes()
    assert again.spec.multiple == 8


@pytest.mark.parametrize(
    "wrong", [{"encoder": [1, 2, 3]}, {"context": [[8] * 5] * 4}, {"estimator": [[8]]}, {"colour": 3}, {"encoder": 7}]
)
def test_sizes_that_build_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        VINet.from_sizes(wrong)
