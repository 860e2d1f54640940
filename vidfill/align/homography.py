"""Homographies between two frames, estimated from what is seen outside the holes.

A homography here is (3, 3) float64 and takes points (x, y) of one frame to another; `target_from_source` names both.
Images are grey uint8 (H, W); `known` is bool (H, W), True where the pixel is seen.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Known = NDArray[np.bool_]
Matrix = NDArray[np.float64]

N_KEYPOINTS = 2000
KEYPOINT_CONTRAST = 0.01
HOLE_MARGIN_PX = 7
MATCH_RATIO = 0.85
INLIER_PX = 2.0
MIN_INLIERS = 15


class Keypoints(NamedTuple):
    """Points of one frame and what they look like.

    Attributes:
        points: (N, 2) float32, (x, y) in pixels.
        descriptors: (N, 128) float32 of unit length (RootSIFT).
    """

    points: NDArray[np.float32]
    descriptors: NDArray[np.float32]


def find_keypoints(grey: Grey, known: Known) -> Keypoints:
    """SIFT keypoints with RootSIFT descriptors, kept clear of the hole by `HOLE_MARGIN_PX`.

    Source: Lowe 2004; Arandjelovic and Zisserman 2012 (RootSIFT).
    """
    size = 2 * HOLE_MARGIN_PX + 1
    allowed = cv2.erode(known.astype(np.uint8), np.ones((size, size), np.uint8))
    sift = cv2.SIFT.create(nfeatures=N_KEYPOINTS, contrastThreshold=KEYPOINT_CONTRAST)
    found, raw = sift.detectAndCompute(grey, allowed)
    if raw is None or not found:
        return Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    descriptors = np.sqrt(raw / np.maximum(raw.sum(1, keepdims=True), 1e-6))
    return Keypoints(np.array([k.pt for k in found], np.float32), descriptors.astype(np.float32))


def match(source: Keypoints, target: Keypoints) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mutual nearest neighbours that pass Lowe's ratio test: two (M, 2) arrays of points, row by row the same point."""
    if len(source.points) < 2 or len(target.points) < 2:
        return source.points[:0], target.points[:0]
    similarity = source.descriptors @ target.descriptors.T
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


def fit_homography(source: NDArray[np.float32], target: NDArray[np.float32]) -> Matrix | None:
    """The homography that most of the point pairs agree on (MAGSAC), None where fewer than `MIN_INLIERS` do."""
    if len(source) < MIN_INLIERS:
        return None
    cv2.setRNGSeed(0)
    matrix, inliers = cv2.findHomography(source, target, cv2.USAC_MAGSAC, INLIER_PX, maxIters=500)
    if matrix is None or int(inliers.sum()) < MIN_INLIERS or not np.isfinite(matrix).all():
        return None
    return np.asarray(matrix, np.float64)
