"""Where the frames of a segment lie relative to each other, as homographies to common origins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from vidfill.align.homography import Known, Matrix, fit_homography, is_still, match
from vidfill.models.propagate.seen import Seen

N_ANCHORS = 3
COARSE = 8
SEEN_LEVEL = 200
HOLE_SHARE = 0.25  # together with SEEN_LEVEL: a frame in the target's own place uncovers nothing of its own hole
WORTH_SHARE = 0.03


class Pose(NamedTuple):
    """A frame's place."""

    origin: int  # number of the frame that the matrix leads to; only poses of one origin can be compared
    matrix: Matrix  # (3, 3), origin from frame


def place(seen: Mapping[int, Seen], poses: Mapping[int, Pose], target: int) -> dict[int, Pose]:
    """Poses for all the frames at hand; each new one is matched with the nearest that has one already.

    Args:
        seen: the frames at hand by position.
        poses: what is known of them so far.
        target: frames are placed in the order of their distance from this one.

    Returns:
        A pose for each of `seen`; a frame that fits no other is an origin of its own.
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
    """Target from source by matching keypoints; the identity for the same picture, or a still one without any."""
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
    """Target from source, None where the two have no common origin."""
    if source.origin != target.origin:
        return None
    return np.asarray(np.linalg.inv(target.matrix) @ source.matrix, np.float64)


def choose(
    target: int, hole: Known, seen: Mapping[int, Seen], matrices: Mapping[int, Matrix], *, n_most: int, n_cover: int
) -> list[int]:
    """The references that uncover the hole, nearest first, judged on masks of an eighth of the size.

    Args:
        target: position of the frame to be filled.
        hole: (H, W) bool, its hole.
        seen: the frames by position.
        matrices: target from frame, roughly, for those that may be chosen.
        n_most: at most so many are chosen.
        n_cover: a reference is worth its time as long as part of what it shows is seen by fewer than this.
    """
    height, width = hole.shape
    small_wh = (max(1, width // COARSE), max(1, height // COARSE))
    scale = np.diag([small_wh[0] / width, small_wh[1] / height, 1.0])
    back = np.linalg.inv(scale)
    share = cv2.resize(hole.astype(np.float32), small_wh, interpolation=cv2.INTER_AREA)
    wanted = share > min(HOLE_SHARE, float(share.max()) / 2)
    count = np.zeros(wanted.shape, np.int32)
    chosen: list[int] = []
    for i in sorted(matrices, key=lambda i: (abs(i - target), i)):
        if len(chosen) == n_most:
            break
        known = cv2.resize(seen[i].rgbk[..., 3], small_wh, interpolation=cv2.INTER_AREA)
        shows = (cv2.warpPerspective(known, scale @ matrices[i] @ back, small_wh) > SEEN_LEVEL) & wanted
        is_new = bool((shows & (count == 0)).any())
        if is_new or (shows & (count < n_cover)).sum() > WORTH_SHARE * wanted.sum():
            chosen.append(i)
            count += shows
    return chosen
