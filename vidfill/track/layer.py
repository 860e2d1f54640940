"""Tracked masks as the masks of a source: brought to its size and orientation, grown."""

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

GROWN_PX = 1.5
"""How far masks are grown unless told otherwise, in pixels of the size that tracking works at."""


class TrackLayer:
    """A `vidfill.masks.layers.Layer` of what tracking found.

    Args:
        path: the file that `vidfill.track.clip.track` leaves; it need not be there before the layer is opened.
        info: the source.
        prompting: how far the masks are grown.
    """

    def __init__(self, path: Path, info: VideoInfo, prompting: Prompting) -> None:
        self._path, self._info = path, info
        self._grow_px = prompting.grow_px
        if self._grow_px is None:
            self._grow_px = default_growth(info)

    @contextmanager
    def open(self) -> Iterator[MaskAt]:
        """Reads each mask when its frame is asked for."""
        with Track.open(self._path, self._info) as track:

            def mask_at(frame: Frame) -> Bool | None:
                if frame.index >= track.n_frames:
                    return None
                return self._full_size(track.mask(frame.index))

            yield mask_at

    def count(self) -> int | None:
        """The number of frames that were tracked."""
        with Track.open(self._path, self._info) as track:
            return track.n_frames

    def _full_size(self, mask: Bool) -> Bool:
        """A mask at the size and orientation of the coded picture."""
        assert self._grow_px is not None
        shown = full_size(mask, self._info)
        if self._grow_px:
            shown = dilate(shown, self._grow_px)
        return self._info.orientation.to_coded(shown).astype(np.bool_, copy=False)


def default_growth(info: VideoInfo) -> int:
    """How far tracked masks are grown unless told otherwise, in pixels of the source."""
    return math.ceil(GROWN_PX * info.display_size[0] / working_size(info)[0])


def full_size(mask: Bool, info: VideoInfo) -> Bool:
    """A mask at the size of the picture as a player shows it."""
    height, width = info.display_size
    if mask.shape == (height, width):
        return mask
    return np.asarray(cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5)
