"""LPIPS and VFID without their networks, with stand-ins for them, and I3D's shape."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vidfill.errors import WeightsError
from vidfill.evaluate import perceptual
from vidfill.evaluate.i3d import I3D, SamePool, load_i3d
from vidfill.evaluate.perceptual import I3D_FILE, Perceptual, find_perceptual, frechet_distance
from vidfill.evaluate.protocol import EvaluationClip


def _clip(name: str, value: int) -> EvaluationClip:
    return EvaluationClip(name, [np.full((8, 8, 3), value, np.uint8)] * 2, [np.ones((8, 8), np.bool_)] * 2)


def test_frechet_distance_of_gaussians_on_a_line() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 1)), rng.normal(2, 3, size=(20, 1))
    spread = a.std(ddof=1) - b.std(ddof=1)
    assert frechet_distance(a, b) == pytest.approx((a.mean() - b.mean()) ** 2 + spread**2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


def test_frechet_distance_against_the_root_of_the_covariances() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(40, 4)), rng.normal(size=(30, 4)) @ rng.normal(size=(4, 4)) + 1
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real)  # of a product of positive ones
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + sum(np.trace(c) for c in covariances) - 2 * roots.sum()
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_scores_come_from_the_networks_that_are_there() -> None:
    def mean_difference(output: Tensor, truth: Tensor) -> Tensor:
        assert output.shape == truth.shape == (1, 3, 8, 8)
        return (output - truth).abs().mean()

    def mean_colour(video: Tensor) -> Tensor:
        assert video.shape == (1, 3, 2, 8, 8)
        return video.mean(dim=(2, 3, 4))

    both = Perceptual(mean_difference, mean_colour)
    dark, bright = _clip("dark", 0), _clip("bright", 204)
    output = [np.full((8, 8, 3), 51, np.uint8)] * 2
    assert both.frame_scores(output, dark, [0, 1]) == {"lpips": pytest.approx(0.2)}
    both.add_clip("S", "x", output, dark)
    assert both.set_scores("S", "x", ["dark"]) == {}, "one clip has no spread"
    assert both.set_scores("S", "x", ["dark", "bright"]) == {}, "one of an earlier run is not known"
    both.add_clip("S", "x", output, bright)
    features = np.array([[0.0] * 3, [0.8] * 3])
    expected = frechet_distance(np.full((2, 3), 0.2), features)
    assert both.set_scores("S", "x", ["dark", "bright"]) == {"vfid": pytest.approx(expected)}
    neither = Perceptual(None, None)
    neither.add_clip("S", "x", output, dark)
    assert neither.frame_scores(output, dark, [0]) == neither.set_scores("S", "x", ["dark"]) == {}


def test_what_is_left_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "find_spec", lambda name: None)
    _, reasons = find_perceptual(tmp_path)
    assert reasons[0].startswith("LPIPS is left out: torchvision is not installed")
    assert reasons[1] == f"VFID is left out: there is no {tmp_path / I3D_FILE}"
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / I3D_FILE)
    with pytest.raises(WeightsError, match=r"i3d_rgb_imagenet\.pt does not fit .*missing: Conv3d_1a_7x7\.bn\.bias"):
        find_perceptual(tmp_path)


def test_a_torchvision_for_another_torch_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert "torchvision does not work with torch" in find_perceptual(tmp_path)[1][0]


def test_i3d_has_the_parameters_and_strides_of_its_paper() -> None:
    torch.manual_seed(0)
    network = I3D().eval()
    assert sum(p.numel() for p in network.parameters()) == 12_697_264
    old = {name: t for name, t in network.state_dict().items() if "num_batches_tracked" not in name}
    again = load_i3d(old, source="old")
    video = torch.rand(1, 3, 9, 40, 33)
    with torch.inference_mode():
        assert torch.equal(again(video), network(video))
        assert network(video).shape == (1, 1024)
        assert network.get_submodule("Conv3d_1a_7x7")(video).shape == (1, 64, 5, 20, 17)


def test_pooling_pads_the_odd_zero_behind() -> None:
    row = -torch.arange(1.0, 5.0).view(1, 1, 1, 1, 4)
    assert SamePool((1, 1, 3), (1, 1, 2))(row).flatten().tolist() == [-1, 0]
    assert SamePool((1, 1, 3), (1, 1, 2))(row[..., :3]).flatten().tolist() == [0, 0]
