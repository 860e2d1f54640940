"""Put a patch into the frame's own planes: level at the seam, grain, feather. Outside the mask nothing changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vidfill.compose.grain import add_missing
from vidfill.compose.seam import match_rim
from vidfill.frame import Box, Frame, Patch, VideoInfo
from vidfill.video.color import paste_rgb, rgb_crop

# What seams and grain look at around the hole.
_RING_PX = 24


@dataclass(frozen=True, slots=True)
class ComposeSettings:
    """What is done to a fill before it is put into the picture.

    Attributes:
        blend: correct its level so that it meets the picture at the rim.
        grain: add the grain of the surroundings where the fill lacks it.
        seed: of the grain, beside the frame's index.
    """

    blend: bool = True
    grain: bool = True
    seed: int = 0


def compose(frame: Frame, info: VideoInfo, patch: Patch, settings: ComposeSettings) -> None:
    """Put a patch into a frame, in place.

    Args:
        frame: the picture that the patch was made for.
        info: of the source.
        patch: see `Patch`; samples where its alpha is 0 stay bit-identical.
        settings: what to do beside the feather.
    """
    box = patch.box.grow(_RING_PX, height=info.height, width=info.width)
    # Whole chroma blocks, so that none is cut by the edge of the region.
    box = Box(box.x0 & ~3, box.y0 & ~3, min(box.x1 + 3 & ~3, info.width), min(box.y1 + 3 & ~3, info.height))
    source = rgb_crop(frame, info, box)
    inner = np.s_[patch.box.y0 - box.y0 : patch.box.y1 - box.y0, patch.box.x0 - box.x0 : patch.box.x1 - box.x0]
    alpha = np.zeros((box.height, box.width), np.uint8)
    alpha[inner] = patch.alpha
    hole = alpha > 0
    fill = source.copy()
    fill[inner] = np.where(hole[inner][..., None], patch.rgb / np.float32(65535), source[inner])
    if settings.blend:
        fill = match_rim(fill, source, hole)
    if settings.grain:
        fill = add_missing(fill, source, hole, seed=(settings.seed, patch.index))
    rgb = np.where(hole[..., None], np.clip(fill, 0, 1), source).astype(np.float32)
    paste_rgb(frame, info, box, rgb, (alpha / np.float32(255)).astype(np.float32))
