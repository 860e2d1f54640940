"""The contracts of tracking: what selects an object on one frame, and what follows it from frame to frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vidfill.masks.prompt import FramePrompt
from vidfill.video.frame import Bool, Float

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB at the size that tracking works at, turned as a player shows it."""

Near = Mapping[int, Picture] | None
"""Frames of the same scene by their distance in frames from one, which show how things move."""

CONFIDENT = 0.5
"""From this confidence on a mask is taken for the object; below it the object is lost."""


class Tracked(NamedTuple):
    """What a selector or a tracker makes of one frame.

    Attributes:
        mask: (H, W), where the object is.
        confidence: in [0, 1]; below `CONFIDENT` the mask is not to be used.
        reason: what speaks against the mask, a phrase; "" where nothing does.
        has_left: whether the object has gone out of the picture, so that there is nothing to follow any more.
        n_withdrawn: how many frames before this one are not to be believed either, now that the object is lost.
    """

    mask: Bool
    confidence: float
    reason: str = ""
    has_left: bool = False
    n_withdrawn: int = 0


class Selector(Protocol):
    """Finds the object that the prompts of one frame are about."""

    def select(self, picture: Picture, prompt: FramePrompt, prior: Bool | None = None, near: Near = None) -> Tracked:
        """The object's mask on this frame.

        Args:
            picture: the frame.
            prompt: points and a box in pixels of `picture`.
            prior: (H, W), what a track made of this frame before the prompts corrected it; None where there is none.
            near: other frames, by their distance from this one.
        """
        ...


class Tracker(Protocol):
    """Follows one object from frame to frame, whichever way time runs; holds a bounded number of frames."""

    def start(self, picture: Picture, mask: Bool, *, clicked: Float | None = None) -> None:
        """Begin, or begin anew, at a frame where the object is known.

        Args:
            picture: the frame.
            mask: (H, W), where the object is on it.
            clicked: (N, 2) points that are surely on it; None or no points where nothing was clicked.
        """
        ...

    def step(self, picture: Picture) -> Tracked:
        """The object on the next frame; `picture` has the size of the one before and shows the same scene."""
        ...
