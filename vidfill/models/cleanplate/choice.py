"""Chooses the frame in which to paint what no frame shows."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from vidfill.models.cleanplate.plates import PlateTarget
from vidfill.models.propagate.poses import Pose, between
from vidfill.models.propagate.seen import Seen
from vidfill.video.frame import Bool

COARSE = 8
SEEN_LEVEL = 200
COVERED_LEVEL = 64
RING = np.ones((7, 7), np.uint8)  # cells around what is to be painted
RING_WEIGHT = 0.5
MIDDLE_WEIGHT = 0.2


def choose_frames(
    wanted: Bool, target: PlateTarget, index: int, seen: Mapping[int, Seen], poses: Mapping[int, Pose]
) -> list[int]:
    """The best frame of the window in which to paint a part of a target at `index`, then the target itself.

    A good frame holds all of the part, with known pixels around it, and lies in the middle of the window, so that the
    painting is warped little for the others. Judged on masks of an eighth of the size; `wanted` covers the region.
    """
    height, width = target.seen.rgbk.shape[:2]
    small_wh = (max(1, width // COARSE), max(1, height // COARSE))
    scale = np.diag([small_wh[0] / width, small_wh[1] / height, 1.0])
    whole = np.zeros((height, width), np.uint8)
    whole[target.region.box.slices] = wanted * np.uint8(255)
    part = cv2.resize(whole, small_wh, interpolation=cv2.INTER_AREA)
    total = max(float(part.sum()), 1.0)
    middle, span = (min(seen) + max(seen)) / 2, max(max(seen) - min(seen), 1)
    scores = {}
    for i, frame in seen.items():
        matrix = between(target.pose, poses[i])
        if matrix is None or frame.known.all():
            continue
        moved = cv2.warpPerspective(part, scale @ matrix @ np.linalg.inv(scale), small_wh)
        magnification = abs(float(np.linalg.det(matrix[:2, :2] / matrix[2, 2])))
        covered = min(1.0, float(moved.sum()) / (total * max(magnification, 1e-6)))
        at = (moved > COVERED_LEVEL).astype(np.uint8)
        ring = (cv2.dilate(at, RING) > 0) & (at == 0)
        known = cv2.resize(frame.rgbk[..., 3], small_wh, interpolation=cv2.INTER_AREA) > SEEN_LEVEL
        known_ratio = float(known[ring].mean()) if ring.any() else 0.0
        scores[i] = covered + RING_WEIGHT * known_ratio - MIDDLE_WEIGHT * abs(i - middle) / span
    best = max(scores, key=lambda i: (scores[i], -abs(i - index)), default=index)
    return [best] if best == index else [best, index]
