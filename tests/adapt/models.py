"""Networks of a few hundred weights, one of each model, and a clip of a pan that hides nothing for good."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.align.scenes import painted, seen_through, shift
from tests.clips import Clip as Written
from tests.clips import write_clip, write_images
from vidfill.adapter import Clip
from vidfill.masks.files import MaskSpec, open_masks
from vidfill.models.fuse import Fuse
from vidfill.plan import PlanSettings, analyse
from vidfill.video.read import Reader
from vidfill.weights import Checkpoint, save_weights

SIZE = (64, 112)
SIZES: dict[str, Any] = {"target": (8, 8, 8, 8), "candidate": (8, 8), "key": 4, "score": 4, "n_candidates": 2}


def small_fuse(seed: int = 0, *, spoiled: float = 0.0) -> Fuse:
    """A new network decides as propagate does; a spoiled one adds noise of that strength, which is easy to unlearn."""
    torch.manual_seed(seed)
    model = Fuse.from_sizes(SIZES).eval()
    if spoiled:
        bias = model.decider.synthesis.bias
        assert bias is not None
        torch.nn.init.constant_(bias, spoiled)
    return model


def write_pan(folder: Path, *, n: int = 12, box: tuple[int, int, int, int] = (44, 20, 68, 44)) -> Written:
    """A pan of 4 px a frame over a painted scene as in.mkv, and the mask of a still box as masks/."""
    scene = painted(SIZE[0] + 20, SIZE[1] + 20 + 4 * n)
    frames = np.stack([seen_through(scene, shift(10 + 4 * i, 10), SIZE[::-1]) for i in range(n)])
    clip = write_clip(folder / "in.mkv", pictures=frames, codec="ffv1", pix_fmt="yuv444p")
    masks = np.zeros((n, *SIZE), np.bool_)
    masks[:, box[1] : box[3], box[0] : box[2]] = True
    write_images(folder / "masks", masks)
    return clip


def opened(folder: Path, **settings: Any) -> Clip:
    """The clip of `write_pan` as an adapter gets it."""
    reader = Reader(folder / "in.mkv")
    masks = open_masks(MaskSpec(folder / "masks"), reader.info, rate=Fraction(25))
    return Clip(analyse(reader, masks, PlanSettings(**settings)), reader, masks)


def save_small(path: Path, model: Fuse) -> Path:
    """The network as a weight file."""
    save_weights(path, Checkpoint("fuse", model.sizes, model.state_dict()))
    return path
