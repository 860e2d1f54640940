"""Which terms there are, and that real clips teach motion."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.train.models import TRAINING, TinyModel, tiny_data
from vidfill.evaluate.features import load_features
from vidfill.models.base import Step
from vidfill.models.vinet.model import Motion
from vidfill.train.batch import Batch, BatchMotion
from vidfill.train.clips import ClipSamples
from vidfill.train.objective import Chunk, Critics, Judges, critic_losses, loss_terms, weighted_sum
from vidfill.train.parallel import Ranks
from vidfill.train.recipe import TINY, Recipe, Stage

SPEC = TinyModel().spec
STAGE = Stage("s", 1.0, batch=2, crop_px=32, loss={}, n_targets=4)
PICTURE_LOSS = dict.fromkeys(("rim", "known", "feature", "patches", "matching", "projected"), 1.0)
WARP_LOSS = {"short": 1.0, "long": 1.0}


def _recipe(loss: dict[str, float]) -> Recipe:
    return replace(TINY, critic_width=2, stages=(replace(STAGE, loss=loss),))


def _judges(loss: dict[str, float], *, has_features: bool = False) -> Judges:
    return Judges(Critics(_recipe(loss)), load_features() if has_features else None, nullcontext)


NO_JUDGES = _judges({})


def _batch(*, synthetic_ratio: float) -> Batch:
    stage = replace(STAGE, synthetic_ratio=synthetic_ratio)
    return ClipSamples(tiny_data(), TINY, SPEC).draw(stage, step=3, ranks=Ranks())


def _chunk(batch: Batch, steps: list[Step], judges: Judges = NO_JUDGES) -> Chunk:
    return Chunk(list(zip(batch.targets, steps, strict=False)), batch, BatchMotion(batch), judges)


def _perfect(batch: Batch, flow: Tensor | None = None) -> list[Step]:
    """Fills that are the truth, with one scale of flows, of half the frame's size, to both neighbours."""
    record = Motion((torch.zeros(2 * 2, 2, 16, 16) if flow is None else flow,))
    return [Step(batch.clip[:, t], record=record) for t in batch.targets]


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_the_true_motion_has_the_smallest_flow_loss(ratio: float) -> None:
    batch = _batch(synthetic_ratio=ratio)
    motion = BatchMotion(batch)
    first = batch.targets[0]
    sources = SPEC.neighbour_indices(first, batch.clip.shape[1])
    motion.measure([(first, source) for source in sources])
    truth = torch.cat([motion.between(first, source)[0] for source in sources])
    right = torch.nn.functional.adaptive_avg_pool2d(truth, (16, 16)) / 2
    wrong = torch.zeros_like(right).requires_grad_()
    losses = [
        loss_terms(_chunk(batch, _perfect(batch, flow)[:1]), {"flow": 1.0}, TRAINING.terms)["flow"]
        for flow in (right, wrong)
    ]
    assert losses[0] < 0.3 * losses[1]
    losses[1].backward()  # type: ignore[no-untyped-call]
    assert wrong.grad is not None
    assert wrong.grad.abs().sum() > 0


def test_terms_of_weight_zero_are_left_out_and_the_rest_is_summed() -> None:
    batch = _batch(synthetic_ratio=0.5)
    weights = {"frame": 2.0, "ssim": 0.0, "flow": 0.5, "short": 1.0}
    terms = loss_terms(_chunk(batch, _perfect(batch)), weights, TRAINING.terms)
    assert terms.keys() == {"frame", "flow", "short"}
    expected = 2.0 * terms["frame"] + 0.5 * terms["flow"] + terms["short"]
    assert torch.allclose(weighted_sum(terms, weights), expected)


@pytest.mark.parametrize(("n_outputs", "names"), [(1, set()), (2, {"short"}), (3, {"short", "long"})])
def test_the_warping_terms_need_outputs_to_compare(n_outputs: int, names: set[str]) -> None:
    batch = _batch(synthetic_ratio=0.0)
    assert loss_terms(_chunk(batch, _perfect(batch)[:n_outputs]), WARP_LOSS, {}).keys() == names


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_flicker_costs_in_the_warping_terms(ratio: float) -> None:
    batch = _batch(synthetic_ratio=ratio)
    steady = _perfect(batch)
    flicker = [step._replace(fill=step.fill + 0.2 * (t % 2)) for t, step in enumerate(steady)]
    calm, restless = (loss_terms(_chunk(batch, steps), WARP_LOSS, {}) for steps in (steady, flicker))
    assert calm["short"] < 0.2 * restless["short"]
    assert calm["long"] < 0.2 * restless["long"]


def test_clips_can_be_trained_with_every_discriminator() -> None:
    torch.manual_seed(0)
    weights = {**PICTURE_LOSS, "adversarial": 1.0}
    batch, judges = _batch(synthetic_ratio=0.5), _judges(weights, has_features=True)
    fills = [torch.rand_like(batch.clip[:, t]).requires_grad_() for t in batch.targets]
    chunk = _chunk(batch, [Step(fill) for fill in fills], judges)
    terms = loss_terms(chunk, weights, {})
    assert terms.keys() == weights.keys()
    weighted_sum(terms, weights).backward()  # type: ignore[no-untyped-call]
    assert all(fill.grad is not None and fill.grad.abs().sum() > 0 for fill in fills)
    judges.critics.zero_grad()
    losses = critic_losses(chunk, weights)
    assert losses.keys() == {"clip_critic", "patch_critic", "projected_critic"}
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    heads = [p for p in judges.critics.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in heads)
    with torch.no_grad():
        best = loss_terms(_chunk(batch, _perfect(batch), judges), PICTURE_LOSS, {})
    assert all(
        float(best[name]) < 1e-5 < float(terms[name].detach()) for name in ("rim", "known", "feature", "matching")
    )
