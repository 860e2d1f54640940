"""Objects that move differently from the scene, tracked to the frames that show what the hole hides of them.

A homography of the whole frame follows the scene; a car that drives through it would be left behind or doubled. Points
near the hole that agree on another motion give the car its own.

Source: motion layers by sequential RANSAC (Torr and Zisserman 1998; Wang and Adelson 1994, for the layers).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.align.homography import Matrix
from vidfill.models.propagate.candidates import Candidate, Region
from vidfill.models.propagate.seen import Seen
from vidfill.video.frame import Bool, Float

Points = Float

# Set by hand on the evaluation clips.
N_OBJECTS = 2
N_POINTS = 200
POINT_QUALITY = 0.003
POINT_SPACING_PX = 5
HOLE_MARGIN_PX = 5
BAND_PX = 40  # points farther from the hole say little about what is in it
FOUND_AT = 2  # frames away: near enough to track, far enough for the object to have moved
N_FOUND_AT = 3
MIN_MOTION_PX = 1.5
MIN_POINTS = 8
INLIER_PX = 1.5
MAX_CHANGE_OF_AREA = 0.5
WINDOW_PX = 15
LEVELS = 3
MAX_RETURN_PX = 1.0  # forward-backward error of a tracked point
SEEN_LEVEL = 250
REACH = 24  # frames: an extrapolated motion goes no farther
N_MISSES = 2
N_FRAMES = 6
N_COVER = 3
MIN_USEFUL_RATIO = 0.03


class Moving(NamedTuple):
    """An object with a motion of its own."""

    matrices: dict[int, Matrix]  # target from frame, for the frames to which it could be tracked
    uncovering: list[int]  # positions of those that show what the hole hides of it, nearest first


def find_moving(index: int, region: Region, seen: Mapping[int, Seen], matrices: Mapping[int, Matrix]) -> list[Moving]:
    """Up to `N_OBJECTS` moving objects around the hole of a target, those with the most points first.

    `matrices` are target from frame, for the scene.
    """
    tracker = _PointTracker(index, region, seen, matrices)
    points = _points(region, tracker.grey)
    if len(points) < MIN_POINTS:
        return []
    near = sorted(tracker.to_box, key=lambda i: (abs(abs(i - index) - FOUND_AT), i))[:N_FOUND_AT]
    tracked = {i: tracker.track_to(points, i, np.eye(3)) for i in near}
    is_free = np.ones(len(points), np.bool_)
    objects: list[Moving] = []
    while len(objects) < N_OBJECTS:
        fits = []
        for i, (places, good) in tracked.items():
            has_moved = np.linalg.norm(places - points, axis=1) > MIN_MOTION_PX
            motion, of_it = _fit(places, points, good & has_moved & is_free)
            if motion is not None:
                fits.append((int(of_it.sum()), -i, motion, of_it))
        if not fits:
            break
        _, minus_i, motion, of_it = max(fits, key=lambda fit: fit[:2])
        is_free &= ~of_it
        objects.append(tracker.track(points[of_it], -minus_i, motion))
    return objects


def bring_moving(moving: Moving, index: int, region: Region, seen: Mapping[int, Seen]) -> list[Candidate]:
    """The frames that uncover an object, aligned with the target by its motion."""
    brought = (region.bring(seen[i].rgbk, moving.matrices[i], i - index) for i in moving.uncovering)
    return [candidate for candidate in brought if candidate is not None]


class _PointTracker:
    """Tracks points of a target's box to other frames, which are first aligned by the scene's homographies."""

    def __init__(self, index: int, region: Region, seen: Mapping[int, Seen], matrices: Mapping[int, Matrix]) -> None:
        self.grey = np.asarray(cv2.cvtColor(region.rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        self.to_box = {i: region.from_frame(matrix) for i, matrix in matrices.items() if i in seen and i != index}
        self._index, self._region, self._seen = index, region, seen

    def track_to(self, points: Points, i: int, guess: Matrix) -> tuple[Points, Bool]:
        """Where points are in frame `i`, aligned by the scene and then by a guess, and which are reliable."""
        warped = cv2.warpPerspective(self._seen[i].rgbk, guess @ self.to_box[i], self._region.size_wh)
        other = np.asarray(cv2.cvtColor(warped, cv2.COLOR_RGBA2GRAY), np.uint8)
        is_shown = warped[..., 3] > SEEN_LEVEL
        is_clear = cv2.erode(is_shown.astype(np.uint8), _square(HOLE_MARGIN_PX)) > 0
        # The edge of a hole would be tracked like that of an object, so each picture fills in the other.
        grey = np.where(self._region.hole & is_shown, other, self.grey)
        other = np.where(is_shown, other, self.grey)
        places, good = _flow(grey, other, points)
        returned, found_again = _flow(other, grey, places)
        good &= found_again & (np.abs(returned - points).max(axis=1) < MAX_RETURN_PX)
        width, height = self._region.size_wh
        x, y = places.round().astype(int).T
        good &= (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return places, good & is_clear[y.clip(0, height - 1), x.clip(0, width - 1)]

    def track(self, points: Points, first: int, motion: Matrix) -> Moving:
        """Track an object away from the target both ways, each frame's motion extrapolated from the one before.

        Starts with the motion of the frame `first`, relative to the scene; ends at `REACH`, when `N_FRAMES` uncover the
        object, or after `N_MISSES` in a row.
        """
        index, hole = self._index, self._region.hole
        from_box = np.linalg.inv(self._region.from_frame(np.eye(3)))
        last = dict.fromkeys((False, True), (first - index, motion))
        misses = {False: 0, True: 0}
        matrices: dict[int, Matrix] = {}
        uncovering: list[int] = []
        count = np.zeros(hole.shape, np.int32)
        for i in sorted((i for i in self.to_box if abs(i - index) <= REACH), key=lambda i: (abs(i - index), i)):
            is_later = i > index
            if misses[is_later] == N_MISSES or len(uncovering) == N_FRAMES:
                continue
            n_frames, known = last[is_later]
            guess = np.eye(3) + (known - np.eye(3)) * ((i - index) / n_frames)
            places, good = self.track_to(points, i, guess)
            correction, _ = _fit(places, points, good)
            if correction is None:
                misses[is_later] += 1
                continue
            misses[is_later] = 0
            refined = np.asarray(correction @ guess, np.float64)
            last[is_later] = (i - index, refined)
            to_box = refined @ self.to_box[i]
            matrices[i] = np.asarray(from_box @ to_box, np.float64)
            shown = cv2.warpPerspective(self._seen[i].rgbk[..., 3], to_box, self._region.size_wh) > SEEN_LEVEL
            shown &= hole
            if int((shown & (count < N_COVER)).sum()) > MIN_USEFUL_RATIO * int(hole.sum()):
                uncovering.append(i)
                count += shown
        return Moving(matrices, uncovering)


def _points(region: Region, grey: NDArray[np.uint8]) -> Points:
    """(N, 2) corners of the target near the hole and clear of it."""
    is_clear = cv2.erode(region.known.astype(np.uint8), _square(HOLE_MARGIN_PX)) > 0
    is_near = cv2.dilate(region.hole.astype(np.uint8), _square(BAND_PX)) > 0
    allowed = (is_clear & is_near).astype(np.uint8)
    found = cv2.goodFeaturesToTrack(grey, N_POINTS, POINT_QUALITY, POINT_SPACING_PX, mask=allowed)
    return np.zeros((0, 2), np.float32) if found is None else np.asarray(found[:, 0], np.float32)


def _square(radius_px: int) -> NDArray[np.uint8]:
    return np.ones((2 * radius_px + 1, 2 * radius_px + 1), np.uint8)


def _flow(image: NDArray[np.uint8], other: NDArray[np.uint8], points: Points) -> tuple[Points, Bool]:
    """Points tracked from an image to another by pyramidal Lucas-Kanade, and which were found."""
    places, status, _ = cv2.calcOpticalFlowPyrLK(
        image,
        other,
        points.reshape(-1, 1, 2),
        np.empty((len(points), 1, 2), np.float32),
        winSize=(WINDOW_PX, WINDOW_PX),
        maxLevel=LEVELS - 1,
        criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.03),
    )
    return np.asarray(places[:, 0], np.float32), np.asarray(status[:, 0] > 0)


def _fit(source: Points, target: Points, usable: Bool) -> tuple[Matrix | None, Bool]:
    """The affine motion on which most usable points agree, and which do; None where too few."""
    agreed = np.zeros(len(source), np.bool_)
    rows = np.flatnonzero(usable)
    if len(rows) < MIN_POINTS:
        return None, agreed
    found, inliers = cv2.estimateAffine2D(
        source[rows], target[rows], method=cv2.RANSAC, ransacReprojThreshold=INLIER_PX, maxIters=500
    )
    if found is None or int(inliers.sum()) < MIN_POINTS:
        return None, agreed
    if abs(float(np.linalg.det(found[:, :2])) - 1) > MAX_CHANGE_OF_AREA:
        return None, agreed
    agreed[rows[inliers[:, 0] > 0]] = True
    return np.vstack((found, (0, 0, 1))), agreed
