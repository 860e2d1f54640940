"""Steps of `fuse` from candidates that worker processes compute beside the training (`vidfill.train.candidates`)."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidfill.errors import InputError, VidfillError
from vidfill.models.base import Model, View
from vidfill.models.fuse import Fuse
from vidfill.models.fuse_candidates import NOTHING, CandidateSet
from vidfill.models.fuse_network import Decider
from vidfill.train.batches import Batch, grays_of
from vidfill.train.candidates import Frames, Stretch, draw_stills, keep_computing, stretches_of
from vidfill.train.data import TrainingData, training_videos
from vidfill.train.feed import Drawn, Feed
from vidfill.train.parallel import Place
from vidfill.train.recipes import Recipe, Stage

RING = "candidates"
PATIENCE_S = 0.5
DROPPED_SHARE = 0.08
N_TRIES = 8
MIN_HOLE = 0.1


class PreparedSource:
    """Frames whose candidates are known already.

    Args:
        views: in order.
    """

    def __init__(self, views: Sequence[View]) -> None:
        self.n_frames = len(views)
        self._views = views

    def view(self, index: int) -> View:
        """The frame at a position."""
        return self._views[index]

    def keep_record(self, index: int, record: Any) -> None:
        """Nothing: there is one pass only."""

    def drop_before(self, index: int, keep: range = range(0)) -> None:
        """Nothing: all of it is in memory anyway."""

    def forget_features(self) -> None:
        """Nothing: candidates depend on no weights."""


class CandidateFeed:
    """Crops of stretches from a ring of files; some steps of photos, where there is nothing but to synthesise.

    Args:
        decider: what is unrolled.
        folder: of the ring.
        data: its photos and shapes.
        seed: of everything that is drawn.
    """

    def __init__(self, decider: Decider, folder: Path, data: TrainingData, *, seed: int) -> None:
        self._decider, self._folder, self._data, self._seed = decider, folder, data, seed

    def draw(self, stage: Stage, *, step: int, place: Place) -> Drawn:
        """See `Feed.draw`; which stretches there are depends on how far the workers are."""
        n_frames = stage.n_targets * stage.n_chunks
        per_rank = stage.batch // place.n_ranks
        generators = [np.random.default_rng((self._seed, step, place.rank * per_rank + i)) for i in range(per_rank)]
        is_still = (
            bool(self._data.photos) and np.random.default_rng((self._seed, step)).random() < stage.synthetic_share
        )
        if is_still:
            parts = [draw_stills(rng, self._data, n_frames, stage.crop_px) for rng in generators]
        else:
            files = stretches_of(self._folder)
            chosen = [np.load(files[int(rng.integers(len(files)))], mmap_mode="r") for rng in generators]
            parts = [_cut(rng, one, n_frames, stage.crop_px) for rng, one in zip(generators, chosen, strict=True)]
        clip, holes, source = prepare(parts, next(self._decider.parameters()).device)
        batch = Batch(clip, holes, range(n_frames), None, (), grays_of(list(clip)))
        return Drawn(batch, source, self._decider, self._decider.spec)


def prepare(parts: Sequence[Frames], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, PreparedSource]:
    """Put stretches side by side on a device.

    Args:
        parts: the fields of `frame_type`, of the same shapes in each.
        device: takes them.

    Returns:
        clip (B, T, 3, H, W) in [0, 1], holes (B, T, 1, H, W), and the same with the candidates as views.
    """
    joined = {name: torch.from_numpy(np.stack([part[name] for part in parts])).to(device) for name in parts[0]}
    clip = _floats(joined["truth"])
    holes = joined["hole"][:, :, None].float()
    composite = _floats(joined["composite"])
    # Outside the hole the files hold what the truth is anyway.
    composite = torch.lerp(clip, composite, holes)
    rgb = joined["rgb"].permute(0, 1, 2, 5, 3, 4).float() / 255
    error = joined["error"].unsqueeze(3).float()
    motion = joined["motion"].float()
    views = [
        View(
            t,
            clip[:, t] * (1 - holes[:, t]),
            holes[:, t],
            CandidateSet(composite[:, t], holes[:, t], rgb[:, t], error[:, t], joined["facts"][:, t], motion[:, t]),
        )
        for t in range(clip.shape[1])
    ]
    return clip, holes, PreparedSource(views)


@contextmanager
def feeding(
    model: Model,
    paths: Sequence[Path],
    data: TrainingData,
    recipe: Recipe,
    run: Path,
    *,
    place: Place,
    should_stop: Callable[[], bool],
) -> Iterator[Feed | None]:
    """What a recipe's steps train on, with the workers that compute it for as long as the block runs.

    Args:
        model: what is trained.
        paths: of the training data.
        data: the same, loaded.
        recipe: the whole run.
        run: its folder; the ring of candidates lies in it.
        place: which of several processes this is; the first one has the workers.
        should_stop: ends the waiting for the first candidates.

    Yields:
        None where the recipe asks for no candidates.

    Raises:
        InputError: no video to compute candidates from.
        VidfillError: the workers have died.
    """
    budget = recipe.candidates
    if budget is None or not isinstance(model, Fuse):
        yield None
        return
    videos = training_videos(paths)
    if not videos and budget.n_workers:
        raise InputError("no videos to train fuse on", todo="name folders with videos")
    folder = run / RING
    context = multiprocessing.get_context("spawn")
    is_over = context.Event()
    with ExitStack() as stack:
        stack.callback(is_over.set)
        workers = []
        for worker in range(budget.n_workers if place.is_first else 0):
            process = context.Process(
                target=keep_computing,
                args=(videos, data.silhouettes.cpu(), folder, budget, recipe.data.short_side_px),
                kwargs={"seed": recipe.seed, "worker": worker, "should_stop": is_over.is_set},
                daemon=True,
            )
            process.start()
            workers.append(process)
        while len(stretches_of(folder)) < budget.n_first and not should_stop():
            if workers and not any(process.is_alive() for process in workers):
                raise VidfillError("the processes that compute candidates have died", todo="see what they wrote above")
            time.sleep(PATIENCE_S)
        yield CandidateFeed(model.decider, folder, data, seed=recipe.seed)


def _cut(rng: np.random.Generator, stretch: Stretch, n_frames: int, crop_px: int) -> Frames:
    """Consecutive frames of a stretch, perhaps mirrored, on a crop that holds some of the hole.

    Raises:
        ValueError: the stretch is too short.
    """
    first = int(rng.integers(max(0, len(stretch) - n_frames) + 1))
    part = stretch[first : first + n_frames]
    if len(part) < n_frames:
        raise ValueError(f"a stretch of {len(stretch)} frames is too short for {n_frames}")
    most = part["hole"].shape[-1] - crop_px
    for _ in range(N_TRIES):
        y, x = (int(offset) for offset in rng.integers(0, most + 1, 2))
        here = np.s_[y : y + crop_px, x : x + crop_px]
        hole = part["hole"][:, here[0], here[1]]
        if hole.mean() > MIN_HOLE:
            break
    rows, columns = here
    cut: Frames = {
        "truth": part["truth"][:, rows, columns],
        "hole": hole,
        "composite": part["composite"][:, rows, columns],
        "rgb": part["rgb"][:, :, rows, columns],
        "error": part["error"][:, :, rows, columns].copy(),
        "facts": np.array(part["facts"]),
    }
    is_dropped = rng.random(cut["error"].shape[1]) < DROPPED_SHARE
    cut["error"][:, is_dropped] = NOTHING
    shift = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]], np.float64)
    if rng.random() < 0.5:
        axes = {"truth": 2, "hole": 2, "composite": 2, "rgb": 3, "error": 3}
        cut = {name: np.flip(value, axes[name]) if name in axes else value for name, value in cut.items()}
        shift = np.array([[-1, 0, crop_px - 1], [0, 1, 0], [0, 0, 1]], np.float64) @ shift
    cut["motion"] = shift @ part["motion"] @ np.linalg.inv(shift)
    return {name: np.ascontiguousarray(value) for name, value in cut.items()}


def _floats(frames: torch.Tensor) -> torch.Tensor:
    """(B, T, H, W, 3) uint8 -> (B, T, 3, H, W) in [0, 1]."""
    return frames.permute(0, 1, 4, 2, 3).float() / 255
