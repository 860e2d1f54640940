"""Training peel by peel: references from near and far, losses of all peels, the two networks one after the other."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.train.models import tiny_data
from vidfill.errors import UsageError
from vidfill.models.base import ClipSource, Step, recur
from vidfill.models.checkpoint import build
from vidfill.models.opn.model import OPN
from vidfill.models.opn.tcn import OPNTCN
from vidfill.train.batches import FARTHEST, Batch, Shape, drawn_window, make_batch
from vidfill.train.command import build_network
from vidfill.train.data import TrainingData
from vidfill.train.peel_losses import peel_terms, total_variation
from vidfill.train.recipes import RECIPE_NAMES, LossWeights, Stage, find_recipe
from vidfill.train.report import read_metrics
from vidfill.train.trainer import Trainer, called_parts
from vidfill.weights import Checkpoint, save_weights

OPN_TINY, TCN_TINY = (find_recipe("tiny", model=model) for model in ("opn", "opn-tcn"))
SHAPE = Shape(n_samples=3, n_targets=2, size=(32, 32), n_references=4)
SPEC = OPN().spec


def _counting_data() -> TrainingData:
    """One clip whose every pixel says which frame it is."""
    numbers = torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1).expand(200, 40, 40, 3)
    return replace(tiny_data(), clips=(numbers,), photos=())


def test_references_are_drawn_from_near_and_far_around_consecutive_targets() -> None:
    before, gaps, near, far = set(), set(), 0, 0
    for step in range(40):
        batch = make_batch(_counting_data(), OPN_TINY, SPEC, SHAPE, step=step)
        assert batch.clip.shape[1] == batch.holes.shape[1] == 6
        before.add(batch.targets.start)
        for clip in batch.clip:
            numbers = (clip[:, 0, 0, 0] * 255).round().int().numpy()
            moves = np.diff(numbers) * (1 if numbers[-1] > numbers[0] else -1)
            assert (moves >= 0).all(), "in order of time, forwards or backwards"
            own = numbers[batch.targets.start : batch.targets.stop]
            stride = abs(int(own[1] - own[0]))
            gaps.add(stride)
            away = np.min(np.abs(np.delete(numbers, batch.targets)[:, None] - own[None]), axis=1) / stride
            assert 2 <= away.min() <= away.max() <= FARTHEST
            near, far = near + int((away <= 6).sum()), far + int((away >= 15).sum())
    assert before == {0, 1, 2, 3, 4}
    assert gaps <= {1, 2, 3}
    assert min(near, far) > 0.2 * 40 * 3 * 4


def test_processes_share_such_a_batch_and_scenes_keep_their_motion() -> None:
    shape = SHAPE._replace(n_samples=4, synthetic_share=0.5)
    whole = make_batch(tiny_data(), OPN_TINY, SPEC, shape, step=3)
    parts = [make_batch(tiny_data(), OPN_TINY, SPEC, shape, step=3, rank=rank, n_ranks=2) for rank in range(2)]
    assert torch.allclose(torch.cat([part.clip for part in parts]), whole.clip, atol=1e-6)
    assert torch.equal(torch.cat([part.holes for part in parts]), whole.holes)
    assert whole.scene is not None
    assert whole.scene.motions.shape[2] == whole.scene.frames.shape[1] == 6


def test_spread_targets_lie_as_far_apart_as_references_do() -> None:
    shape = Shape(n_samples=3, n_targets=5, size=(32, 32), spread_targets=True)
    spans: list[int] = []
    for step in range(40):
        batch = make_batch(_counting_data(), OPN_TINY, SPEC, shape, step=step)
        assert batch.targets == range(5)
        assert batch.clip.shape[1] == batch.holes.shape[1] == 5
        for clip in batch.clip:
            numbers = (clip[:, 0, 0, 0] * 255).round().int().numpy()
            moves = np.diff(numbers) * (1 if numbers[-1] > numbers[0] else -1)
            assert (moves >= 0).all()
            spans.append(int(moves.sum()))
    assert min(spans) < 15 < 60 < max(spans)


def test_spread_targets_take_no_references_beside_them() -> None:
    stage = replace(OPN_TINY.stages[0], n_targets=3, spread_targets=True)
    assert replace(OPN_TINY, stages=(replace(stage, n_references=0),)).stages[0].spread_targets
    with pytest.raises(ValueError, match="each other's references"):
        replace(OPN_TINY, stages=(replace(stage, n_references=2),))


def test_every_frame_of_a_drawn_clip_is_a_reference_of_the_others() -> None:
    window = drawn_window(SPEC, OPN_TINY, step=0, n_supports=0, is_spread=True)
    assert window.indices(2, 6) == set(range(6))
    assert drawn_window(SPEC, OPN_TINY, step=0, n_supports=0) == SPEC


def _step(fills: list[Tensor], masks: list[Tensor]) -> Step:
    return Step(torch.zeros(1, 3, 4, 4), record=SimpleNamespace(fills=tuple(fills), masks=tuple(masks)))


def test_the_losses_of_all_peels_are_summed() -> None:
    truth, hole = torch.full((1, 1, 3, 4, 4), 0.5), torch.zeros(1, 1, 1, 4, 4)
    hole[..., 1:3, 1:3] = 1
    masks = [torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)]
    masks[0][..., 1, 1:3] = 1
    masks[1][..., 2, 1:3] = 1
    fills = [torch.full((1, 3, 4, 4), 0.6), torch.full((1, 3, 4, 4), 0.2)]
    batch = Batch(truth, hole, range(1), None, (), np.zeros((0, 0, 0, 0), np.uint8))
    weights = LossWeights(peel=1, valid=1, variation=1)
    terms = peel_terms([(0, _step(fills, masks))], batch, weights)
    assert {name: round(float(value), 5) for name, value in terms.items()} == {
        "peel": 0.4, "valid": 0.4, "variation": 0,
    }  # fmt: skip
    fills[0][..., 1, 1] = 0.9
    one = float(peel_terms([(0, _step(fills, masks))], batch, LossWeights(peel=1))["peel"])
    assert one == pytest.approx((0.4 + 0.1) / 2 + 0.3)
    assert float(peel_terms([(0, _step([], []))], batch, LossWeights(peel=1))["peel"]) == 0


def test_total_variation_is_of_the_inside_of_the_mask() -> None:
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 3, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    assert float(total_variation(ramp, mask)) == 0
    mask[..., 1:3, 1:3] = 1
    assert float(total_variation(2 * ramp, mask)) == pytest.approx(2)


def _weights(path: Path, network: OPN) -> Path:
    save_weights(path, Checkpoint("opn", network.sizes, network.state_dict()))
    return path


def test_the_peels_of_one_batch_can_be_learned() -> None:
    recipe = replace(OPN_TINY, sizes={"opn": {"half": 8, "channels": 16}})
    torch.manual_seed(0)
    network = build_network("opn", recipe).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    batch = make_batch(tiny_data(), recipe, SPEC, SHAPE._replace(n_targets=1, size=(48, 48)), step=0)
    window = drawn_window(SPEC, recipe, step=0, n_supports=0, is_spread=True)
    losses = []
    for _ in range(40):
        outputs = list(recur(network, ClipSource(network, batch.clip, batch.holes), targets=batch.targets, spec=window))
        loss = peel_terms(outputs, batch, LossWeights(peel=1))["peel"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    states = []
    for name, stops in (("whole", [99]), ("parts", [3, 99])):
        for stop in stops:
            torch.manual_seed(0)
            network = build_network("opn", OPN_TINY)
            is_second = stop != stops[0]
            trainer = Trainer(network, "opn", tiny_data(), OPN_TINY, tmp_path / name, resume=is_second)
            calls = iter(range(100))
            trainer.run(should_stop=lambda calls=calls, stop=stop: next(calls) == stop)  # type: ignore[misc]
        states.append(trainer.state.averaged.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert {"peel", "valid", "variation"} <= read_metrics(tmp_path / "whole")[0].keys()


def test_the_temporal_network_is_trained_after_opn_which_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--start"):
        build_network("opn-tcn", TCN_TINY)
    torch.manual_seed(1)
    opn = build_network("opn", OPN_TINY)
    assert isinstance(opn, OPN)
    network = build_network("opn-tcn", TCN_TINY, start=_weights(tmp_path / "opn.safetensors", opn))
    assert isinstance(network, OPNTCN)
    before = network.temporal.decoder.rgb.conv.weight.detach().clone()
    recipe = replace(TCN_TINY, n_steps=2)
    Trainer(network, "opn-tcn", tiny_data(), recipe, tmp_path / "run").run()
    assert all(torch.equal(tensor, network.opn.state_dict()[name]) for name, tensor in opn.state_dict().items())
    assert not torch.equal(network.temporal.decoder.rgb.conv.weight, before)
    assert {"short", "long"} <= read_metrics(tmp_path / "run")[0].keys()
    again = build_network("opn-tcn", TCN_TINY, is_resumed=True)
    Trainer(again, "opn-tcn", tiny_data(), replace(recipe, n_steps=3), tmp_path / "run", resume=True).run()
    assert torch.equal(again.get_parameter("opn.encoder.key.conv.weight"), opn.encoder.key.conv.weight)
    assert build("opn-tcn", tmp_path / "run" / "opn-tcn.safetensors", sha256="").sizes == network.sizes


def test_the_parts_to_compile_are_those_that_are_called() -> None:
    network = build_network("opn-tcn", TCN_TINY, is_resumed=True)
    assert isinstance(network, OPNTCN)
    assert called_parts(network) == [network.opn.encoder, network.opn.decoder, network.temporal]


@pytest.mark.parametrize("name", RECIPE_NAMES)
@pytest.mark.parametrize("model", ["opn", "opn-tcn"])
def test_recipes_train_onion_peel_at_full_width_but_for_the_tests(model: str, name: str) -> None:
    recipe = find_recipe(name, model=model)
    assert recipe.name == name
    n_others = [stage.n_references or (stage.n_targets - 1) * stage.spread_targets for stage in recipe.stages]
    assert all(n in (3, 4) for n in n_others)
    network = build_network(model, recipe, is_resumed=True)
    n_weights = sum(p.numel() for p in network.parameters())
    if name == "tiny":
        assert n_weights < 50_000
    else:
        temporal = {"cpu": 2_661_254, "gpu": 11_156_806}[name]
        assert n_weights == 3_420_422 + (temporal if model == "opn-tcn" else 0)
    assert isinstance(recipe.stages[0], Stage)
