"""The interfaces of tracking: what selects an object on one frame, and what follows it from frame to frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from vidfill.masks.prompt import FramePrompt
from vidfill.video.frame import Bool, Float, Rgb

"""(H, W, 3) RGB at the size that tracking works at, turned as a player shows it."""

Near = Mapping[int, Rgb] | None
"""Frames of the same scene by their distance in frames from one, which show how things move."""

CONFIDENT = 0.5
"""From this confidence on a mask is taken for the object; below it the object is lost."""


class Tracked(NamedTuple):
    """What a selector or a tracker finds on one frame."""

    mask: Bool  # (H, W), where the object is
    confidence: float  # in [0, 1]; below `CONFIDENT` the mask is not used
    reason: str = ""  # what speaks against the mask, a phrase; "" where nothing does
    has_left: bool = False  # whether the object has left the picture, so that there is nothing to follow any more
    n_withdrawn: int = 0  # frames before this one that are unreliable as well, now that the object is lost


class Selector(Protocol):
    """Finds the object that the prompts of one frame mean."""

    def select(self, picture: Rgb, prompt: FramePrompt, prior: Bool | None = None, near: Near = None) -> Tracked:
        """The object's mask on this frame.

        Args:
            picture: the frame.
            prompt: points and a box in pixels of `picture`.
            prior: (H, W), what a track made of this frame before the prompts corrected it; None where there is none.
            near: other frames, by their distance from this one.
        """
        ...


class Tracker(Protocol):
    """Follows one object from frame to frame, forward or backward, with a bounded number of frames in memory."""

    def start(self, picture: Rgb, mask: Bool, *, clicked: Float | None = None) -> None:
        """Begin, or begin anew, at a frame with the object at `mask`, (H, W), and at (N, 2) clicked points, if any."""
        ...

    def step(self, picture: Rgb) -> Tracked:
        """The object on the next frame; `picture` has the size of the one before and shows the same scene."""
        ...
