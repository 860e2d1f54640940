"""Measured motion is right where it is trusted, and not trusted where it cannot be known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from tests.train.models import TinyModel, tiny_data
from vidfill.models.base import WindowSpec
from vidfill.train.batch import Batch, BatchMotion, trusted
from vidfill.train.clips import ClipSamples
from vidfill.train.parallel import Ranks
from vidfill.train.recipe import TINY, Stage
from vidfill.train.synthesis import exact_flow

SIDE, SPEED_PX = 80, 3
TARGET, SOURCE = 2, 0
THERE_AND_BACK = [(TARGET, SOURCE), (SOURCE, TARGET)]


def _pan() -> Tensor:
    """(1, 3, 3, SIDE, SIDE): a texture that moves to the left by SPEED_PX a frame."""
    coarse = torch.rand(1, 3, 24, 30, generator=torch.Generator().manual_seed(0))
    wide = F.interpolate(coarse, size=(SIDE, SIDE + 2 * SPEED_PX), mode="bicubic").clamp(0, 1)[0]
    return torch.stack([wide[..., SPEED_PX * t : SPEED_PX * t + SIDE] for t in range(3)]).unsqueeze(0)


def _batch(clip: Tensor) -> Batch:
    """A batch of one real clip."""
    grays = (255 * clip.mean(dim=2)).round().to(torch.uint8).numpy()
    return Batch(clip, torch.zeros_like(clip[:, :, :1]), range(3), WindowSpec(), grays=grays)


def _drawn(n_samples: int, *, step: int, synthetic_ratio: float = 0.5) -> Batch:
    stage = Stage("s", 1.0, n_samples, 32, loss={}, n_targets=2, synthetic_ratio=synthetic_ratio)
    return ClipSamples(tiny_data(), TINY, TinyModel().spec).draw(stage, step=step, ranks=Ranks())


def _between(clip: Tensor) -> tuple[Tensor, Tensor]:
    motion = BatchMotion(_batch(clip))
    motion.measure(THERE_AND_BACK)
    return motion.between(TARGET, SOURCE)


def test_a_pan_is_measured_where_both_frames_show_it() -> None:
    flow, visible = _between(_pan())
    truth = torch.tensor([2.0 * SPEED_PX, 0.0]).view(1, 2, 1, 1)
    error = (flow - truth).norm(dim=1, keepdim=True)
    assert visible.mean() > 0.8
    assert (error * visible).sum() / visible.sum() < 0.3
    assert visible[..., SIDE - 2 * SPEED_PX + 1 :].sum() == 0, "what has left the frame is not seen in it"


@pytest.mark.parametrize("fault", ["other texture", "brighter"])
def test_what_the_source_lacks_is_not_trusted(fault: str) -> None:
    clip = _pan()
    covered = clip[:, SOURCE, :, 20:60, 20:60]
    if fault == "other texture":
        covered.copy_(torch.rand(covered.shape, generator=torch.Generator().manual_seed(1)))
    else:
        covered.add_(0.3).clamp_(max=1)
    _, visible = _between(clip)
    there = (slice(None), slice(None), slice(24, 56), slice(24 - 2 * SPEED_PX, 56 - 2 * SPEED_PX))
    assert visible[there].mean() < 0.1
    assert visible.mean() > 0.3


def test_forward_and_backward_flow_must_agree() -> None:
    plain = torch.full((1, 3, 20, 20), 0.5)
    there = torch.zeros(1, 2, 20, 20)
    there[:, 0] = 3.0
    back = -there
    back[:, 0, :10] += 1.0
    seen = trusted(plain, plain, there, back)[0, 0]
    # 1 px is more than 0.01 (9 + 4) + 0.5 px squared.
    assert seen[:10].sum() == 0
    assert seen[11:, :17].all()
    assert seen[:, 17:].sum() == 0, "outside the frame there is nothing"


def test_without_the_flow_back_nothing_is_trusted() -> None:
    motion = BatchMotion(_batch(_pan()))
    assert not any(tensor.any() for tensor in motion.between(TARGET, SOURCE))
    motion.measure([(TARGET, SOURCE)])
    flow, visible = motion.between(TARGET, SOURCE)
    assert abs(float(flow[:, 0].median()) - 2 * SPEED_PX) < 0.3
    assert not visible.any()


def test_synthetic_samples_keep_their_exact_motion() -> None:
    batch = _drawn(6, step=1)
    assert batch.scene is not None
    assert 0 < len(batch.synthetic) < 6
    assert batch.grays.shape == (6 - len(batch.synthetic), batch.clip.shape[1], 32, 32)
    motion = BatchMotion(batch)
    motion.measure(THERE_AND_BACK)
    flow, visible = motion.between(TARGET, SOURCE)
    rows = list(batch.synthetic)
    assert all(map(torch.equal, (flow[rows], visible[rows]), exact_flow(batch.scene, TARGET, SOURCE)))
    real = [i for i in range(6) if i not in rows]
    assert visible[real].any()


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = _between(_pan())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert all(map(torch.equal, alone, _between(_pan())))


def test_the_grays_are_those_of_the_clips() -> None:
    batch = _drawn(2, step=0, synthetic_ratio=0.0)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    expected = (255 * (batch.clip * weights).sum(dim=2)).numpy()
    assert np.abs(batch.grays - expected).max() <= 0.51
