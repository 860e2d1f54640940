"""Training peel by peel: references from near and far, losses of all peels, the two networks one after the other."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.train.models import tiny_data
from vidfill.errors import UsageError
from vidfill.models.base import ClipSource, Step, WindowSpec, recur
from vidfill.models.checkpoint import build
from vidfill.models.opn.model import OPN, Peeling
from vidfill.models.opn.tcn import OPNTCN
from vidfill.train import RECIPE_NAMES, find_recipe, find_training
from vidfill.train.batch import Batch, BatchMotion
from vidfill.train.clips import ClipSamples
from vidfill.train.command import build_network
from vidfill.train.objective import Chunk, Critics, Judges, loss_terms
from vidfill.train.opn.recipes import TCN_TINY, TINY
from vidfill.train.opn.training import total_variation
from vidfill.train.parallel import Ranks
from vidfill.train.report import read_metrics
from vidfill.train.trainer import Trainer, called_parts
from vidfill.weights import Checkpoint, save_weights

TRAINING, TCN_TRAINING = (find_training(model) for model in ("opn", "opn-tcn"))
JUDGES = Judges(Critics(TINY), None, nullcontext)


def test_spread_targets_take_no_references_beside_them() -> None:
    stage = replace(TINY.stages[0], n_targets=3, spread_targets=True)
    assert replace(TINY, stages=(replace(stage, n_references=0),)).stages[0].spread_targets
    with pytest.raises(ValueError, match="each other's references"):
        replace(TINY, stages=(replace(stage, n_references=2),))


def _terms(fills: list[Tensor], peels: list[Tensor], *names: str) -> dict[str, float]:
    """Terms of one frame of grey, with a hole of four pixels."""
    truth, hole = torch.full((1, 1, 3, 4, 4), 0.5), torch.zeros(1, 1, 1, 4, 4)
    hole[..., 1:3, 1:3] = 1
    step = Step(torch.zeros(1, 3, 4, 4), record=Peeling(tuple(fills), tuple(peels)))
    batch = Batch(truth, hole, range(1), WindowSpec())
    chunk = Chunk([(0, step)], batch, BatchMotion(batch), JUDGES)
    return {name: float(term) for name, term in loss_terms(chunk, dict.fromkeys(names, 1.0), TRAINING.terms).items()}


def test_the_losses_of_all_peels_are_summed() -> None:
    peels = [torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)]
    peels[0][..., 1, 1:3] = 1
    peels[1][..., 2, 1:3] = 1
    fills = [torch.full((1, 3, 4, 4), 0.6), torch.full((1, 3, 4, 4), 0.2)]
    terms = _terms(fills, peels, "peel", "valid", "variation")
    assert terms == pytest.approx({"peel": 0.4, "valid": 0.4, "variation": 0}, abs=1e-5)
    fills[0][..., 1, 1] = 0.9
    assert _terms(fills, peels, "peel")["peel"] == pytest.approx((0.4 + 0.1) / 2 + 0.3)
    assert _terms([], [], "peel") == {"peel": 0}


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
    torch.manual_seed(0)
    network = build_network("opn", replace(TINY, sizes={"half": 8, "channels": 16})).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=6e-3)
    batch = ClipSamples(tiny_data(), TINY, network.spec).draw(TINY.stages[0], step=0, ranks=Ranks())
    losses = []
    for _ in range(20):
        source = ClipSource(network, batch.clip, batch.holes)
        outputs = list(recur(network, source, targets=batch.targets, spec=batch.window))
        loss = loss_terms(Chunk(outputs, batch, BatchMotion(batch), JUDGES), {"peel": 1.0}, TRAINING.terms)["peel"]
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
            network = build_network("opn", TINY)
            is_second = stop != stops[0]
            trainer = Trainer(network, "opn", TRAINING, tiny_data(), TINY, tmp_path / name, resume=is_second)
            calls = iter(range(100))
            trainer.run(should_stop=lambda calls=calls, stop=stop: next(calls) == stop)  # type: ignore[misc]
        states.append(trainer.state.averaged.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert {"peel", "valid", "variation"} <= read_metrics(tmp_path / "whole")[0].keys()


def test_the_temporal_network_is_trained_after_opn(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--start"):
        build_network("opn-tcn", TCN_TINY)
    torch.manual_seed(1)
    opn = build_network("opn", TINY)
    assert isinstance(opn, OPN)
    network = build_network("opn-tcn", TCN_TINY, start=_weights(tmp_path / "opn.safetensors", opn))
    assert isinstance(network, OPNTCN)
    before = network.temporal.decoder.rgb.conv.weight.detach().clone()
    recipe = replace(TCN_TINY, n_steps=2)
    Trainer(network, "opn-tcn", TCN_TRAINING, tiny_data(), recipe, tmp_path / "run").run()
    assert all(torch.equal(tensor, network.opn.state_dict()[name]) for name, tensor in opn.state_dict().items())
    assert not torch.equal(network.temporal.decoder.rgb.conv.weight, before)
    assert {"short", "long"} <= read_metrics(tmp_path / "run")[0].keys()
    again = build_network("opn-tcn", TCN_TINY, is_resumed=True)
    Trainer(
        again, "opn-tcn", TCN_TRAINING, tiny_data(), replace(recipe, n_steps=3), tmp_path / "run", resume=True
    ).run()
    assert torch.equal(again.get_parameter("opn.encoder.key.conv.weight"), opn.encoder.key.conv.weight)
    assert build("opn-tcn", tmp_path / "run" / "opn-tcn.safetensors", sha256="").sizes == network.sizes


def test_the_parts_to_compile_are_those_that_are_called() -> None:
    network = build_network("opn-tcn", TCN_TINY, is_resumed=True)
    assert isinstance(network, OPNTCN)
    assert called_parts(network) == [network.opn.encoder, network.opn.decoder, network.temporal]


@pytest.mark.parametrize("name", RECIPE_NAMES)
@pytest.mark.parametrize("model", ["opn", "opn-tcn"])
def test_recipes_train_onion_peel_at_full_width_but_for_the_tests(model: str, name: str) -> None:
    recipe = find_recipe(model, name)
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
