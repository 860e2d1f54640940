"""Holes and crops of single pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.train.models import tiny_data
from vidfill.errors import InputError
from vidfill.models.base import WindowSpec
from vidfill.train.painter.holes import HoleShapes, text
from vidfill.train.painter.recipes import TINY
from vidfill.train.painter.training import PictureBank, PictureSamples
from vidfill.train.parallel import Ranks


@pytest.fixture(scope="module")
def shapes() -> HoleShapes:
    return HoleShapes(tiny_data().silhouettes)


def test_holes_have_all_sizes_and_are_never_empty_nor_the_whole(shapes: HoleShapes) -> None:
    torch.manual_seed(0)
    holes = shapes.draw(64, (64, 96))
    assert holes.shape == (64, 1, 64, 96)
    assert bool(((holes == 0) | (holes == 1)).all())
    ratio = holes.mean(dim=(1, 2, 3))
    assert 0.003 <= float(ratio.min()) < 0.02
    assert 0.2 < float(ratio.max()) <= 0.6
    assert 0.05 < float(ratio.mean()) < 0.25
    assert float((holes.mean(dim=0) > 0).float().mean()) > 0.95, "they are everywhere"


def test_a_seed_draws_the_same(shapes: HoleShapes) -> None:
    def drawn() -> torch.Tensor:
        torch.manual_seed(3)
        return shapes.draw(4, (32, 48))

    assert torch.equal(drawn(), drawn())


def test_text_is_thin() -> None:
    rng = np.random.default_rng(0)
    shares = [text(rng, 128).mean() for _ in range(30)]
    assert min(shares) > 0.01
    assert max(shares) < 0.4


def test_crops_show_the_picture_itself() -> None:
    """A picture of two ramps tells where a crop was taken and how large it was."""
    y, x = np.mgrid[0:72, 0:100]
    ramps = torch.from_numpy(np.stack((x * 2, y * 2, 0 * x), axis=-1).astype(np.uint8))
    small = torch.zeros(30, 40, 3, dtype=torch.uint8)
    bank = PictureBank([small, ramps, ramps])
    torch.manual_seed(0)
    pictures = bank.cropped(torch.tensor([1] * 20), (48, 64), torch.rand(20, 4)) * 255 / 2
    across, down = pictures[:, 0].diff(dim=-1), pictures[:, 1].diff(dim=-2)
    zoom = down.mean(dim=(1, 2))
    assert 0.93 < float(zoom.min()) < float(zoom.max()) < 1.41
    assert torch.allclose(across.abs().mean(dim=(1, 2)), zoom, rtol=0.02), "the same across and down"
    assert (across.mean(dim=(1, 2)) < 0).any() and (across.mean(dim=(1, 2)) > 0).any(), "some are mirrored"
    assert bank.large_enough((48, 64)).tolist() == [1, 2], "the small one would have to be enlarged"
    assert bank.large_enough((96, 200)).tolist() == [0, 1, 2], "all, where all are small"


def _few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidfill.train.painter.holes.N_STROKES", 4)
    monkeypatch.setattr("vidfill.train.painter.holes.N_TEXTS", 2)


def test_processes_share_the_batch_that_one_would_have(monkeypatch: pytest.MonkeyPatch) -> None:
    _few_shapes(monkeypatch)
    samples = PictureSamples(tiny_data(), TINY, WindowSpec())
    drawn = []
    for ranks in (Ranks(), Ranks(0, 2), Ranks(1, 2)):
        torch.manual_seed(4)
        drawn.append(samples.draw(TINY.stages[1], step=0, ranks=ranks))
    whole, *parts = drawn
    assert whole.clip.shape == (2, 1, 3, 32, 48)
    for name in ("clip", "holes"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_held_back_pictures_are_photos_and_frames_of_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    _few_shapes(monkeypatch)
    data = replace(tiny_data(), held_back_photos=tiny_data().photos[:1])
    recipe = replace(TINY, n_validation=20)
    ((truth, holes),) = PictureSamples(data, recipe, WindowSpec()).held_back()
    assert truth.shape == (1 + len(data.held_back), 1, 3, 32, 48)
    assert holes.mean(dim=(1, 2, 3, 4)).min() > 0
    again = PictureSamples(data, recipe, WindowSpec()).held_back()[0]
    assert torch.equal(again[0], truth) and torch.equal(again[1], holes)
    assert PictureSamples(replace(data, held_back=(), held_back_photos=()), recipe, WindowSpec()).held_back() == []
    with pytest.raises(InputError, match="no pictures"):
        PictureSamples(replace(data, clips=(), photos=()), recipe, WindowSpec())
