"""Attention is told where the truth lies: against motion that is known."""

import math
from contextlib import nullcontext
from typing import cast

import pytest
import torch
from torch import Tensor

from tests.train.models import tiny_data
from vidfill.models.base import ClipSource, Step, WindowSpec, recur
from vidfill.models.opn.attention import Bank, PeelQueries
from vidfill.models.opn.model import OPN, OPNSizes, Peeling
from vidfill.train.batch import Batch, BatchMotion
from vidfill.train.clips import ClipSamples
from vidfill.train.objective import Chunk, Critics, Judges
from vidfill.train.opn.matching import match_term
from vidfill.train.opn.recipes import TINY
from vidfill.train.parallel import Ranks
from vidfill.train.recipe import Stage

HEIGHT, WIDTH = 4, 6
N_CELLS = HEIGHT * WIDTH
BATCH = 2
JUDGES = Judges(Critics(TINY), None, nullcontext)


class _Motion:
    """Everything moves by so many pixels, and is visible or not."""

    def __init__(self, right: float, down: float, *, visible: float = 1.0) -> None:
        self.flow = (
            torch.tensor([right, down], dtype=torch.float32).view(1, 2, 1, 1).expand(BATCH, 2, 4 * HEIGHT, 4 * WIDTH)
        )
        self.visible = torch.full((BATCH, 1, 4 * HEIGHT, 4 * WIDTH), float(visible))

    def between(self, at: int, to: int) -> tuple[Tensor, Tensor]:
        return self.flow, self.visible


def _loss(
    queries: Tensor,
    keys: Tensor,
    motion: _Motion,
    *,
    cells: list[int],
    usable: Tensor | None = None,
    has_any: Tensor | None = None,
) -> Tensor:
    """Of the same questions in both samples."""
    asked = PeelQueries(queries, torch.tensor([cells] * BATCH), torch.ones(BATCH, len(cells), dtype=torch.bool))
    usable = torch.ones(BATCH, keys.shape[1], dtype=torch.bool) if usable is None else usable
    bank = Bank(
        keys, keys, usable[:, None, None], (torch.ones(BATCH) if has_any is None else has_any).view(BATCH, 1, 1)
    )
    fill = torch.zeros(BATCH, 3, 4 * HEIGHT, 4 * WIDTH)
    record = Peeling((), (), (asked,), bank, tuple(range(1, 1 + keys.shape[1] // N_CELLS)))
    batch = Batch(fill[:, None], fill[:, None, :1], range(1), WindowSpec())
    return match_term(Chunk([(0, Step(fill, record=record))], batch, cast("BatchMotion", motion), JUDGES))


def _distinct(n: int) -> Tensor:
    """Keys of which each answers its own question alone, through the whole batch."""
    return 20 * torch.eye(BATCH * n).view(BATCH, n, BATCH * n)


def test_a_question_that_finds_the_moved_cell_costs_nothing() -> None:
    keys = _distinct(N_CELLS)
    cell = WIDTH + 1
    right = _loss(keys[:, [cell + WIDTH + 2]], keys, _Motion(8, 4), cells=[cell])
    wrong = _loss(keys[:, [cell]], keys, _Motion(8, 4), cells=[cell])
    assert float(right) < 1e-4
    assert float(wrong) == pytest.approx(400 / math.sqrt(BATCH * N_CELLS), abs=0.1)


def test_between_two_cells_either_is_half_right() -> None:
    keys = _distinct(N_CELLS)
    assert float(_loss(keys[:, [3]], keys, _Motion(2, 0), cells=[2])) == pytest.approx(math.log(2), abs=1e-4)
    assert float(_loss(keys[:, [2]], keys, _Motion(2, 0), cells=[2])) == pytest.approx(math.log(2), abs=1e-4)


def test_the_softmax_goes_over_all_samples() -> None:
    """Keys that are all alike give each of them the same attention."""
    keys = torch.ones(BATCH, 3 * N_CELLS, 5)
    loss = _loss(keys[:, :1], keys, _Motion(0, 0), cells=[4])
    assert float(loss) == pytest.approx(math.log(BATCH * 3 * N_CELLS / 3), abs=1e-4)


def test_what_a_reference_does_not_know_or_show_is_no_answer() -> None:
    keys, usable = _distinct(2 * N_CELLS), torch.ones(BATCH, 2 * N_CELLS, dtype=torch.bool)
    question = keys[:, [N_CELLS + 5]]
    assert float(_loss(question, keys, _Motion(0, 0), cells=[5])) == pytest.approx(0, abs=1e-4)
    usable[:, 5] = False
    assert float(_loss(question, keys, _Motion(0, 0), cells=[5], usable=usable)) == pytest.approx(0, abs=1e-4)
    usable[:, N_CELLS + 5] = False
    assert float(_loss(question, keys, _Motion(0, 0), cells=[5], usable=usable)) == 0
    assert float(_loss(question, keys, _Motion(4 * WIDTH, 0), cells=[5])) == 0
    assert float(_loss(question, keys, _Motion(0, 0, visible=0), cells=[5])) == 0


def test_a_sample_that_knows_nothing_does_not_count() -> None:
    """Its bank counts all of its cells as usable, so that a softmax over it is defined."""
    keys = torch.ones(BATCH, N_CELLS, 5)
    loss = _loss(keys[:, :1], keys, _Motion(0, 0), cells=[4], has_any=torch.tensor([1.0, 0.0]))
    assert float(loss) == pytest.approx(math.log(N_CELLS), abs=1e-4)


def test_the_matches_of_one_batch_can_be_learned() -> None:
    torch.manual_seed(0)
    network = OPN(OPNSizes(half=8, channels=16)).train()
    stage = Stage("s", 1.0, batch=2, crop_px=32, loss={}, n_targets=3, synthetic_ratio=1, spread_targets=True)
    batch = ClipSamples(tiny_data(), TINY, network.spec).draw(stage, step=0, ranks=Ranks())
    motion = BatchMotion(batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(20):
        source = ClipSource(network, batch.clip, batch.holes)
        outputs = list(recur(network, source, targets=batch.targets, spec=batch.window))
        loss = match_term(Chunk(outputs, batch, motion, JUDGES))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
