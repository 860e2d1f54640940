"""Batches: real clips and synthetic scenes with holes, every sample drawn from its own seed.

A sample is a function of (seed, step, place in the batch) alone. So a run can be resumed at any step, and any number of
processes can share one batch.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.models.base import ReferenceSpec, WindowSpec
from vidfill.train.data import TrainingData
from vidfill.train.holes import draw_hole, render_holes
from vidfill.train.recipes import Recipe
from vidfill.train.synthesis import Scene, draw_scene, render_scenes

Times = NDArray[np.int64]

MAX_STRIDE = 3
# References that are drawn lie so many frames before or after the targets, near distances as likely as far ones.
NEAREST, FARTHEST = 2, 40
EDGE_SHARE = 0.15
BLUR_SHARE = 0.25
N_BLUR = 3
# Validation draws its holes from here and windows are drawn from there, so that no training step shares them.
VALIDATION_STEP = 2**31
WINDOW_STEP = 2**31 + 1


class Batch(NamedTuple):
    """What one process looks at in one step.

    Attributes:
        clip: (B, T, 3, H, W), RGB in [0, 1], whole: nothing is cut out.
        holes: (B, T, 1, H, W), 1 = missing.
        targets: the positions to fill.
        scene: the synthetic samples with their exact motion, None where there are none.
        synthetic: which samples those are, in the order of `scene`.
        grays: (B - synthetic, T, H, W) uint8, the brightness of the other samples. It lies in the CPU's memory, for
            OpenCV: copied at the start of a step, where nothing on the device has to be waited for.
    """

    clip: Tensor
    holes: Tensor
    targets: range
    scene: Scene | None
    synthetic: tuple[int, ...]
    grays: NDArray[np.uint8]


class Shape(NamedTuple):
    """What a batch consists of.

    Attributes:
        n_samples: over all processes.
        n_targets: frames to fill in each clip.
        size: (height, width).
        synthetic_share: fraction of the clips made from photos.
        n_references: frames beside the targets, drawn from near and far; 0 for those that the window reaches.
        spread_targets: the targets are drawn from near and far as well; see `Stage.spread_targets`.
    """

    n_samples: int
    n_targets: int
    size: tuple[int, int]
    synthetic_share: float = 0.5
    n_references: int = 0
    spread_targets: bool = False

    @property
    def is_spread(self) -> bool:
        """Whether any frames of a clip are drawn from near and far."""
        return self.spread_targets or self.n_references > 0


def reach(spec: WindowSpec) -> int:
    """How many frames beside the targets a model's window looks at, on each side.

    A model whose references are spread over the segment gets those of the nearest few strides.
    """
    far = max((abs(offset) for offset in spec.neighbours), default=0)
    return max(far, 3 * spec.references.stride) if spec.references else far


def drawn_window(
    spec: WindowSpec, recipe: Recipe, *, step: int, n_supports: int, is_spread: bool = False
) -> WindowSpec:
    """A model's window as it is in one step of training.

    Args:
        spec: the model's own.
        recipe: its seed.
        step: number of the step.
        n_supports: draw so many different neighbours; see `Stage.n_supports`.
        is_spread: each frame of the clip is a reference of the others; see `Shape.is_spread`.
    """
    if is_spread:
        return replace(spec, references=ReferenceSpec(stride=1))
    if not 0 < n_supports < len(spec.neighbours):
        return spec
    rng = np.random.default_rng((recipe.seed, WINDOW_STEP, step))
    chosen = rng.choice(spec.neighbours, n_supports, replace=False)
    return replace(spec, neighbours=tuple(int(offset) for offset in np.resize(chosen, len(spec.neighbours))))


def make_batch(
    data: TrainingData, recipe: Recipe, spec: WindowSpec, shape: Shape, *, step: int, rank: int = 0, n_ranks: int = 1
) -> Batch:
    """This process's part of the batch of one step, on the data's device.

    Args:
        data: where everything comes from.
        recipe: its seed.
        spec: the model's window; clips reach as far beyond the targets, unless references are drawn.
        shape: of the whole batch; its number of samples is a multiple of `n_ranks`.
        step: number of the step.
        rank: of this process.
        n_ranks: processes that share the batch.
    """
    shared = np.random.default_rng((recipe.seed, step))
    margin = reach(spec)
    # Now and then the first target is the clip's first frame: its window is mirrored and nothing comes before it.
    before = 0 if shared.random() < EDGE_SHARE else margin
    n_frames = before + shape.n_targets + margin
    n_blur = N_BLUR if shared.random() < BLUR_SHARE and n_frames > 1 else 1
    if shape.is_spread:
        # Blur is made from how frames next to each other differ, and these are not.
        before, n_blur = int(shared.integers(shape.n_references + 1)), 1
    per_rank = shape.n_samples // n_ranks
    generators = [np.random.default_rng((recipe.seed, step, rank * per_rank + i)) for i in range(per_rank)]
    wanted = [rng.random() < shape.synthetic_share for rng in generators]
    is_synthetic = [bool(data.photos) and (wish or not data.clips) for wish in wanted]
    times = [_times(rng, shape, before) if shape.is_spread else np.arange(n_frames) for rng in generators]

    pictures: list[Tensor] = [
        torch.empty(0) if made else _real_clip(rng, data.clips, when, shape.size)
        for rng, made, when in zip(generators, is_synthetic, times, strict=True)
    ]
    synthetic = tuple(i for i, made in enumerate(is_synthetic) if made)
    scene = None
    if synthetic:
        plans = [draw_scene(generators[i], data, int(times[i][-1]) + 1, shape.size) for i in synthetic]
        shown = [plan.at(times[i]) for plan, i in zip(plans, synthetic, strict=True)]
        scene = render_scenes(shown, data, shape.size, n_blur=n_blur)
        for frames, i in zip(scene.frames, synthetic, strict=True):
            pictures[i] = frames
    paths = [
        draw_hole(rng, int(when[-1]) + 1, shape.size, data.silhouettes).at(when)
        for rng, when in zip(generators, times, strict=True)
    ]
    holes = render_holes(paths, shape.size, device=pictures[0].device)
    real = [frames for i, frames in enumerate(pictures) if i not in synthetic]
    targets = range(before, before + shape.n_targets)
    return Batch(torch.stack(pictures), holes, targets, scene, synthetic, _grays_of(real))


def validation_clip(data: TrainingData, recipe: Recipe, number: int) -> tuple[Tensor, Tensor]:
    """A held-back clip, whole in its middle square, with a hole that is the same at every validation.

    Returns:
        clip (1, T, 3, H, W) and holes (1, T, 1, H, W); T is `recipe.validation_frames`, or less in a short clip.
    """
    rng = np.random.default_rng((recipe.seed, VALIDATION_STEP, number))
    clip = data.held_back[number % len(data.held_back)]
    n_frames = min(recipe.validation_frames, clip.shape[0])
    side = min(clip.shape[1:3]) // 16 * 16
    top, left = ((extent - side) // 2 for extent in clip.shape[1:3])
    part = clip[:n_frames, top : top + side, left : left + side]
    hole = draw_hole(rng, n_frames, (side, side), data.silhouettes)
    return _floats(part).unsqueeze(0), render_holes([hole], (side, side), device=clip.device)


def _times(rng: np.random.Generator, shape: Shape, before: int) -> Times:
    """When the frames of a clip are taken, ascending from 0: consecutive targets, `before` references before them."""
    if shape.spread_targets:  # as if they were references of one of them
        n_others = shape.n_targets - 1
        shape = shape._replace(n_targets=1, n_references=n_others, spread_targets=False)
        return _times(rng, shape, int(rng.integers(n_others + 1)))
    away = np.exp(rng.uniform(math.log(NEAREST), math.log(FARTHEST + 1), shape.n_references)).astype(int)
    past, future = np.sort(away[:before])[::-1], np.sort(away[before:])
    times = np.concatenate((-past, np.arange(shape.n_targets), shape.n_targets - 1 + future))
    return np.asarray(times - times[0], np.int64)


def _real_clip(rng: np.random.Generator, clips: tuple[Tensor, ...], times: Times, size: tuple[int, int]) -> Tensor:
    """A crop through time and space, (T, 3, H, W): some frames left out, perhaps backwards, perhaps mirrored."""
    clip = clips[rng.integers(len(clips))]
    most = min(MAX_STRIDE, max(1, (clip.shape[0] - 1) // max(1, int(times[-1]))))
    stride = int(rng.integers(1, most + 1))
    span = int(times[-1]) * stride + 1
    start = int(rng.integers(max(0, clip.shape[0] - span) + 1))
    if rng.random() < 0.5:
        times = times[-1] - times
    # A clip that is too short runs back and forth.
    period = max(1, 2 * (clip.shape[0] - 1))
    at = (start + stride * times) % period
    at = np.minimum(at, period - at) if clip.shape[0] > 1 else at * 0
    top, left = (int(rng.integers(extent - side + 1)) for extent, side in zip(clip.shape[1:3], size, strict=True))
    index = torch.from_numpy(np.ascontiguousarray(at)).to(clip.device)
    part = _floats(clip[index, top : top + size[0], left : left + size[1]])
    return part.flip(-1) if rng.random() < 0.5 else part


def _grays_of(clips: list[Tensor]) -> NDArray[np.uint8]:
    """(T, 3, H, W) each, RGB in [0, 1] -> (N, T, H, W), ITU-R BT.601's weights."""
    if not clips:
        return np.zeros((0, 0, 0, 0), np.uint8)
    stacked = torch.stack(clips)
    red, green, blue = stacked.unbind(dim=2)
    return (255 * (0.299 * red + 0.587 * green + 0.114 * blue)).round().to(torch.uint8).cpu().numpy()


def _floats(frames: Tensor) -> Tensor:
    """(T, H, W, 3) uint8 -> (T, 3, H, W) in [0, 1]."""
    return frames.permute(0, 3, 1, 2).float() / 255
