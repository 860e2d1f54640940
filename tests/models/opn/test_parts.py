"""Peels, attention and the choice of references, each against what is known beforehand."""

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from vidfill.models.base import ReferenceSpec, View
from vidfill.models.opn import attention
from vidfill.models.opn.attention import TILE_BYTES, EncodedFrame, gather, read
from vidfill.models.opn.network import PeelDecoder, PeelEncoder
from vidfill.models.opn.peels import grown, in_pixels, peel, shrink, within
from vidfill.models.opn.references import choose, moved, shifts, spectrum


def _holes(*boxes: tuple[int, int, int, int], height: int = 64, width: int = 64) -> Tensor:
    """One sample a box (top, bottom, left, right)."""
    holes = torch.zeros(len(boxes), 1, height, width)
    for hole, (top, bottom, left, right) in zip(holes, boxes, strict=True):
        hole[:, top:bottom, left:right] = 1
    return holes


def test_peels_are_rings_of_eight_pixels() -> None:
    peels = peel(_holes((10, 50, 8, 48)), thickness_px=8, n_max=16)
    assert len(peels) == 3  # 20 pixels deep
    distance = torch.minimum(torch.arange(40), torch.arange(40).flip(0)) + 1
    ring = (torch.minimum(distance[:, None], distance[None]) - 1) // 8
    for number, part in enumerate(peels):
        assert torch.equal(part.mask[0, 0, 10:50, 8:48], (ring == number).float())
    assert torch.equal(torch.stack([part.mask for part in peels]).sum(dim=0), _holes((10, 50, 8, 48)))
    assert peels[0].around == (2, 13, 2, 12)
    assert peels[2].around == (6, 9, 6, 8)


def test_the_last_peel_takes_what_is_left() -> None:
    hole = _holes((2, 62, 2, 62))
    few = peel(hole, thickness_px=8, n_max=2)
    assert len(few) == 2
    assert torch.equal(few[0].mask + few[1].mask, hole)
    assert float(few[1].mask.sum()) == 44 * 44


def test_peels_of_unequal_samples_leave_the_shallow_one_empty() -> None:
    first, second = peel(_holes((10, 34, 10, 34), (4, 8, 4, 12)), thickness_px=8, n_max=16)
    assert float(second.mask[1].sum()) == 0
    assert first.cells.shape[0] == 2
    assert first.counts.sum(dim=1).tolist() == [first.cells.shape[1], 2]
    assert first.cells[1, :2].tolist() == [16 + 1, 16 + 2]
    assert second.counts.sum(dim=1).tolist() == [second.cells.shape[1], 0]


def test_nothing_to_peel_and_nothing_but_hole() -> None:
    assert peel(torch.zeros(2, 1, 16, 16), thickness_px=8, n_max=16) == []
    (whole,) = peel(torch.ones(1, 1, 16, 16), thickness_px=8, n_max=16)
    assert float(whole.mask.sum()) == 256
    assert whole.around == (0, 4, 0, 4)


def test_cells_are_found_again_in_a_block() -> None:
    values = torch.arange(6 * 9).view(6, 9)
    block = grown((2, 4, 3, 5), 1, (6, 9))
    assert block == (slice(1, 5), slice(2, 6))
    assert in_pixels(block) == (slice(4, 20), slice(8, 24))
    cells = torch.tensor([[2 * 9 + 3, 4 * 9 + 5, 0]])
    assert values[block].flatten()[within(cells, 9, block)].tolist() == [[21, 41, values[1, 2]]]


def _references(n: int, *, batch: int = 1, channels: int = 8, size: tuple[int, int] = (6, 7)) -> list[EncodedFrame]:
    torch.manual_seed(n)
    shape = (batch, channels, *size)
    return [
        EncodedFrame(torch.randn(shape), torch.randn(shape), torch.rand(batch, 1, *size) > 0.3, torch.zeros(0))
        for _ in range(n)
    ]


def _plain(references: list[EncodedFrame], queries: Tensor) -> Tensor:
    """Equations 1 and 2, sample by sample, pixel by pixel."""
    answers = torch.zeros_like(queries)
    for b in range(len(queries)):
        keys = torch.cat([r.key[b][:, r.known[b, 0]] for r in references], dim=1)
        values = torch.cat([r.value[b][:, r.known[b, 0]] for r in references], dim=1)
        for q, query in enumerate(queries[b]):
            weights = torch.exp(query @ keys / queries.shape[2] ** 0.5)
            answers[b, q] = values @ weights / weights.sum()
    return answers


@pytest.mark.parametrize("tile_bytes", [1, 4000, TILE_BYTES])
def test_attention_is_exact_however_it_is_cut_into_tiles(tile_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "TILE_BYTES", tile_bytes)
    references, queries = _references(3, batch=2), 3 * torch.randn(2, 11, 8)
    assert torch.allclose(read(gather(references), queries), _plain(references, queries), atol=1e-5)


def test_a_sample_without_known_pixels_has_a_gradient() -> None:
    references = _references(2, batch=2)
    references = [r._replace(key=r.key.requires_grad_()) for r in references]
    for reference in references:
        reference.known[1] = False
    queries = torch.randn(2, 5, 8, requires_grad=True)
    answers = read(gather(references), queries)
    assert torch.equal(answers[1], torch.zeros(5, 8))
    answers.square().sum().backward()  # type: ignore[no-untyped-call]
    assert queries.grad is not None
    assert bool(queries.grad.isfinite().all())
    assert float(queries.grad[0].abs().sum()) > 0


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch has no types here
    """The bytes of the largest tensor that any operation gives back."""

    n_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        for value in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(value, Tensor):
                self.n_bytes = max(self.n_bytes, value.nbytes)
        return made


def test_without_a_fused_kernel_no_matrix_is_larger_than_a_tile() -> None:
    references = _references(4, size=(60, 108))
    queries = torch.randn(1, 350, 8)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _Largest() as largest:  # type: ignore[no-untyped-call]
        read(gather(references), queries)
    assert 0.5 * TILE_BYTES < largest.n_bytes <= TILE_BYTES < 350 * 4 * 60 * 108 * 4


_PEAK = """
import resource, torch
from vidfill.models.opn.attention import EncodedFrame, gather, read
keys, known = torch.randn(1, 16, 100, 200), torch.ones(1, 1, 100, 200, dtype=torch.bool)
one = EncodedFrame(keys, keys, known, torch.zeros(0))
bank, queries = gather([one] * 4), torch.randn(1, 1500, 16)
with torch.inference_mode():
    read(bank, queries[:, :100])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read(bank, queries)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_peak_memory_is_that_of_a_tile() -> None:
    ran = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 60, "MB; the whole matrix has 458"


def _view(index: int, known: Tensor) -> View:
    empty = torch.zeros(0)
    return View(index, empty, empty, EncodedFrame(empty, empty, known, torch.zeros(1, 1, 6, dtype=torch.complex64)))


def _known(*missing: tuple[int, int]) -> Tensor:
    """A row of ten cells of which some ranges are missing."""
    known = torch.ones(1, 1, 1, 10, dtype=torch.bool)
    for left, right in missing:
        known[..., left:right] = False
    return known


def test_references_are_chosen_that_together_uncover_the_hole() -> None:
    target = _view(50, _known((2, 8)))
    bank = [_view(i, _known((2, 8))) for i in range(0, 100, 5) if i != 50]
    bank[3] = _view(15, _known((4, 8)))  # shows the hole's left end
    bank[17] = _view(90, _known((2, 4)))  # and this one the rest
    chosen = [view.index for view in choose(target, bank, n_max=2)]
    assert chosen == [15, 90]


def test_the_rest_of_the_budget_is_spread_over_time() -> None:
    target = _view(50, _known((2, 8)))
    bank = [_view(i, _known((2, 8))) for i in range(0, 101, 5) if i != 50]
    chosen = [view.index for view in choose(target, bank, n_max=6)]
    assert chosen[0] == 0
    assert chosen[-1] == 100
    assert len(chosen) == 6
    offsets = np.array(chosen) - 50
    assert (offsets < 0).sum() == (offsets > 0).sum() == 3
    assert np.abs(offsets).min() <= 10


def _panned(offsets: Sequence[tuple[int, int]]) -> tuple[list[Tensor], Tensor]:
    """Smooth noise seen through a window that moves by whole cells, and the same hole in the middle of each."""
    torch.manual_seed(0)
    world = torch.nn.functional.interpolate(torch.rand(1, 3, 60, 80), scale_factor=8, mode="bicubic").clamp(0, 1)
    hole = torch.zeros(1, 1, 240, 432)
    hole[..., 80:140, 160:200] = 1
    crops = [world[..., 100 + 4 * y : 340 + 4 * y, 100 + 4 * x : 532 + 4 * x] for y, x in offsets]
    return [crop * (1 - hole) for crop in crops], hole


def test_the_shift_is_found_beside_a_hole_that_stays() -> None:
    offsets = [(0, 0), (0, 6), (-4, 2), (9, -21)]
    frames, hole = _panned(offsets)
    spectra = torch.stack([spectrum(frame, hole) for frame in frames])
    assert shifts(spectra[0], spectra, (60, 108))[:, 0].tolist() == [list(offset) for offset in offsets]
    other = spectrum(torch.rand(1, 3, 240, 432) * (1 - hole), hole)
    assert shifts(other, spectra, (60, 108)).abs().max() == 0, "nothing in common"


def test_what_is_moved_in_from_beyond_the_edge_is_not_known() -> None:
    known = torch.ones(1, 3, 4, dtype=torch.bool)
    known[0, 1, 1] = False
    assert moved(known, 1, -1)[0].int().tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0]]
    assert moved(known, 5, 0).sum() == 0


def test_a_following_camera_uncovers_the_background() -> None:
    offsets = [(0, 0), *((0, x) for x in (1, 2, 3, 4)), (0, 5), (0, -5), *((0, x) for x in (-1, -2, -3))]
    frames, hole = _panned(offsets)
    known = shrink(hole) <= 0
    empty = torch.zeros(0)
    views = [
        View(t, empty, empty, EncodedFrame(empty, empty, known, spectrum(frame, hole)))
        for t, frame in enumerate(frames)
    ]
    chosen = [offsets[view.index] for view in choose(views[0], views[1:], n_max=2)]
    assert chosen == [(0, 5), (0, -5)], "each half of the hole, ten cells wide"


def test_all_references_are_read_where_the_budget_allows() -> None:
    bank = [_view(i, _known()) for i in (0, 5, 10)]
    assert choose(_view(3, _known((2, 8))), bank, n_max=3) == bank


def test_the_bank_of_a_segment_stays_within_its_limit() -> None:
    spec = ReferenceSpec(stride=5, most=8)
    assert list(spec.bank(23)) == [0, 5, 10, 15, 20]
    assert spec.indices(10, 23) == (0, 5, 15, 20)
    for n_frames in (40, 41, 100, 336, 10_000):
        bank = spec.bank(n_frames)
        assert len(bank) <= 8
        assert bank[-1] >= 0.85 * (n_frames - 1) - 5
        assert set(spec.indices(3, n_frames)) == set(bank) - {3}
    with pytest.raises(ValueError, match="most"):
        ReferenceSpec(stride=5, most=0)
    with pytest.raises(ValueError, match="most"):
        ReferenceSpec(stride=5, most=4, reach=10)


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_a_new_network_keeps_the_scale_of_its_input(scale: float) -> None:
    torch.manual_seed(0)
    encoder, decoder = PeelEncoder(16, 32), PeelDecoder(16, 32)
    with torch.no_grad():
        _, value = encoder(scale * torch.randn(1, 5, 128, 128))
        decoded = decoder(value)
    assert 0.3 * scale < float(value.std()) < 2 * scale
    assert 0.02 * scale < float(decoded.std()) < 0.3 * scale, "near the mean colour"
