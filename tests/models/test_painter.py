"""The painter: its network against stored numbers, pictures of any size and type, and the model of the contract."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.golden.make_painter_small import PATH, SIZES, picture, small_tensors
from vidfill.errors import WeightsError
from vidfill.models import load_model
from vidfill.models.base import unroll
from vidfill.models.cleanplate.network import PainterNetwork, PainterSizes
from vidfill.models.cleanplate.painter import Painter
from vidfill.models.cleanplate.painting import paint
from vidfill.weights import Checkpoint, save_weights


def small_network() -> PainterNetwork:
    network = PainterNetwork(SIZES)
    network.load_state_dict(small_tensors())
    return network.eval()


def random_picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)


def test_network_gives_the_stored_numbers() -> None:
    rgb, hole = picture()
    with torch.inference_mode():
        found = small_network()(rgb, hole)
    assert np.abs(found.numpy() - np.load(PATH)["painted"]).max() < 1e-5


def test_network_of_the_default_sizes_has_as_many_parameters_as_its_docstring_says() -> None:
    n_parameters = sum(parameter.numel() for parameter in PainterNetwork().parameters())
    assert f"{n_parameters:,} parameters" in (PainterNetwork.__doc__ or "")


def test_sizes_come_back_from_json() -> None:
    assert PainterSizes.from_json(SIZES.to_json()) == SIZES


@pytest.mark.parametrize(
    "sizes", [{"widths": [8, 8, 8]}, {"head": 5}, {"n_middle": 0}, {"blocks": [1, 1.5, 1]}, {"x": 1}]
)
def test_sizes_that_describe_no_network_are_refused(sizes: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        PainterNetwork.from_sizes(sizes)


def test_what_lies_inside_the_hole_is_not_looked_at() -> None:
    rgb, hole = picture()
    with torch.inference_mode():
        assert torch.equal(small_network()(rgb, hole), small_network()(torch.lerp(rgb, torch.ones(()), hole), hole))


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (16, 16), (17, 31), (50, 70)])
def test_pictures_of_any_size_change_inside_the_hole_alone(size: tuple[int, int]) -> None:
    rgb = random_picture(*size)
    hole = np.zeros(size, bool)
    hole[size[0] // 3 :, size[1] // 3 : size[1] - size[1] // 4] = True
    painted = paint(small_network(), rgb, hole)
    assert painted.shape == rgb.shape
    assert painted.dtype == np.uint8
    assert np.array_equal(painted[~hole], rgb[~hole])
    assert not np.array_equal(painted[hole], rgb[hole])


def test_a_picture_without_a_hole_comes_back_as_a_copy() -> None:
    rgb = random_picture(20, 20)
    painted = paint(small_network(), rgb, np.zeros((20, 20), bool))
    assert np.array_equal(painted, rgb)
    assert not np.shares_memory(painted, rgb)


def test_a_model_fills_each_frame_as_the_picture_alone_is_painted(tmp_path: Path) -> None:
    network = small_network()
    model = Painter(SIZES).eval()
    model.network.load_state_dict(network.state_dict())
    save_weights(tmp_path / "p.safetensors", Checkpoint("painter", model.sizes, model.state_dict()))
    loaded = load_model("painter", checkpoint=tmp_path / "p.safetensors")
    frames = np.stack([random_picture(32, 48), random_picture(32, 48)[::-1]])
    holes = np.zeros((2, 32, 48), bool)
    holes[0, 4:20, 8:30] = holes[1, 10:28, 20:40] = True
    with torch.inference_mode():
        fills = unroll(
            loaded,
            torch.from_numpy(frames.copy()).permute(0, 3, 1, 2)[None].float() / 255,
            torch.from_numpy(holes)[None, :, None].float(),
        )
    for fill, frame, hole in zip(fills[0], frames, holes, strict=True):
        expected = paint(network, frame, hole)
        assert np.abs(fill.permute(1, 2, 0).numpy() * 255 - expected)[hole].max() <= 0.51


def test_there_is_no_checkpoint_of_authors() -> None:
    with pytest.raises(WeightsError, match=r"x\.pth cannot be weights of painter"):
        Painter.from_authors({}, source="x.pth")
