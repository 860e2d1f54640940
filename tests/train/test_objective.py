"""Which terms there are, and that real clips teach motion."""

import pytest
import torch
from torch import Tensor

from tests.train.models import Motion, TinyModel, tiny_data
from vidfill.evaluate.features import load_features
from vidfill.models.base import Step
from vidfill.train.batch_motion import BatchMotion
from vidfill.train.batches import Batch, Shape, make_batch
from vidfill.train.critics import PictureCritics
from vidfill.train.objective import loss_terms, picture_critic_loss, weighted_sum
from vidfill.train.picture_objective import Judges
from vidfill.train.recipes import TINY, LossWeights

SPEC = TinyModel().spec
N_TARGETS = 4


def _batch(*, synthetic_share: float) -> Batch:
    shape = Shape(n_samples=2, n_targets=N_TARGETS, size=(32, 32), synthetic_share=synthetic_share)
    return make_batch(tiny_data(), TINY, SPEC, shape, step=3)


def _outputs(batch: Batch, flow: Tensor | None = None) -> list[tuple[int, Step]]:
    """Fills that are the truth, with one scale of flows, of half the frame's size, to both neighbours."""
    flow = torch.zeros(2 * 2, 2, 16, 16) if flow is None else flow
    return [(t, Step(batch.clip[:, t], record=Motion((flow,)))) for t in batch.targets]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_true_motion_has_the_smallest_loss_on_real_as_on_synthetic_clips(share: float) -> None:
    batch = _batch(synthetic_share=share)
    motion = BatchMotion(batch)
    last = batch.targets[-1]
    sources = SPEC.neighbour_indices(last, batch.clip.shape[1])
    motion.measure([(last, source) for source in sources])
    truth = torch.cat([motion.between(last, source)[0] for source in sources])
    right = torch.nn.functional.adaptive_avg_pool2d(truth, (16, 16)) / 2
    weights = LossWeights(frame=0, ssim=0, hole=0, short=0, long=0)
    wrong = torch.zeros_like(right).requires_grad_()
    outputs = [(t, Step(batch.clip[:, t], record=Motion((wrong,)))) for t in batch.targets]
    losses = [loss_terms(made[-1:], batch, SPEC, weights, None)["flow"] for made in (_outputs(batch, right), outputs)]
    assert losses[0] < 0.3 * losses[1]
    losses[1].backward()  # type: ignore[no-untyped-call]
    assert wrong.grad is not None
    assert wrong.grad.abs().sum() > 0


def test_terms_of_weight_zero_are_left_out_and_the_rest_is_summed() -> None:
    batch = _batch(synthetic_share=0.5)
    weights = LossWeights(frame=2.0, ssim=0.0, hole=0.0, flow=0.5, short=1.0, long=0.0)
    terms = loss_terms(_outputs(batch), batch, SPEC, weights, None)
    assert terms.keys() == {"frame", "flow", "short"}
    expected = 2.0 * terms["frame"] + 0.5 * terms["flow"] + terms["short"]
    assert torch.allclose(weighted_sum(terms, weights), expected)


@pytest.mark.parametrize(("n_outputs", "names"), [(1, set()), (2, {"short"}), (3, {"short", "long"})])
def test_the_warping_terms_need_outputs_to_compare(n_outputs: int, names: set[str]) -> None:
    batch = _batch(synthetic_share=0.0)
    weights = LossWeights(frame=0, ssim=0, hole=0, flow=0)
    assert loss_terms(_outputs(batch)[:n_outputs], batch, SPEC, weights, None).keys() == names


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_flicker_costs_in_the_warping_terms(share: float) -> None:
    batch = _batch(synthetic_share=share)
    weights = LossWeights(frame=0, ssim=0, hole=0, flow=0)
    steady = _outputs(batch)
    flicker = [(t, step._replace(fill=step.fill + 0.2 * (t % 2))) for t, step in steady]
    calm, restless = (loss_terms(outputs, batch, SPEC, weights, None) for outputs in (steady, flicker))
    assert calm["short"] < 0.2 * restless["short"]
    assert calm["long"] < 0.2 * restless["long"]


def test_clips_can_be_trained_with_every_term_of_pictures() -> None:
    torch.manual_seed(0)
    weights = LossWeights(
        frame=0, ssim=0, hole=0, flow=0, short=0, long=0, rim=1, known=1, feature=1, patches=1, matching=1, projected=1
    )
    batch = _batch(synthetic_share=0.5)
    critics = PictureCritics(2)
    judges = Judges(load_features(), critics)
    fills = [torch.rand_like(batch.clip[:, t]).requires_grad_() for t in batch.targets]
    outputs = [(t, Step(fill)) for t, fill in zip(batch.targets, fills, strict=True)]
    terms = loss_terms(outputs, batch, SPEC, weights, None, judges)
    assert terms.keys() == {"rim", "known", "feature", "patches", "matching", "projected"}
    weighted_sum(terms, weights).backward()  # type: ignore[no-untyped-call]
    assert all(fill.grad is not None and fill.grad.abs().sum() > 0 for fill in fills)
    critics.zero_grad()
    picture_critic_loss(outputs, batch, weights, judges).backward()  # type: ignore[no-untyped-call]
    heads = [p for p in critics.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in heads)
    perfect = [(t, Step(batch.clip[:, t])) for t in batch.targets]
    with torch.no_grad():
        best = loss_terms(perfect, batch, SPEC, weights, None, judges)
    assert all(
        float(best[name]) < 1e-5 < float(terms[name].detach()) for name in ("rim", "known", "feature", "matching")
    )
