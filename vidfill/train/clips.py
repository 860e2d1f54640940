"""Samples of clips: real ones and synthetic scenes with moving holes, each sample drawn from its own seed.

A sample is a function of (seed, step, place in the batch) alone. So a run can be resumed at any step, and any number of
processes can share one batch.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.models.base import ReferenceSpec, WindowSpec
from vidfill.train.batch import NO_GRAYS, Batch, Samples
from vidfill.train.data import TrainingData
from vidfill.train.holes import draw_hole, render_holes
from vidfill.train.parallel import Ranks
from vidfill.train.recipe import Recipe, Stage
from vidfill.train.synthesis import draw_scene, render_scenes

# References that are drawn lie so many frames before or after the targets, near distances as likely as far ones.
MIN_DISTANCE, MAX_DISTANCE = 2, 40
EDGE_RATIO = 0.15  # of the batches, those whose first target is the clip's first frame
_MAX_STRIDE = 3
_BLUR_RATIO = 0.25
_N_BLUR = 3
# Seeds of the holes of validation and of the windows; no training step shares them.
_VALIDATION_SEED = 2**31
_WINDOW_SEED = 2**31 + 1

Times = NDArray[np.int64]


class ClipSamples(Samples):
    """Clips for models that look at other frames; they reach beyond the targets as far as the model's window."""

    def __init__(self, data: TrainingData, recipe: Recipe, spec: WindowSpec) -> None:
        self._data, self._recipe, self._spec = data, recipe, spec

    def draw(self, stage: Stage, *, step: int, ranks: Ranks) -> Batch:
        """See `Samples.draw`."""
        data, seed = self._data, self._recipe.seed
        window = drawn_window(self._spec, stage, seed=seed, step=step)
        n_targets = stage.n_targets * stage.n_chunks
        shared = np.random.default_rng((seed, step))
        margin = reach(window)
        # At the edge the window is mirrored, and nothing comes before the first target.
        before = 0 if shared.random() < EDGE_RATIO else margin
        n_frames = before + n_targets + margin
        n_blur = _N_BLUR if shared.random() < _BLUR_RATIO and n_frames > 1 else 1
        if stage.is_spread:
            # Blur is made from how consecutive frames differ, and these are not consecutive.
            before, n_blur = int(shared.integers(stage.n_references + 1)), 1
        first, per_rank = ranks.part_of(stage.batch)
        generators = [np.random.default_rng((seed, step, first + i)) for i in range(per_rank)]
        wanted = [rng.random() < stage.synthetic_ratio for rng in generators]
        is_synthetic = [bool(data.photos) and (wish or not data.clips) for wish in wanted]
        times = [_drawn_times(rng, stage, before) if stage.is_spread else np.arange(n_frames) for rng in generators]

        pictures: list[Tensor] = [
            torch.empty(0) if made else _real_clip(rng, data.clips, when, stage.size)
            for rng, made, when in zip(generators, is_synthetic, times, strict=True)
        ]
        synthetic = tuple(i for i, made in enumerate(is_synthetic) if made)
        scene = None
        if synthetic:
            plans = [draw_scene(generators[i], data, int(times[i][-1]) + 1, stage.size) for i in synthetic]
            shown = [plan.at(times[i]) for plan, i in zip(plans, synthetic, strict=True)]
            scene = render_scenes(shown, data, stage.size, n_blur=n_blur)
            for frames, i in zip(scene.frames, synthetic, strict=True):
                pictures[i] = frames
        paths = [
            draw_hole(rng, int(when[-1]) + 1, stage.size, data.silhouettes).at(when)
            for rng, when in zip(generators, times, strict=True)
        ]
        holes = render_holes(paths, stage.size, device=pictures[0].device)
        grays = _grays_of([frames for i, frames in enumerate(pictures) if i not in synthetic])
        targets = range(before, before + n_targets)
        return Batch(torch.stack(pictures), holes, targets, window, scene, synthetic, grays)

    def held_back(self) -> list[tuple[Tensor, Tensor]]:
        """See `Samples.held_back`: whole clips in their middle squares, as many frames as the recipe says or fewer."""
        found = []
        for number, clip in enumerate(self._data.held_back[: self._recipe.n_validation]):
            rng = np.random.default_rng((self._recipe.seed, _VALIDATION_SEED, number))
            n_frames = min(self._recipe.validation_frames, clip.shape[0])
            side = min(clip.shape[1:3]) // 16 * 16
            top, left = ((extent - side) // 2 for extent in clip.shape[1:3])
            part = clip[:n_frames, top : top + side, left : left + side]
            hole = draw_hole(rng, n_frames, (side, side), self._data.silhouettes)
            found.append((_floats(part).unsqueeze(0), render_holes([hole], (side, side), device=clip.device)))
        return found


def reach(spec: WindowSpec) -> int:
    """How many frames beside the targets a model's window looks at, on each side.

    A model whose references are spread over the segment gets those of the nearest few strides.
    """
    far = max((abs(offset) for offset in spec.neighbours), default=0)
    return max(far, 3 * spec.references.stride) if spec.references else far


def drawn_window(spec: WindowSpec, stage: Stage, *, seed: int, step: int) -> WindowSpec:
    """A model's window in one step of training: with few of its neighbours, or with all frames as references."""
    if stage.is_spread:
        return replace(spec, references=ReferenceSpec(stride=1))
    if not 0 < stage.n_supports < len(spec.neighbours):
        return spec
    rng = np.random.default_rng((seed, _WINDOW_SEED, step))
    chosen = rng.choice(spec.neighbours, stage.n_supports, replace=False)
    return replace(spec, neighbours=tuple(int(offset) for offset in np.resize(chosen, len(spec.neighbours))))


def _drawn_times(rng: np.random.Generator, stage: Stage, before: int) -> Times:
    """When the frames of a clip are taken, ascending from 0: consecutive targets, `before` references before them."""
    n_targets, n_references = stage.n_targets * stage.n_chunks, stage.n_references
    if stage.spread_targets:  # all but one are drawn as if they were references of that one
        n_targets, n_references = 1, n_targets - 1
        before = int(rng.integers(n_references + 1))
    away = np.exp(rng.uniform(math.log(MIN_DISTANCE), math.log(MAX_DISTANCE + 1), n_references)).astype(int)
    past, future = np.sort(away[:before])[::-1], np.sort(away[before:])
    times = np.concatenate((-past, np.arange(n_targets), n_targets - 1 + future))
    return np.asarray(times - times[0], np.int64)


def _real_clip(rng: np.random.Generator, clips: tuple[Tensor, ...], times: Times, size: tuple[int, int]) -> Tensor:
    """A crop through time and space, (T, 3, H, W): some frames left out, perhaps backwards, perhaps mirrored."""
    clip = clips[rng.integers(len(clips))]
    max_stride = min(_MAX_STRIDE, max(1, (clip.shape[0] - 1) // max(1, int(times[-1]))))
    stride = int(rng.integers(1, max_stride + 1))
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
        return NO_GRAYS
    red, green, blue = torch.stack(clips).unbind(dim=2)
    return (255 * (0.299 * red + 0.587 * green + 0.114 * blue)).round().to(torch.uint8).cpu().numpy()


def _floats(frames: Tensor) -> Tensor:
    """(T, H, W, 3) uint8 -> (T, 3, H, W) in [0, 1]."""
    return frames.permute(0, 3, 1, 2).float() / 255
