"""Two tracks of one object, from the prompt before and from the prompt after, as one."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from vidfill.track.base import CONFIDENT, Tracked
from vidfill.track.select import iou
from vidfill.video.frame import Bool, Float

MIN_OVERLAP = 0.5
"""IoU from which on two tracks follow the same object."""
MUCH_NEARER = 4.0
"""Of two tracks that disagree, the one whose prompt is nearer by this factor is used."""


class Passing(NamedTuple):
    """A track on one frame, and how many frames ago it was started."""

    tracked: Tracked
    n_since: int

    @property
    def is_known(self) -> bool:
        """Whether it knows where the object is, or that it has left."""
        return self.tracked.confidence >= CONFIDENT


def merge(earlier: Passing | None, later: Passing | None) -> Tracked | None:
    """What two tracks make of a frame; None where no track leads to it.

    Args:
        earlier: from the prompt before.
        later: from the prompt after.
    """
    if earlier is None or later is None:
        only = earlier or later
        return only.tracked if only else None
    if earlier.is_known != later.is_known:
        return (earlier if earlier.is_known else later).tracked
    near, far = sorted((earlier, later), key=lambda track: track.n_since)
    if not near.is_known:
        return near.tracked
    if near.tracked.has_left or far.tracked.has_left:
        return far.tracked if near.tracked.has_left else near.tracked
    overlap = iou(near.tracked.mask, far.tracked.mask)
    if overlap >= MIN_OVERLAP:
        weight = far.n_since / max(1, near.n_since + far.n_since)
        mask = between(near.tracked.mask, far.tracked.mask, weight)
        return Tracked(mask, max(near.tracked.confidence, far.tracked.confidence))
    if far.n_since >= MUCH_NEARER * near.n_since:
        return near.tracked
    doubt = min(overlap, CONFIDENT / 2)
    return Tracked(near.tracked.mask, doubt, "the tracks from the prompts before and after it disagree")


def between(a: Bool, b: Bool, weight: float) -> Bool:
    """A shape between two: signed distances to their outlines, `weight` of the first and the rest of the second."""
    return np.asarray(weight * _signed_distance(a) + (1 - weight) * _signed_distance(b) > 0)


def _signed_distance(mask: Bool) -> Float:
    """Pixels to the outline, positive inside."""
    inside = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    outside = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(inside - outside, np.float32)
