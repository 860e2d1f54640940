"""What a network is adapted on, and judged by: excerpts with an extra hole, and all that can be computed beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from vidfill.adapt.excerpts import Excerpt
from vidfill.adapt.places import draw_extra
from vidfill.frame import Bool
from vidfill.models.base import ClipSource, Model
from vidfill.models.fuse import Fuse
from vidfill.train.batches import Batch, grays_of
from vidfill.train.candidate_feed import prepare
from vidfill.train.candidates import Frames, crop_on_hole, find_candidates
from vidfill.train.feed import Drawn


class Sample(NamedTuple):
    """A square crop of an excerpt with an extra hole.

    Attributes:
        frames: "truth" (T, S, S, 3) uint8 and "hole" (T, S, S) uint8, the real hole and the extra one; for `fuse` also
            the other fields of `vidfill.train.candidates.frame_type`.
        extra: (T, S, S), the extra hole.
        targets: the positions that may be filled; the others are there for windows that reach so far.
    """

    frames: Frames
    extra: Bool
    targets: range

    def windows(self, n_targets: int) -> list[range]:
        """All runs of so many targets (fewer where there are not as many) that have some of the extra hole."""
        n = min(n_targets, len(self.targets))
        firsts = range(self.targets.start, self.targets.stop - n + 1)
        return [range(first, first + n) for first in firsts if self.extra[first : first + n].any()]


def make_sample(
    model: Model,
    excerpt: Excerpt,
    targets: range,
    crop_px: int,
    rng: np.random.Generator,
    on_step: Callable[[], None],
) -> Sample | None:
    """Cut an extra hole into an excerpt; for `fuse`, find the candidates for it, which depend on no weights.

    Args:
        model: what will be unrolled over it.
        excerpt: the frames.
        targets: positions in it that may be filled.
        crop_px: side of the square at most.
        rng: draws the hole and the crop.
        on_step: called now and then; what it raises ends the work.

    Returns:
        None where the place that was drawn is no good.
    """
    extra = draw_extra(rng, excerpt.holes)
    if extra is None:
        return None
    share = extra[targets.start : targets.stop].mean(axis=0, dtype=np.float32)
    box = crop_on_hole(rng, share, min(crop_px, *extra.shape[1:]))
    if box is None:
        return None
    x0, y0, x1, y1 = box
    holes = excerpt.holes | extra
    extra = extra[:, y0:y1, x0:x1]
    if isinstance(model, Fuse):
        stretch = find_candidates(
            list(excerpt.frames),
            torch.from_numpy(holes).float(),
            box,
            model.sizes["n_candidates"],
            n_kept=targets.stop,
            on_step=on_step,
        ).stretch
        frames = {name: np.ascontiguousarray(stretch[name][targets.start :]) for name in stretch.dtype.names or ()}
        return Sample(frames, extra[targets.start : targets.stop], range(len(targets)))
    on_step()
    cut = {"truth": excerpt.frames[:, y0:y1, x0:x1], "hole": holes[:, y0:y1, x0:x1].astype(np.uint8)}
    return Sample({name: np.ascontiguousarray(value) for name, value in cut.items()}, extra, targets)


def drawn(model: Model, sample: Sample, targets: range) -> Drawn:
    """A sample as a training step or an unroll takes it, on the model's device.

    Args:
        model: the whole model; what is unrolled of `fuse` is the part that learns.
        sample: of this model.
        targets: positions in it to fill.
    """
    device = next(model.parameters()).device
    if isinstance(model, Fuse):
        part = {name: value[targets.start : targets.stop] for name, value in sample.frames.items()}
        clip, holes, source = prepare([part], device)
        extra = _on(device, sample.extra[targets.start : targets.stop])
        return Drawn(_batch(clip, holes, extra, range(len(targets))), source, model.decider, model.decider.spec)
    truth, hole = (torch.from_numpy(sample.frames[name]).to(device)[None] for name in ("truth", "hole"))
    clip, holes = truth.permute(0, 1, 4, 2, 3).float() / 255, hole[:, :, None].float()
    batch = _batch(clip, holes, _on(device, sample.extra), targets)
    return Drawn(batch, ClipSource(model, clip, holes), model, model.spec)


def _batch(clip: torch.Tensor, holes: torch.Tensor, extra: torch.Tensor, targets: range) -> Batch:
    """The loss is taken in the extra hole; what is behind the real one nobody knows."""
    return Batch(clip, extra, targets, None, (), grays_of(list(clip)), unknown=holes - extra)


def _on(device: torch.device, extra: Bool) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(extra)).to(device).float()[None, :, None]
