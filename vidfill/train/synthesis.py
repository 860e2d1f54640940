"""Moving scenes made from photos, with the exact motion of every pixel.

A scene is a background plane and up to three cut-out layers before it, each with its own smooth path of homographies,
seen by a camera that pans, zooms, rolls and shakes; with motion blur, drifting exposure and noise. What is random is
drawn per sample in numpy (`draw_scene`); the pixels are made on the device, a whole batch at a time (`render_scenes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from numpy.typing import NDArray
from torch import Tensor

from vidfill.align.warp import warp
from vidfill.train.data import TrainingData
from vidfill.train.motion import Matrices, Series, pixel_grid, similarity, smooth_path, translation

_MAX_LAYERS = 3
# Fraction of the time between two frames that a blurred frame gathers light.
_SHUTTER = 0.5


@dataclass(frozen=True, slots=True)
class SceneRanges:
    """Ranges that the scenes are drawn from; "speed" is the standard deviation of the change from frame to frame."""

    speed_px: float = 2.0  # of the camera's pan
    zoom_speed: float = 0.006  # of the logarithm of the scale
    roll_speed: float = 0.006  # of the angle, in radians
    tilt_speed: float = 0.002  # of the perspective terms, times the width
    shake_px: float = 0.8  # jitter of the position, where the camera is held by hand
    still_ratio: float = 0.2  # of the scenes with a camera on a tripod
    shaken_ratio: float = 0.3  # of the others, with a camera held by hand
    layer_speed_px: float = 2.0  # of a layer's own motion
    exposure_speed: float = 0.004  # of the logarithm of the brightness
    max_noise: float = 0.012  # of the sensor, standard deviation on [0, 1]


class ScenePlan(NamedTuple):
    """One sample's scene."""

    photos: tuple[tuple[int, float], ...]  # per plane, background first: which photo, and where its square crop begins
    shapes: tuple[int, ...]  # for each layer which silhouette
    motions: Matrices  # (1 + layers, T, 3, 3), from pixels of the frame to pixels of the plane
    gains: Series  # brightness
    noise: float  # standard deviation
    noise_seed: int

    def at(self, times: NDArray[np.int64]) -> ScenePlan:
        """The same scene, seen at some of its frames only."""
        return self._replace(motions=self.motions[:, times], gains=self.gains[times])


class Scene(NamedTuple):
    """A batch of moving scenes."""

    frames: Tensor  # (B, T, 3, H, W) in [0, 1]
    layers: Tensor  # (B, T, H, W) int64, which plane is seen, 0 for the background; -1 where two of them mix
    motions: Tensor  # (B, 1 + layers, T, 3, 3) float64, from pixels of the frame to pixels of the plane


def draw_scene(
    rng: np.random.Generator,
    data: TrainingData,
    n_frames: int,
    size: tuple[int, int],
    *,
    ranges: SceneRanges = SceneRanges(),  # noqa: B008 - frozen
) -> ScenePlan:
    """Draw one scene of `n_frames` frames of (height, width) pixels; its photos all have the same short side."""
    n_layers = int(rng.integers(_MAX_LAYERS + 1)) if len(data.silhouettes) else 0
    side = min(data.photos[0].shape[:2])
    is_still = rng.random() < ranges.still_ratio
    shake = ranges.shake_px * float(not is_still and rng.random() < ranges.shaken_ratio)
    speed = 0.0 if is_still else ranges.speed_px * rng.uniform(0.2, 1.5)
    pan_x = smooth_path(rng, n_frames, speed=speed, shake=shake)
    pan_y = smooth_path(rng, n_frames, speed=0.6 * speed, shake=shake)
    turning = float(not is_still)
    base_zoom = np.log(rng.uniform(0.6, 1.0) * side / max(size))
    camera = similarity(
        shift_x=side / 2 + pan_x,
        shift_y=side / 2 + pan_y,
        log_zoom=base_zoom + smooth_path(rng, n_frames, speed=ranges.zoom_speed * turning),
        roll=smooth_path(rng, n_frames, speed=ranges.roll_speed * turning),
        tilt_x=smooth_path(rng, n_frames, speed=ranges.tilt_speed * turning / size[1]),
        tilt_y=smooth_path(rng, n_frames, speed=ranges.tilt_speed * turning / size[1]),
    ) @ translation(-size[1] / 2, -size[0] / 2)
    zoom = np.exp(base_zoom)
    layers = [_layer_motion(rng, n_frames, size, side, (-pan_x / zoom, -pan_y / zoom), ranges) for _ in range(n_layers)]
    return ScenePlan(
        photos=tuple((int(rng.integers(len(data.photos))), float(rng.random())) for _ in range(1 + n_layers)),
        shapes=tuple(int(rng.integers(len(data.silhouettes))) for _ in range(n_layers)),
        motions=np.stack([camera, *layers]),
        gains=np.exp(smooth_path(rng, n_frames, speed=ranges.exposure_speed)),
        noise=float(rng.uniform(0, ranges.max_noise)),
        noise_seed=int(rng.integers(2**31)),
    )


def render_scenes(plans: list[ScenePlan], data: TrainingData, size: tuple[int, int], *, n_blur: int = 1) -> Scene:
    """Make the pixels of a batch of scenes, (height, width) each, on the data's device.

    With motion blur each frame is the mean of `n_blur` moments, an odd number.
    """
    device = data.photos[0].device
    n_planes = max(len(plan.photos) for plan in plans)
    n_frames = plans[0].motions.shape[1]
    motions = torch.from_numpy(np.stack([_padded(plan.motions, n_planes) for plan in plans]))
    planes = [_plane(plans, data, number) for number in range(n_planes)]
    moments = [(k - n_blur // 2) / n_blur * _SHUTTER for k in range(n_blur)]
    total: Tensor | None = None
    for moment in moments:
        shown, seen = _composited(planes, _at_moment(motions, moment).float().to(device), size)
        total = shown if total is None else total + shown
        if moment == 0:
            layers = seen
    assert total is not None
    gains = torch.from_numpy(np.stack([plan.gains for plan in plans])).float().to(device)
    frames = (total / n_blur).view(len(plans), 3, n_frames, *size).transpose(1, 2) * gains.view(-1, n_frames, 1, 1, 1)
    for sample, plan in zip(frames, plans, strict=True):
        generator = torch.Generator(device).manual_seed(plan.noise_seed)
        sample += plan.noise * torch.randn(sample.shape, generator=generator, device=device)
    return Scene(frames.clamp(0, 1).contiguous(), layers.view(len(plans), n_frames, *size), motions)


def exact_flow(scene: Scene, at: int, to: int) -> tuple[Tensor, Tensor]:
    """The true motion from one frame of the scenes to another.

    Returns:
        flow (B, 2, H, W), such that `warp(frame[to], flow)` is `frame[at]` where visible; and visible (B, 1, H, W)
        float, 1 where the pixel of frame `at` is seen in frame `to`. Pixels at the edges of a layer show two planes at
        once and are visible nowhere.
    """
    top = scene.layers[:, at]
    n_samples, height, width = top.shape
    device = top.device
    between = (torch.linalg.inv(scene.motions[:, :, to]) @ scene.motions[:, :, at]).float().to(device)
    points = pixel_grid(height, width, device)
    moved = torch.einsum("blij,pj->blpi", between, points)
    flows = moved[..., :2] / moved[..., 2:] - points[:, :2]
    which = top.clamp(min=0).view(n_samples, 1, -1)
    flow = flows.gather(1, which[..., None].expand(-1, -1, -1, 2)).squeeze(1)
    flow = flow.transpose(1, 2).reshape(n_samples, 2, height, width)
    planes = F.one_hot(scene.layers[:, to] + 1, between.shape[1] + 1)[..., 1:].permute(0, 3, 1, 2)
    still_there = warp(planes.float(), flow).gather(1, top.clamp(min=0).unsqueeze(1))
    return flow, ((still_there > 0.999) & (top >= 0).unsqueeze(1)).float()


def _layer_motion(
    rng: np.random.Generator,
    n_frames: int,
    size: tuple[int, int],
    side: int,
    drift: tuple[Series, Series],
    ranges: SceneRanges,
) -> Matrices:
    """From frame to layer: the camera's pan moves it more than the background, and it moves by itself."""
    parallax = rng.uniform(1.0, 1.8)
    speed = ranges.layer_speed_px * rng.uniform(0, 1.5)
    onto_frame = similarity(
        shift_x=rng.uniform(0, size[1]) + parallax * drift[0] + smooth_path(rng, n_frames, speed=speed),
        shift_y=rng.uniform(0, size[0]) + parallax * drift[1] + smooth_path(rng, n_frames, speed=0.6 * speed),
        log_zoom=np.log(rng.uniform(0.2, 0.7) * min(size) / side) + smooth_path(rng, n_frames, speed=ranges.zoom_speed),
        roll=smooth_path(rng, n_frames, speed=2 * ranges.roll_speed),
    )
    return np.asarray(np.linalg.inv(onto_frame @ translation(-side / 2, -side / 2)))


def _padded(motions: Matrices, n_planes: int) -> Matrices:
    """Planes that a sample lacks get its background's motion; their alpha is zero."""
    return np.concatenate([motions, np.repeat(motions[:1], n_planes - len(motions), axis=0)])


def _plane(plans: list[ScenePlan], data: TrainingData, number: int) -> Tensor:
    """The pictures of one plane with their alpha: (B, 4, S, S) in [0, 1]."""
    side = min(data.photos[0].shape[:2])
    device = data.photos[0].device
    planes = torch.zeros(len(plans), 4, side, side, device=device)
    for plane, plan in zip(planes, plans, strict=True):
        if number >= len(plan.photos):
            continue
        index, offset = plan.photos[number]
        photo = data.photos[index]
        top, left = (round(offset * (extent - side)) for extent in photo.shape[:2])
        plane[:3] = photo[top : top + side, left : left + side].permute(2, 0, 1).float() / 255
        if number == 0:
            plane[3] = 1
        else:
            shape = data.silhouettes[plan.shapes[number - 1]].float()[None, None]
            plane[3] = F.interpolate(shape, size=(side, side), mode="bilinear", align_corners=False)[0, 0]
    return planes


def _at_moment(motions: Tensor, moment: float) -> Tensor:
    """The motions a fraction of a frame later, by linear interpolation along time."""
    if moment == 0:
        return motions
    scaled = motions / motions[..., 2:, 2:]
    return scaled + moment * torch.gradient(scaled, dim=2)[0]


def _composited(planes: list[Tensor], motions: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """All frames of all scenes: colour (B, 3, T * H, W) and the plane on top (B, T * H, W)."""
    n_samples, n_frames = motions.shape[0], motions.shape[2]
    (height, width), side = size, planes[0].shape[-1]
    points = pixel_grid(height, width, motions.device)
    shown: Tensor | None = None
    for number, plane in enumerate(planes):
        at = torch.einsum("btij,pj->btpi", motions[:, number], points)
        grid = (at[..., :2] / at[..., 2:]) * (2 / (side - 1)) - 1
        sampled = F.grid_sample(
            plane,
            grid.reshape(n_samples, n_frames * height, width, 2),
            padding_mode="reflection" if number == 0 else "zeros",
            align_corners=True,
        )
        colour, alpha = sampled[:, :3], sampled[:, 3]
        if shown is None:
            shown = colour
            top = torch.zeros_like(alpha, dtype=torch.long)
            continue
        # The sampled colour fades towards the plane's border, where the alpha does as well.
        shown = torch.lerp(shown, colour, alpha.unsqueeze(1))
        top = torch.where(alpha > 0.99, number, torch.where(alpha > 0.01, -1, top))
    assert shown is not None
    return shown, top
