"""Tracked masks as masks of the source: grown, at its size and orientation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from vidfill.masks.edit import dilate
from vidfill.masks.layers import MaskAt
from vidfill.masks.prompt import Prompting
from vidfill.track.result import Track
from vidfill.track.timeline import working_size
from vidfill.video.frame import Bool, Frame, VideoInfo

DEFAULT_GROWTH_PX = 1.5
"""How far masks are grown by default, in pixels of the size that tracking works at."""


class TrackLayer:
    """A `vidfill.masks.layers.Layer` of tracked masks, which are grown as `prompting` says.

    The file that `vidfill.track.clip.track` writes need not exist before the layer is opened.
    """

    def __init__(self, path: Path, info: VideoInfo, prompting: Prompting) -> None:
        self._path, self._info = path, info
        self._grow_px = default_growth(info) if prompting.grow_px is None else prompting.grow_px

    @contextmanager
    def open(self) -> Iterator[MaskAt]:
        """Reads each mask when its frame is asked for."""
        with Track.open(self._path, self._info) as track:

            def mask_at(frame: Frame) -> Bool | None:
                return self._full_size(track.mask(frame.index)) if frame.index < track.n_frames else None

            yield mask_at

    def count(self) -> int | None:
        """The number of frames that were tracked."""
        with Track.open(self._path, self._info) as track:
            return track.n_frames

    def _full_size(self, mask: Bool) -> Bool:
        """A mask at the size and orientation of the coded picture."""
        shown = dilate(full_size(mask, self._info), self._grow_px)
        return self._info.orientation.to_coded(shown).astype(np.bool_, copy=False)


def default_growth(info: VideoInfo) -> int:
    """How far tracked masks are grown by default, in pixels of the source."""
    return math.ceil(DEFAULT_GROWTH_PX * info.display_size[0] / working_size(info)[0])


def full_size(mask: Bool, info: VideoInfo) -> Bool:
    """A mask at the size of the picture as a player shows it."""
    height, width = info.display_size
    if mask.shape == (height, width):
        return mask
    return np.asarray(cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5)
