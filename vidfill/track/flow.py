"""Follow an object without weights: dense flow carries its mask, colours and motion correct it, doubt stops it."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.track.base import Picture, Tracked
from vidfill.track.doubt import MIN_AREA_PX, WINDOW, Doubt, Signs
from vidfill.track.evidence import (
    ColorPlaces,
    along_edges,
    color_evidence,
    dense_flow,
    grey,
    motion_bins,
    motion_evidence,
    residual_motion,
    sample,
    similarity,
)
from vidfill.track.select import iou
from vidfill.video.frame import Bool, Box, Float

PRIOR_WEIGHT, COLOR_WEIGHT, ANCHOR_WEIGHT, MOTION_WEIGHT = 1.0, 0.5, 0.3, 0.5
PRIOR_BLUR_PX = 1.5
INCONSISTENT_WEIGHT = 0.4
"""What the mask moved along still counts where flow forward and backward disagree."""
N_PLACES = 8
MARGIN = 0.5
"""Surroundings looked at, as a part of the object's size (the root of its area)."""
REACH = 0.12
"""How far outside the mask moved along the object may be found, as a part of its size."""
SMALLEST_PART = 0.05
"""Of the main one; smaller parts are dropped."""
STRAY = 0.35
"""How far off the main part others may be, as a part of the object's size; what an obstacle cuts off is near."""
GONE = 0.08
"""An object at the border of which this part or less is still in the picture has left it."""


class FlowTracker:
    """Carries a probability along dense flow and weighs it against colours and motion at every step.

    See `vidfill.track.base.Tracker`. A step compares the colours of each pixel, and their places, with those of the
    object and of its surroundings on the frame before; the colours with those at the prompt; and its motion with that
    of both, less the camera's. What flow forward and backward disagree on counts less. `Doubt` judges every step.
    """

    def __init__(self) -> None:
        self._state: _State | None = None
        self._lost: Tracked | None = None

    def start(self, picture: Picture, mask: Bool, *, clicked: Float | None = None) -> None:
        """See `vidfill.track.base.Tracker`."""
        points = np.zeros((0, 2), np.float32) if clicked is None else clicked
        area = float(np.count_nonzero(mask))
        self._state = _State(picture, grey(picture), mask.astype(np.float32), 1.0, area, points)
        self._anchor = ColorsOf(picture, self._state.probability)
        self._doubt = Doubt()
        self._lost = None

    def step(self, picture: Picture) -> Tracked:
        """See `vidfill.track.base.Tracker`."""
        assert self._state is not None, "start comes first"
        if self._lost is not None:
            return self._lost._replace(n_withdrawn=0)
        before, now = self._state, grey(picture)
        back, forth = dense_flow(now, before.grey), dense_flow(before.grey, now)
        motion = _motion_of(before.probability > 0.5, forth, back)
        in_picture = before.in_picture * motion.share_inside
        if in_picture <= GONE:
            self._lost = Tracked(np.zeros(now.shape, np.bool_), 1.0, has_left=True)
            return self._lost
        carried = np.asarray(sample(before.probability, back), np.float32)
        consistent = _is_consistent(back, forth)
        if np.count_nonzero(carried > 0.5) < MIN_AREA_PX:
            return self._lose(Tracked(np.zeros(now.shape, np.bool_), 0.0, "nothing is left of it"))
        weighed, agreement = self._weigh(picture, carried, back, consistent)
        clicked = _carried(before.clicked, forth)
        probability = _without_strays(weighed, clicked)
        mask = probability > 0.5
        # A part that comes off and is dropped is no sign that the object shrinks.
        still_there = mask | ((weighed > 0.5) & (carried > 0.5))
        expected = np.count_nonzero(before.probability > 0.5) * motion.scale * motion.share_inside
        signs = Signs(
            kept=np.count_nonzero(still_there) / max(1.0, expected),
            overlap=min(agreement, iou(still_there, carried > 0.5)),
            consistent=float(consistent[carried > 0.5].mean()),
            colors=self._anchor.likeness(picture, probability),
            area_px=int(np.count_nonzero(mask)),
        )
        largest = max(before.largest_px * motion.scale, signs.area_px)
        # What trembles at the border goes out a little on every other frame and has not left: its area says so.
        in_picture = max(in_picture, signs.area_px / largest)
        self._state = _State(picture, now, probability, in_picture, largest, clicked)
        if not self._doubt.judge(signs):
            return self._lose(Tracked(mask, self._doubt.confidence, self._doubt.reason))
        return Tracked(mask, self._doubt.confidence)

    def _lose(self, found: Tracked) -> Tracked:
        """The track ends; what led to its end is not to be believed either."""
        self._lost = found._replace(n_withdrawn=WINDOW)
        return self._lost

    def _weigh(self, picture: Picture, carried: Float, back: Float, consistent: Bool) -> Weighed:
        """The object on a frame, from all that is known of it.

        Args:
            picture: (H, W, 3).
            carried: (H, W) the probability that flow brings from the frame before.
            back: (H, W, 2) the flow to the frame before.
            consistent: (H, W) whether flow forward and backward agree.
        """
        assert self._state is not None
        around = Box.around(carried > 0.5)
        assert around is not None
        size = math.sqrt(np.count_nonzero(carried > 0.5))
        region = around.grow(max(12, round(MARGIN * size)), height=carried.shape[0], width=carried.shape[1])
        inside, agreed, now = carried[region.slices], consistent[region.slices], picture[region.slices]
        moved = residual_motion(back, (carried <= 0.5) & consistent)[region.slices]
        outside = 1 - inside
        places = ColorPlaces(region, n_places=N_PLACES)
        then = places.bins(np.asarray(sample(self._state.picture, back)[region.slices], np.uint8))
        by_place = color_evidence(
            places.bins(now),
            places.counts(then, inside * agreed, n_place_blurs=1),
            places.counts(then, outside * agreed, n_place_blurs=1),
        )
        moves = motion_evidence(motion_bins(moved, inside <= 0.5), inside, outside)
        soft = cv2.GaussianBlur(inside, (0, 0), PRIOR_BLUR_PX)
        prior = np.log((soft + 0.05) / (1.05 - soft)) * np.where(agreed, 1, INCONSISTENT_WEIGHT)
        odds = PRIOR_WEIGHT * prior + COLOR_WEIGHT * by_place + MOTION_WEIGHT * moves
        odds += ANCHOR_WEIGHT * self._anchor.evidence(now, inside)
        too_far = cv2.distanceTransform((inside <= 0.5).view(np.uint8), cv2.DIST_L2, 5) > max(4.0, REACH * size)
        odds[too_far] = -6
        probability = along_edges((1 / (1 + np.exp(-odds))).astype(np.float32), now)
        probability[too_far] = 0
        whole = np.zeros_like(carried)
        whole[region.slices] = probability
        return Weighed(whole, 1.0)


class Weighed(NamedTuple):
    """The object on a frame.

    Attributes:
        probability: (H, W) in [0, 1].
        agreement: in [0, 1], how far what was found agrees with what was carried along, where it is not taken over.
    """

    probability: Float
    agreement: float


class _State(NamedTuple):
    """What a step needs of the frame before.

    Attributes:
        picture: (H, W, 3).
        grey: (H, W).
        probability: (H, W) of the object, in [0, 1].
        in_picture: how much of the object has not moved out of the picture since it was selected, in [0, 1].
        largest_px: its largest area so far, at its size now.
        clicked: (N, 2) where flow has brought the points that were clicked.
    """

    picture: Picture
    grey: NDArray[np.uint8]
    probability: Float
    in_picture: float
    largest_px: float
    clicked: Float


class _Motion(NamedTuple):
    """How the object moves in one step: by what its area grows, and which share of it stays in the picture."""

    scale: float
    share_inside: float


class ColorsOf:
    """The colours of the object at the prompt, without their places."""

    def __init__(self, picture: Picture, probability: Float) -> None:
        self._places = ColorPlaces(Box(0, 0, picture.shape[1], picture.shape[0]), n_places=1)
        self._counts = self._count(picture, probability)

    def evidence(self, picture: Picture, inside: Float) -> Float:
        """(h, w) log of how much likelier a pixel's colour is in the object at the prompt than in the surroundings now.

        Args:
            picture: (h, w, 3) the object and its surroundings now.
            inside: (h, w) the probability of the object.
        """
        bins = self._places.bins(picture)
        around = self._places.counts(bins, 1 - inside, n_place_blurs=0)
        scale = float(inside.sum()) / max(1.0, float(self._counts.sum()))
        ratio = (self._counts[bins] * scale + 1) / (around[bins] + 1)
        return np.asarray(np.clip(np.log(ratio), -3, 3), np.float32)

    def likeness(self, picture: Picture, probability: Float) -> float:
        """How alike the object's colours are to those at the prompt, in [0, 1]."""
        return similarity(self._counts, self._count(picture, probability))

    def _count(self, picture: Picture, probability: Float) -> Float:
        inside = (probability > 0.5).astype(np.float32)
        return self._places.counts(self._places.bins(picture), inside, n_place_blurs=0)


def _is_consistent(flow: Float, reverse: Float) -> Bool:
    """(H, W) whether a flow and then its reverse lead back, to within a pixel and a tenth of the way."""
    miss = np.linalg.norm(flow + sample(reverse, flow), axis=2)
    return np.asarray(miss < 1 + 0.1 * np.linalg.norm(flow, axis=2))


def _motion_of(inside: Bool, forth: Float, back: Float) -> _Motion:
    """How an object moves, from the flow of its pixels to the next frame; they are all of its mask."""
    rows, columns = np.nonzero(inside)
    if len(rows) == 0:
        return _Motion(1.0, 0.0)
    points = np.stack([columns, rows], axis=1).astype(np.float32)
    targets = points + forth[rows, columns]
    height, width = inside.shape
    is_in = (targets >= 0).all(axis=1) & (targets <= np.array([width - 1, height - 1])).all(axis=1)
    steady = is_in & _is_consistent(forth, back)[rows, columns]
    used = np.flatnonzero(steady)[:: max(1, int(steady.sum()) // 500)]
    scale = 1.0
    if len(used) >= 20:
        matrix, _ = cv2.estimateAffinePartial2D(
            points[used], targets[used], method=cv2.RANSAC, ransacReprojThreshold=1.5
        )
        if matrix is not None:
            scale = float(np.clip(np.linalg.det(matrix[:, :2]), 0.5, 2.0))
    return _Motion(scale, float(is_in.mean()))


def _carried(points: Float, forth: Float) -> Float:
    """(N, 2) points moved along a flow, kept in the picture."""
    if len(points) == 0:
        return points
    limit = np.array([forth.shape[1] - 1, forth.shape[0] - 1])
    columns, rows = np.clip(points, 0, limit).round().astype(int).T
    return np.asarray(np.clip(points + forth[rows, columns], 0, limit), np.float32)


def _without_strays(probability: Float, clicked: Float) -> Float:
    """The same without parts far smaller than the main one, or far off it.

    The main part is the one that holds most of what was clicked, else the largest.

    Args:
        probability: (H, W).
        clicked: (N, 2) x and y.
    """
    mask = probability > 0.5
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    if n <= 2:
        return probability
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    areas[0] = 0
    columns, rows = clicked.round().astype(int).T
    hits = np.bincount(labels[rows, columns], minlength=n)
    hits[0] = 0
    main = int(hits.argmax() if hits.any() else areas.argmax())
    distance = cv2.distanceTransform((labels != main).view(np.uint8), cv2.DIST_L2, 5)
    reach = 3 + STRAY * math.sqrt(areas[main])
    kept = [
        part
        for part in range(1, n)
        if areas[part] >= SMALLEST_PART * areas[main] and float(distance[labels == part].min()) <= reach
    ]
    return np.where(mask & ~np.isin(labels, kept), np.float32(0.2), probability)
