"""The exact flow is exact: it carries one frame onto another wherever it says that a pixel is visible."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.train.models import tiny_data
from vidfill.align.warp import warp
from vidfill.train.motion import similarity, translation
from vidfill.train.synthesis import Scene, ScenePlan, SceneRanges, draw_scene, exact_flow, render_scenes

SIZE = (40, 40)
CLEAN = SceneRanges(exposure_speed=0, max_noise=0)


def _scene(ranges: SceneRanges = CLEAN, *, n_samples: int = 12, n_frames: int = 5, n_blur: int = 1) -> Scene:
    data = tiny_data()
    plans = [draw_scene(np.random.default_rng(i), data, n_frames, SIZE, ranges=ranges) for i in range(n_samples)]
    return render_scenes(plans, data, SIZE, n_blur=n_blur)


@pytest.mark.parametrize(("at", "to"), [(0, 1), (3, 0), (0, 4)])
def test_exact_flow_reproduces_what_is_visible(at: int, to: int) -> None:
    scene = _scene(replace(CLEAN, speed_px=1.0, layer_speed_px=1.0))
    assert scene.layers.max() >= 2, "scenes have layers"
    flow, visible = exact_flow(scene, at, to)
    error = (warp(scene.frames[:, to], flow) - scene.frames[:, at]).abs() * visible
    assert visible.mean() > 0.4
    assert flow.abs().mean() > 0.3
    # Both frames are interpolated from the same photo: what is left is the softening of the second interpolation.
    assert error.sum() / (3 * visible.sum()) < 0.004
    still = (scene.frames[:, to] - scene.frames[:, at]).abs() * visible
    assert error.sum() < 0.25 * still.sum()


def test_the_flow_of_a_pan_is_the_pan() -> None:
    data = tiny_data()
    pan = similarity(
        shift_x=np.array([4.0, 7.0]), shift_y=np.array([2.0, 1.0]),
        log_zoom=np.zeros(2), roll=np.zeros(2), tilt_x=np.zeros(2), tilt_y=np.zeros(2),
    )  # fmt: skip
    plan = ScenePlan(((0, 0.0),), (), pan[None] @ translation(0, 0), np.ones(2), 0.0, 0)
    scene = render_scenes([plan], data, SIZE)
    photo = data.photos[0].permute(2, 0, 1).float() / 255
    assert torch.allclose(scene.frames[0, 0], photo[:, 2:42, 4:44], atol=1e-4)
    flow, visible = exact_flow(scene, 0, 1)
    assert torch.allclose(flow[0, 0], torch.tensor(-3.0), atol=1e-4)
    assert torch.allclose(flow[0, 1], torch.tensor(1.0), atol=1e-4)
    # Rows 0 to 38 and columns 3 to 39 of frame 0 are inside frame 1; rounding may cost the last line.
    assert visible[0, 0, 1:38, 4:39].all()
    assert not visible[0, 0, :, :3].any()
    assert not visible[0, 0, 39].any()


def test_a_still_camera_without_layers_gives_one_picture() -> None:
    data = replace(tiny_data(), silhouettes=torch.zeros(0, 32, 32, dtype=torch.uint8))
    plan = draw_scene(np.random.default_rng(0), data, 4, SIZE, ranges=replace(CLEAN, still_ratio=1.0))
    scene = render_scenes([plan], data, SIZE)
    assert (scene.layers == 0).all()
    assert torch.equal(scene.frames[0, 0], scene.frames[0, 3])


def test_blur_averages_moments_around_the_frame() -> None:
    sharp, blurred = (_scene(n_samples=4, n_blur=n) for n in (1, 3))
    assert torch.equal(sharp.layers, blurred.layers)

    def roughness(scene: Scene) -> float:
        return float(scene.frames.diff(dim=-1).abs().mean())

    assert 0.5 * roughness(sharp) < roughness(blurred) < roughness(sharp)


def test_noise_and_exposure_are_as_drawn() -> None:
    data = tiny_data()
    plan = draw_scene(np.random.default_rng(3), data, 4, SIZE, ranges=CLEAN)
    clean = render_scenes([plan], data, SIZE).frames
    dark = render_scenes([plan._replace(gains=np.array([1.0, 0.5, 1.0, 1.0]))], data, SIZE).frames
    assert torch.allclose(dark[:, 1], clean[:, 1] * 0.5)
    noisy = [render_scenes([plan._replace(noise=0.01, noise_seed=7)], data, SIZE).frames for _ in range(2)]
    assert torch.equal(*noisy)
    inside = (clean > 0.1) & (clean < 0.9)
    assert abs(float((noisy[0] - clean)[inside].std()) - 0.01) < 0.001
