"""Poses of the frames of a segment: homographies to common origins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from vidfill.align.homography import Matrix, fit_homography, is_still, match
from vidfill.models.propagate.seen import Seen
from vidfill.video.frame import Bool

N_ANCHORS = 3  # frames with a pose that a new one is matched with, at most
COARSE = 8
SEEN_LEVEL = 200
HOLE_RATIO = 0.25  # with SEEN_LEVEL, a frame in the target's own place uncovers nothing of its hole
MIN_USEFUL_RATIO = 0.03  # of the hole


class Pose(NamedTuple):
    """A frame's place relative to an origin; only poses of one origin can be compared."""

    origin: int  # position of the frame that is the origin
    matrix: Matrix  # (3, 3), origin from frame


def place(seen: Mapping[int, Seen], poses: Mapping[int, Pose], target: int) -> dict[int, Pose]:
    """Poses for all frames of a window, given some of them, in order of distance from the target.

    Each new frame is matched with the nearest that has a pose; one that matches no other is an origin of its own.
    """
    found = {i: pose for i, pose in poses.items() if i in seen}
    for i in sorted((i for i in seen if i not in found), key=lambda i: (abs(i - target), i)):
        found[i] = Pose(i, np.eye(3))
        for j in sorted((j for j in found if j != i), key=lambda j: (abs(j - i), j))[:N_ANCHORS]:
            matrix = register(seen[i], seen[j])
            if matrix is not None:
                joined = found[j].matrix @ matrix
                found[i] = Pose(found[j].origin, joined / np.linalg.norm(joined))
                break
    return found


def register(source: Seen, target: Seen) -> Matrix | None:
    """Target from source by matching keypoints; the identity for equal pictures and still ones without keypoints."""
    is_one_size = source.rgbk.shape == target.rgbk.shape
    if is_one_size:
        both = source.known & target.known
        if both.any() and (source.grey[both] == target.grey[both]).all():
            return np.eye(3)
    matrix = fit_homography(*match(source.keypoints, target.keypoints))
    if matrix is None and is_one_size and is_still(source.grey, source.known, target.grey, target.known):
        return np.eye(3)
    return matrix


def between(source: Pose, target: Pose) -> Matrix | None:
    """Target from source; None without a common origin."""
    if source.origin != target.origin:
        return None
    return np.asarray(np.linalg.inv(target.matrix) @ source.matrix, np.float64)


def choose(
    target: int, hole: Bool, seen: Mapping[int, Seen], matrices: Mapping[int, Matrix], *, n_max: int, n_cover: int
) -> list[int]:
    """The references that uncover the hole of a target, nearest first, judged on masks of an eighth of the size.

    At most `n_max`; one is useful as long as part of what it shows is shown by fewer than `n_cover` others. `matrices`
    are approximately target from frame.
    """
    height, width = hole.shape
    small_wh = (max(1, width // COARSE), max(1, height // COARSE))
    scale = np.diag([small_wh[0] / width, small_wh[1] / height, 1.0])
    back = np.linalg.inv(scale)
    ratio = cv2.resize(hole.astype(np.float32), small_wh, interpolation=cv2.INTER_AREA)
    wanted = ratio > min(HOLE_RATIO, float(ratio.max()) / 2)
    count = np.zeros(wanted.shape, np.int32)
    chosen: list[int] = []
    for i in sorted(matrices, key=lambda i: (abs(i - target), i)):
        if len(chosen) == n_max:
            break
        known = cv2.resize(seen[i].rgbk[..., 3], small_wh, interpolation=cv2.INTER_AREA)
        shows = (cv2.warpPerspective(known, scale @ matrices[i] @ back, small_wh) > SEEN_LEVEL) & wanted
        is_new = bool((shows & (count == 0)).any())
        if is_new or (shows & (count < n_cover)).sum() > MIN_USEFUL_RATIO * wanted.sum():
            chosen.append(i)
            count += shows
    return chosen
