"""Homographies between two frames, estimated from the pixels outside their holes.

A homography is (3, 3) float64 and maps points (x, y) of one frame to another; `target_from_source` names both.
Images are grey uint8 (H, W); `known` is bool (H, W), True outside the hole.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.video.frame import Bool, Float

Grey = NDArray[np.uint8]
Matrix = NDArray[np.float64]

N_KEYPOINTS = 1000
KEYPOINT_CONTRAST = 0.01
HOLE_MARGIN_PX = 7
HALVED_FROM_PX = 192  # of the shorter side: from here on half the size has enough keypoints
MATCH_RATIO = 0.85
INLIER_PX = 2.0
MIN_INLIERS = 15
N_TRACKED = 250
TRACK_WINDOW_PX = 15
TRACK_LEVELS = 3
STILL_LEVELS = 3.0
MIN_AGREEMENT = 0.5


class Keypoints(NamedTuple):
    """Points of one frame and their descriptors."""

    points: Float  # (N, 2), (x, y) in pixels
    descriptors: NDArray[np.float16]  # (N, 128) of unit length (RootSIFT)


def find_keypoints(grey: Grey, known: Bool) -> Keypoints:
    """SIFT keypoints (Lowe 2004) with RootSIFT descriptors (Arandjelovic and Zisserman 2012), clear of the hole."""
    size = 2 * HOLE_MARGIN_PX + 1
    allowed = cv2.erode(known.astype(np.uint8), np.ones((size, size), np.uint8))
    sift = cv2.SIFT.create(nfeatures=N_KEYPOINTS, contrastThreshold=KEYPOINT_CONTRAST)
    scale = np.ones(2)
    if min(grey.shape) >= HALVED_FROM_PX:
        half_wh = (grey.shape[1] // 2, grey.shape[0] // 2)
        scale = np.array([grey.shape[1] / half_wh[0], grey.shape[0] / half_wh[1]])
        grey = np.asarray(cv2.resize(grey, half_wh, interpolation=cv2.INTER_AREA), np.uint8)
        allowed = cv2.resize(allowed, half_wh, interpolation=cv2.INTER_NEAREST)
    found, raw = sift.detectAndCompute(grey, allowed)
    if raw is None or not found:
        return Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float16))
    descriptors = np.sqrt(raw / np.maximum(raw.sum(1, keepdims=True), 1e-6))
    points = np.array([k.pt for k in found]) * scale + (scale - 1) / 2
    return Keypoints(points.astype(np.float32), descriptors.astype(np.float16))


def match(source: Keypoints, target: Keypoints) -> tuple[Float, Float]:
    """Mutual nearest neighbours that pass Lowe's ratio test: two (M, 2) arrays, row by row the same point."""
    if len(source.points) < 2 or len(target.points) < 2:
        return source.points[:0], target.points[:0]
    similarity = source.descriptors.astype(np.float32) @ target.descriptors.astype(np.float32).T
    best = similarity.argmax(1)
    rows = np.arange(len(best))
    is_mutual = similarity.argmax(0)[best] == rows
    first = similarity[rows, best]
    similarity[rows, best] = -1
    second = similarity.max(1)
    # Unit vectors: squared distance = 2 - 2 * similarity.
    is_clear = (1 - first) < MATCH_RATIO**2 * (1 - second)
    good = is_mutual & is_clear
    return source.points[good], target.points[best[good]]


def fit_homography(source: Float, target: Float) -> Matrix | None:
    """The homography that most of the point pairs agree on (MAGSAC), None where fewer than `MIN_INLIERS` do."""
    if len(source) < MIN_INLIERS:
        return None
    matrix, inliers = cv2.findHomography(source, target, cv2.USAC_MAGSAC, INLIER_PX, maxIters=500)
    if matrix is None or int(inliers.sum()) < MIN_INLIERS or not np.isfinite(matrix).all():
        return None
    return np.asarray(matrix, np.float64)


def is_still(source: Grey, source_known: Bool, target: Grey, target_known: Bool) -> bool:
    """Whether two frames show the same picture where both are seen: the identity maps one to the other."""
    both = source_known & target_known
    if int(both.sum()) < MIN_INLIERS:
        return False
    return float(cv2.absdiff(source, target)[both].mean()) < STILL_LEVELS


class HomographyRefiner:
    """Refines homographies to one target by tracking its keypoints (N, 2) in the source, warped by a first guess.

    Cheaper than matching keypoints for every pair, and free of the error that composed homographies accumulate.
    """

    def __init__(self, grey: Grey, points: Float) -> None:
        self._size_wh = (grey.shape[1], grey.shape[0])
        self._grey = grey
        self._points = points[:N_TRACKED].reshape(-1, 1, 2)

    def refine(self, target_from_source: Matrix, source: Grey, source_known: Bool) -> Matrix | None:
        """Fit to where the points are found from a guess right to about 20 px; None where too few are."""
        if len(self._points) < MIN_INLIERS:
            return None
        # One by one: OpenCV does not vectorise two channels at once.
        grey, seen = (
            cv2.warpPerspective(picture, target_from_source, self._size_wh)
            for picture in (source, source_known.astype(np.uint8) * np.uint8(255))
        )
        found, status, _ = cv2.calcOpticalFlowPyrLK(
            self._grey,
            grey,
            self._points,
            self._points.copy(),
            winSize=(TRACK_WINDOW_PX, TRACK_WINDOW_PX),
            maxLevel=TRACK_LEVELS - 1,
            criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.03),
        )
        place = found[:, 0].round().astype(int)
        inside = ((place >= 0) & (place < self._size_wh)).all(1) & (status[:, 0] > 0)
        place = np.clip(place, 0, np.array(self._size_wh) - 1)
        good = inside & (seen[place[:, 1], place[:, 0]] > 250)
        if int(good.sum()) < MIN_INLIERS:
            return None
        back = np.linalg.inv(target_from_source)
        origin = cv2.perspectiveTransform(found[good], back)
        matrix = fit_homography(origin[:, 0].astype(np.float32), self._points[good][:, 0])
        if matrix is None:
            return None
        landed = cv2.perspectiveTransform(origin, matrix)
        miss = np.abs(landed - self._points[good]).max(axis=(1, 2))
        return matrix if float((miss < 2 * INLIER_PX).mean()) >= MIN_AGREEMENT else None
