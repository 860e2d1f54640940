"""OPN against a plain twin and kept tensors, and its habits: peels, references, batches, sizes, precision."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.golden.make_opn_small import PATH, REFERENCES, SIZES, TARGET, opn_tensors
from tests.models.opn.twin import TwinOPN
from vidfill.engine.clip import fill_clip
from vidfill.models.base import ClipSource, View, Window, composite, recur, unroll
from vidfill.models.opn.authors import PEELING_LAYERS, authors_shapes, load_authors
from vidfill.models.opn.model import OPN, OPNSizes
from vidfill.models.opn.network import DECODER_REACH, denormalise
from vidfill.models.opn.peels import CELL_PX
from vidfill.settings import EngineSettings


def ruled(sizes: OPNSizes = SIZES) -> OPN:
    network = OPN(sizes).eval()
    load_authors(network, PEELING_LAYERS, opn_tensors(), source="rule")
    return network


def moving_clip(batch: int, n_frames: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    holes = torch.zeros(batch, n_frames, 1, height, width)
    for t in range(n_frames):
        holes[:, t, :, height // 4 : height // 4 + 26, 2 * t + 3 : 2 * t + 25] = 1
    return torch.rand(batch, n_frames, 3, height, width), holes


def test_a_new_one_shows_the_colours_of_cells() -> None:
    torch.manual_seed(0)
    network = OPN().eval()
    frame = torch.linspace(0, 1, 96).view(1, 1, 1, 96) * torch.tensor([1.0, 0.5, 0.2]).view(1, 3, 1, 1)
    frame = frame.expand(1, 3, 64, 96).contiguous()
    with torch.inference_mode():
        decoded = denormalise(network.decoder(network.encode(frame, torch.zeros(1, 1, 64, 96)).value))
    inside = (decoded - frame)[..., 16:-16, 16:-16].abs()
    assert float(inside.mean()) < 0.02
    assert float(inside.max()) < 0.06


def view_of(network: OPN, clip: Tensor, holes: Tensor, t: int) -> View:
    frame = clip[:, t] * (1 - holes[:, t])
    return View(t, frame, holes[:, t], network.encode(frame, holes[:, t]))


def twin_fills(clip: Tensor, holes: Tensor, references: range, targets: range) -> list[Tensor]:
    """What the twin makes of the targets with the given references, the frame itself left out."""
    twin = TwinOPN(opn_tensors())
    memory = {i: twin.remember(clip[:, i], holes[:, i]) for i in references}
    return [twin.complete(clip[:, t], holes[:, t], [memory[i] for i in references if i != t])[-1] for t in targets]


def test_has_the_parameters_of_the_paper() -> None:
    network = OPN()
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_420_422
    shapes = authors_shapes(network, PEELING_LAYERS)
    assert len(shapes) == 70
    assert shapes["Encoder.conv12.gating_conv.weight"] == (64, 5, 5, 5)
    assert shapes["Encoder.key3.input_conv.bias"] == (128,)
    assert shapes["Decoder.conv32.input_conv.weight"] == (64, 128, 3, 3)
    assert shapes["Decoder.conv21.gating_conv.weight"] == (3, 64, 5, 5)
    assert shapes["mean3d"] == (1, 3, 1, 1, 1)


def test_agrees_with_kept_tensors() -> None:
    kept = np.load(PATH)
    clip, holes = (torch.from_numpy(kept[name])[None].float() for name in ("frames", "holes"))
    clip = clip / 255
    network = ruled()
    with torch.inference_mode():
        memory = [view_of(network, clip, holes, i).features for i in REFERENCES]
        target = view_of(network, clip, holes, TARGET)
        filled, peeling = network.complete(target, memory)
        network.train()
        _, whole = network.complete(target, memory)
    wanted = torch.from_numpy(kept["peels"])
    assert len(peeling.masks) == len(wanted) == 3
    assert float((filled[0] - wanted[-1]).abs().max()) < 1e-5
    for mask, fill, after in zip(whole.masks, whole.fills, wanted, strict=True):
        assert float((mask * (fill.clamp(0, 1) - after)).abs().max()) < 1e-5
        assert float((mask * after).std()) > 0.01


def test_kept_tensors_are_what_the_twin_gives() -> None:
    kept = np.load(PATH)
    clip, hole = (
        torch.from_numpy(kept["frames"])[:, None].float() / 255,
        torch.from_numpy(kept["holes"])[:, None].float(),
    )
    twin = TwinOPN(opn_tensors())
    peels = twin.complete(clip[TARGET], hole[TARGET], [twin.remember(clip[i], hole[i]) for i in REFERENCES])
    assert np.abs(torch.cat(peels).numpy() - kept["peels"]).max() < 1e-5


def test_what_cannot_reach_the_hole_changes_nothing() -> None:
    clip, holes = moving_clip(1, 3, 40, 456)
    network, twin = ruled(), TwinOPN(opn_tensors())
    with torch.inference_mode():
        filled, peeling = network.complete(
            view_of(network, clip, holes, 1), [view_of(network, clip, holes, 0).features]
        )
    wanted = twin.complete(clip[:, 1], holes[:, 1], [twin.remember(clip[:, 0], holes[:, 0])])
    assert float((filled - wanted[-1]).abs().max()) < 1e-5
    # The hole begins at column 5 and ends in the cell of column 26, the second peel 8 pixels inside it.
    assert [fill.shape[-1] // CELL_PX for fill in peeling.fills] == [7 + DECODER_REACH, 5 + DECODER_REACH]


@pytest.mark.parametrize(("most", "stride"), [(40, 5), (2, 6)])
def test_a_full_bank_has_a_larger_stride(most: int, stride: int) -> None:
    clip, holes = moving_clip(1, 12, 40, 56)
    targets = range(5, 7)
    with torch.inference_mode():
        found = unroll(ruled(replace(SIZES, most_references=most)), clip, holes, targets=targets)
    for fill, wanted in zip(found[0], twin_fills(clip, holes, range(0, 12, stride), targets), strict=True):
        assert float((fill - wanted[0]).abs().max()) < 1e-5


class _Watched(ClipSource):
    """Counts the frames whose features a model could still ask for."""

    def __init__(self, model: OPN, clip: Tensor, holes: Tensor) -> None:
        super().__init__(model, clip, holes)
        self.held: set[int] = set()
        self.most_held = 0

    def view(self, index: int) -> View:
        self.held.add(index)
        self.most_held = max(self.most_held, len(self.held))
        return super().view(index)

    def drop_before(self, index: int, keep: range = range(0)) -> None:
        self.held = {i for i in self.held if i >= index or i in keep}
        super().drop_before(index, keep)


@pytest.mark.parametrize("n_frames", [20, 90])
def test_the_features_that_are_kept_do_not_grow_with_the_segment(n_frames: int) -> None:
    network = ruled(replace(SIZES, most_references=6, most_read=3))
    clip, holes = torch.zeros(1, n_frames, 3, 8, 8), torch.zeros(1, n_frames, 1, 8, 8)
    source = _Watched(network, clip, holes)
    with torch.inference_mode():
        assert len(list(recur(network, source))) == n_frames
    assert source.most_held <= 7


def test_samples_side_by_side_are_filled_as_alone() -> None:
    network = ruled()
    clip, holes = moving_clip(4, 2, 48, 64)
    holes[1] = 0
    holes[1, :, :, 10:14, 30:40] = 1  # one peel, where the first sample has two
    holes[2, 1] = 0  # nothing to fill
    holes[3, 0] = 1  # a reference that knows nothing
    with torch.inference_mode():
        together = unroll(network, clip, holes)
        alone = torch.cat([unroll(network, clip[b : b + 1], holes[b : b + 1]) for b in range(4)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.equal(together[2, 1], clip[2, 1])


def test_samples_whose_holes_are_far_apart_share_a_block() -> None:
    network = ruled()
    clip, holes = moving_clip(2, 2, 40, 456)
    holes[1] = 0
    holes[1, :, :, 20:30, 90:98] = 1
    with torch.inference_mode():
        together = unroll(network, clip, holes)
        alone = torch.cat([unroll(network, clip[b : b + 1], holes[b : b + 1]) for b in range(2)])
        _, peeling = network.complete(view_of(network, clip, holes, 1), [])
    assert torch.allclose(together, alone, atol=1e-5)
    assert 0 < peeling.fills[0].shape[-1] < 456


def test_references_that_know_nothing_are_as_good_as_none() -> None:
    network = ruled()
    clip, holes = moving_clip(1, 2, 40, 48)
    holes[:, 0] = 1
    with torch.inference_mode():
        target = view_of(network, clip, holes, 1)
        blind, _ = network.complete(target, [view_of(network, clip, holes, 0).features])
        without, _ = network.complete(target, [])
    assert torch.equal(blind, without)


def test_a_hole_that_is_the_whole_frame_is_filled_at_once() -> None:
    clip, holes = moving_clip(1, 6, 24, 32)
    holes[:, 2] = 1
    with torch.inference_mode():
        fill = unroll(ruled(), clip, holes)
    assert bool(torch.isfinite(fill).all())
    assert float(fill[:, 2].std()) > 0.01


@pytest.mark.parametrize("size", [(21, 30), (5, 3)])
def test_the_engine_fills_any_size_as_unroll_does(size: tuple[int, int]) -> None:
    network = ruled()
    clip, holes = moving_clip(1, 7, *size)
    frames = [np.rint(frame.permute(1, 2, 0).numpy() * 255).astype(np.uint8) for frame in clip[0]]
    masks = [hole[0].numpy() > 0 for hole in holes[0]]
    found = list(fill_clip(network, frames, masks, settings=EngineSettings(device="cpu", precision="fp32")))
    right, below = -size[1] % CELL_PX, -size[0] % CELL_PX
    exact = torch.stack([torch.from_numpy(frame) for frame in frames]).permute(0, 3, 1, 2).float() / 255
    padded = torch.nn.functional.pad(exact * (1 - holes[0]), (0, right, 0, below), mode="replicate")[None]
    padded_holes = torch.nn.functional.pad(holes[0], (0, right, 0, below), mode="replicate")[None]
    with torch.inference_mode():
        wanted = composite(padded, padded_holes, unroll(network, padded, padded_holes))
    for t, frame in enumerate(found):
        own = wanted[0, t, :, : size[0], : size[1]].permute(1, 2, 0).numpy() * 255
        assert np.abs(frame - own).max() < 0.51


def test_each_frame_is_encoded_once_a_peel() -> None:
    network = ruled()
    calls: list[int] = []
    network.encoder.register_forward_hook(lambda module, inputs, output: calls.append(1))
    clip, holes = moving_clip(1, 9, 40, 48)
    with torch.inference_mode():
        unroll(network, clip, holes)
    assert len(calls) == 9 + 9


def test_what_lies_in_the_hole_is_never_looked_at() -> None:
    clip, holes = moving_clip(1, 6, 40, 48)
    with torch.inference_mode():
        assert torch.equal(unroll(ruled(), clip, holes), unroll(ruled(), clip * (1 - holes) + 0.7 * holes, holes))


def test_gradients_reach_every_weight_through_all_peels() -> None:
    network = ruled().train()
    clip, holes = moving_clip(2, 6, 40, 48)
    source = ClipSource(network, clip, holes)
    step = network.step(Window(source.view(1), (), [source.view(0), source.view(5)]), None, 0)
    assert [fill.shape for fill in step.record.fills] == [(2, 3, 40, 48)] * 2
    step.record.fills[1].square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_bfloat16_stays_close_to_float32() -> None:
    """Measured with these weights, in grey levels: mean difference 0.04 in the hole, largest 0.25."""
    network = ruled()
    clip, holes = moving_clip(1, 6, 48, 64)
    with torch.inference_mode():
        exact = unroll(network, clip, holes)
        with torch.autocast("cpu", torch.bfloat16):
            short = unroll(network, clip, holes)
    difference = (exact - short.float()).abs() * 255
    inside = float((difference * holes).sum() / (3 * holes.sum()))
    assert 0 < inside < 0.12
    assert float(difference.max()) < 1


def test_sizes_build_the_same_network_again() -> None:
    network = OPN(SIZES)
    again = OPN.from_sizes(json.loads(json.dumps(network.sizes)))
    assert again.sizes == network.sizes
    assert [p.shape for p in again.parameters()] == [p.shape for p in network.parameters()]


@pytest.mark.parametrize("wrong", [{"half": 0}, {"channels": 2.5}, {"peel_px": "8"}, {"colour": 3}])
def test_sizes_that_build_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        OPN.from_sizes(wrong)
