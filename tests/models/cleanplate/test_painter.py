"""The painter: its network against stored numbers, pictures of any size and type, and the model of the contract."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.golden.make_painter_small import PATH, SIZES, picture, small_tensors
from vidfill.errors import WeightsError
from vidfill.models import load_model
from vidfill.models.base import unroll
from vidfill.models.cleanplate.network import PainterNetwork
from vidfill.models.cleanplate.painter import Painter
from vidfill.models.cleanplate.painting import paint
from vidfill.models.cleanplate.texture import add_texture
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


def test_parameter_count_of_the_docstring() -> None:
    n_parameters = sum(parameter.numel() for parameter in PainterNetwork().parameters())
    assert f"{n_parameters:,} parameters" in (PainterNetwork.__doc__ or "")


def test_sizes_come_back_from_json() -> None:
    sizes = Painter(SIZES).sizes
    assert Painter.from_sizes(json.loads(json.dumps(sizes))).sizes == sizes


@pytest.mark.parametrize(
    "sizes", [{"widths": [8, 8, 8]}, {"head": 5}, {"n_middle": 0}, {"blocks": [1, 1.5, 1]}, {"x": 1}]
)
def test_sizes_that_describe_no_network_are_refused(sizes: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Painter.from_sizes(sizes)


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
        Painter(SIZES).load_authors({}, source="x.pth")


def holes_at(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    hole = np.zeros(size, bool)
    for x0, y0, x1, y1 in boxes:
        hole[y0:y1, x0:x1] = True
    return hole


class Counting(PainterNetwork):
    """Remembers the pictures that it was given; paints them yellow."""

    def __init__(self) -> None:
        super().__init__(SIZES)
        self.seen: list[tuple[int, int]] = []

    def forward(self, rgb: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        self.seen.append((rgb.shape[-2], rgb.shape[-1]))
        return torch.tensor([1.2, 1.0, -0.1]).view(1, 3, 1, 1).expand_as(rgb)


def test_holes_far_apart_are_painted_one_by_one() -> None:
    network = Counting()
    rgb = random_picture(600, 800)
    hole = holes_at((600, 800), (0, 0, 20, 30), (700, 500, 740, 516), (742, 520, 750, 524))
    painted = paint(network, rgb, hole)
    assert sorted(network.seen) == [(128, 128), (208, 208)]
    assert (painted[hole] == (255, 255, 0)).all()
    assert np.array_equal(painted[~hole], rgb[~hole])


@pytest.mark.parametrize(
    ("limits", "seen"), [({"max_pixels": 100 * 100}, (112, 112)), ({"max_depth_px": 10}, (80, 80))]
)
def test_what_is_too_large_or_too_deep_is_painted_small(limits: dict[str, int], seen: tuple[int, int]) -> None:
    network = Counting()
    paint(network, random_picture(240, 240), holes_at((240, 240), (90, 90, 150, 150)), **limits)
    assert network.seen == [seen]


def test_a_small_painting_gets_the_texture_around_it() -> None:
    noise = np.random.RandomState(0).normal(0, 20, (320, 320, 1))
    rgb = (120 + noise * np.ones(3)).clip(0, 255).astype(np.uint8)
    hole = holes_at((320, 320), (100, 100, 220, 220))
    coarse = np.full((80, 80, 3), 120, np.uint8)
    coarse[25:55, 25:55] = 125
    fine = add_texture(coarse, rgb, hole, torch.device("cpu"))
    assert np.array_equal(fine[~hole], rgb[~hole])
    assert abs(fine[hole].mean() - 125) < 2
    assert 0.85 < fine[hole].std() / rgb[~hole].std() < 1.15
    plain = add_texture(coarse, np.full_like(rgb, 120), hole, torch.device("cpu"))
    assert plain[hole].std() < 2


@pytest.mark.parametrize("size", [(60, 77), (61, 78), (62, 79), (63, 80)])
def test_texture_reaches_the_borders_at_any_size(size: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    hole = np.zeros(size, np.bool_)
    hole[30:, 40:] = True
    coarse = np.full((25, 33, 3), 127, np.uint8)
    fine = add_texture(coarse, rgb, hole, torch.device("cpu"))
    assert (fine[~hole] == rgb[~hole]).all()
    assert fine[-8:, -8:].std() > 30


def test_a_line_so_long_that_it_is_painted_small() -> None:
    rgb, hole = random_picture(120, 160), holes_at((120, 160), (5, 60, 150, 61))
    painted = paint(small_network(), rgb, hole, max_pixels=60 * 80)
    assert np.array_equal(painted[~hole], rgb[~hole])


def test_next_to_no_known_pixels_leave_the_enlarged_painting() -> None:
    hole = ~holes_at((60, 60), (0, 0, 2, 2))
    fine = add_texture(np.full((20, 20, 3), 90, np.uint8), random_picture(60, 60), hole, torch.device("cpu"))
    assert (fine[hole] == 90).all()


@pytest.mark.parametrize("limits", [{}, {"max_depth_px": 6}, {"max_depth_px": 2}])
def test_painting_again_gives_the_same(limits: dict[str, int]) -> None:
    rgb, hole = random_picture(100, 90), holes_at((100, 90), (20, 30, 60, 70))
    assert np.array_equal(paint(small_network(), rgb, hole, **limits), paint(small_network(), rgb, hole, **limits))


@pytest.mark.parametrize("limits", [{}, {"max_depth_px": 6}, {"max_depth_px": 2}])
def test_what_lies_inside_the_hole_does_not_change_the_painting(limits: dict[str, int]) -> None:
    rgb, hole = random_picture(100, 90), holes_at((100, 90), (20, 30, 60, 70))
    other = np.where(hole[..., None], 255 - rgb, rgb)
    assert np.array_equal(paint(small_network(), rgb, hole, **limits), paint(small_network(), other, hole, **limits))


def test_a_picture_that_is_all_hole_becomes_grey() -> None:
    assert (paint(small_network(), random_picture(20, 30), np.ones((20, 30), bool)) == 127).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("way", ["parameters", "autocast"])
@pytest.mark.parametrize("limits", [{}, {"max_depth_px": 6}, {"max_depth_px": 2}])
def test_short_types_paint_nearly_the_same(dtype: torch.dtype, way: str, limits: dict[str, int]) -> None:
    rgb, hole = random_picture(64, 48), holes_at((64, 48), (10, 10, 30, 40))
    expected = paint(small_network(), rgb, hole, **limits)
    network = small_network()
    if way == "parameters":
        network.to(dtype)
    with torch.autocast("cpu", dtype, enabled=way == "autocast"):
        found = paint(network, rgb, hole, **limits)
    difference = np.abs(found.astype(int) - expected.astype(int))[hole]
    assert 0 < difference.mean() < (8 if limits else 2)
