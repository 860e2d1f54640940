"""Follow an object without weights: dense flow propagates its mask, colours and motion correct it, doubt stops it."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.track import evidence
from vidfill.track.base import Tracked
from vidfill.track.doubt import MIN_AREA_PX, WINDOW, Doubt, Signs
from vidfill.track.select import iou
from vidfill.video.frame import Bool, Box, Float, Rgb

PRIOR_WEIGHT, COLOR_WEIGHT, ANCHOR_WEIGHT, MOTION_WEIGHT = 1.0, 0.5, 0.3, 0.5
PRIOR_BLUR_PX = 1.5
INCONSISTENT_WEIGHT = 0.4
"""Of the propagated mask where forward and backward flow disagree."""
N_PLACES = 8
# Relative to the size of the object, the square root of its area:
MARGIN = 0.5
"""Width of the surroundings that are used."""
MAX_GROWTH = 0.12
"""How far outside the propagated mask the object may be found."""
MAX_GAP = 0.35
"""Distance of other parts from the main one; parts cut off by an obstacle are near."""
MIN_PART_RATIO = 0.05
"""Area of other parts relative to the main one; smaller ones are dropped."""
MAX_RATIO_GONE = 0.08
"""An object of which at most this ratio is still in the picture has left it."""


class FlowTracker:
    """Propagates a probability along dense flow, and weighs it with colours and motion at every step.

    See `vidfill.track.base.Tracker`. A step compares each pixel's colour and position with those of the object and its
    surroundings on the frame before, its colour with those at the prompt, and its motion relative to the camera with
    that of object and surroundings. Pixels with inconsistent flow count less. `Doubt` judges every step.
    """

    def __init__(self) -> None:
        self._state: _FlowState | None = None
        self._lost: Tracked | None = None

    def start(self, picture: Rgb, mask: Bool, *, clicked: Float | None = None) -> None:
        """See `vidfill.track.base.Tracker`."""
        points = np.zeros((0, 2), np.float32) if clicked is None else clicked
        area = float(np.count_nonzero(mask))
        self._state = _FlowState(picture, evidence.grey(picture), mask.astype(np.float32), 1.0, area, points)
        self._anchor = ObjectColors(picture, self._state.probability)
        self._doubt = Doubt()
        self._lost = None

    def step(self, picture: Rgb) -> Tracked:
        """See `vidfill.track.base.Tracker`."""
        assert self._state is not None, "start comes first"
        if self._lost is not None:
            return self._lost._replace(n_withdrawn=0)
        before, now = self._state, evidence.grey(picture)
        back, forth = evidence.dense_flow(now, before.grey), evidence.dense_flow(before.grey, now)
        scale, inside_ratio = _motion_of(before.probability > 0.5, forth, back)
        in_picture = before.in_picture * inside_ratio
        if in_picture <= MAX_RATIO_GONE:
            self._lost = Tracked(np.zeros(now.shape, np.bool_), 1.0, has_left=True)
            return self._lost
        propagated = np.asarray(evidence.sample(before.probability, back), np.float32)
        consistent = _is_consistent(back, forth)
        was_object = propagated > 0.5
        if np.count_nonzero(was_object) < MIN_AREA_PX:
            return self._lose(Tracked(np.zeros(now.shape, np.bool_), 0.0, "nothing is left of it"))
        weighted, agreement = self._weigh(picture, propagated, back, consistent)
        clicked = _propagate_points(before.clicked, forth)
        probability = _without_stray_parts(weighted, clicked)
        mask = probability > 0.5
        # A part that comes off and is dropped does not mean that the object shrinks.
        still_there = mask | ((weighted > 0.5) & was_object)
        expected = np.count_nonzero(before.probability > 0.5) * scale * inside_ratio
        signs = Signs(
            kept=np.count_nonzero(still_there) / max(1.0, expected),
            overlap=min(agreement, iou(still_there, was_object)),
            consistent=float(consistent[was_object].mean()),
            colors=self._anchor.likeness(picture, probability),
            area_px=int(np.count_nonzero(mask)),
        )
        largest = max(before.max_area_px * scale, signs.area_px)
        # An object that trembles at the border crosses it on every other frame; its area shows that it has not left.
        in_picture = max(in_picture, signs.area_px / largest)
        self._state = _FlowState(picture, now, probability, in_picture, largest, clicked)
        if not self._doubt.judge(signs):
            return self._lose(Tracked(mask, self._doubt.confidence, self._doubt.reason))
        return Tracked(mask, self._doubt.confidence)

    def _lose(self, found: Tracked) -> Tracked:
        """End the track; the frames that led to its end are withdrawn as well."""
        self._lost = found._replace(n_withdrawn=WINDOW)
        return self._lost

    def _weigh(self, picture: Rgb, propagated: Float, back: Float, consistent: Bool) -> tuple[Float, float]:
        """Combine all evidence on a frame.

        Args:
            picture: (H, W, 3).
            propagated: (H, W) the probability propagated from the frame before.
            back: (H, W, 2) the flow to the frame before.
            consistent: (H, W) whether forward and backward flow agree.

        Returns:
            (H, W) probability of the object, and the agreement of a network's answer with the propagated mask, in
            [0, 1] (here 1).
        """
        assert self._state is not None
        around = Box.around(propagated > 0.5)
        assert around is not None
        height, width = propagated.shape
        size = math.sqrt(np.count_nonzero(propagated > 0.5))
        region = around.grow(max(12, round(MARGIN * size)), height=height, width=width)
        inside, agreed, now = propagated[region.slices], consistent[region.slices], picture[region.slices]
        moved = evidence.residual_motion(back, (propagated <= 0.5) & consistent)[region.slices]
        outside = 1 - inside
        places = evidence.ColorPlaces(n_places=N_PLACES)
        then = places.bins(np.asarray(evidence.sample(self._state.picture, back)[region.slices], np.uint8))
        of_object, of_rest = (places.counts(then, part * agreed, n_place_blurs=1) for part in (inside, outside))
        by_place = evidence.color_evidence(places.bins(now), of_object, of_rest)
        by_motion = evidence.motion_evidence(evidence.motion_bins(moved, inside <= 0.5), inside, outside)
        soft = cv2.GaussianBlur(inside, (0, 0), PRIOR_BLUR_PX)
        prior = np.log((soft + 0.05) / (1.05 - soft)) * np.where(agreed, 1, INCONSISTENT_WEIGHT)
        odds = PRIOR_WEIGHT * prior + COLOR_WEIGHT * by_place + MOTION_WEIGHT * by_motion
        odds += ANCHOR_WEIGHT * self._anchor.evidence(now, inside)
        too_far = cv2.distanceTransform((inside <= 0.5).view(np.uint8), cv2.DIST_L2, 5) > max(4.0, MAX_GROWTH * size)
        odds[too_far] = -6
        probability = evidence.along_edges((1 / (1 + np.exp(-odds))).astype(np.float32), now)
        probability[too_far] = 0
        whole = np.zeros_like(propagated)
        whole[region.slices] = probability
        return whole, 1.0


class _FlowState(NamedTuple):
    """What a step needs of the frame before.

    Attributes:
        picture: (H, W, 3).
        grey: (H, W).
        probability: (H, W) of the object, in [0, 1].
        in_picture: ratio of the object that has not moved out of the picture since it was selected.
        max_area_px: so far, at its present scale.
        clicked: (N, 2) the clicked points, propagated by flow.
    """

    picture: Rgb
    grey: NDArray[np.uint8]
    probability: Float
    in_picture: float
    max_area_px: float
    clicked: Float


class ObjectColors:
    """The colours of an object at its prompt, without their positions."""

    def __init__(self, picture: Rgb, probability: Float) -> None:
        self._places = evidence.ColorPlaces(n_places=1)
        self._counts = self._count(picture, probability)

    def evidence(self, picture: Rgb, inside: Float) -> Float:
        """(h, w) log-likelihood ratio of each pixel's colour: object at the prompt over its surroundings now.

        `picture` is (h, w, 3), and `inside` the (h, w) probability of the object in it.
        """
        bins = self._places.bins(picture)
        around = self._places.counts(bins, 1 - inside, n_place_blurs=0)
        scale = float(inside.sum()) / max(1.0, float(self._counts.sum()))
        ratio = (self._counts[bins] * scale + 1) / (around[bins] + 1)
        return np.asarray(np.clip(np.log(ratio), -3, 3), np.float32)

    def likeness(self, picture: Rgb, probability: Float) -> float:
        """Similarity of the object's colours to those at the prompt, in [0, 1]."""
        return evidence.similarity(self._counts, self._count(picture, probability))

    def _count(self, picture: Rgb, probability: Float) -> Float:
        inside = (probability > 0.5).astype(np.float32)
        return self._places.counts(self._places.bins(picture), inside, n_place_blurs=0)


def _is_consistent(flow: Float, reverse: Float) -> Bool:
    """(H, W) whether a flow and its reverse cancel, to within a pixel and a tenth of the flow."""
    miss = np.linalg.norm(flow + evidence.sample(reverse, flow), axis=2)
    return np.asarray(miss < 1 + 0.1 * np.linalg.norm(flow, axis=2))


def _motion_of(inside: Bool, forth: Float, back: Float) -> tuple[float, float]:
    """The factor by which the area of an object changes to the next frame, and the ratio of it that stays inside."""
    rows, columns = np.nonzero(inside)
    if len(rows) == 0:
        return 1.0, 0.0
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
    return scale, float(is_in.mean())


def _propagate_points(points: Float, forth: Float) -> Float:
    """(N, 2) points moved by a flow, kept in the picture."""
    if len(points) == 0:
        return points
    limit = np.array([forth.shape[1] - 1, forth.shape[0] - 1])
    columns, rows = np.clip(points, 0, limit).round().astype(int).T
    return np.asarray(np.clip(points + forth[rows, columns], 0, limit), np.float32)


def _without_stray_parts(probability: Float, clicked: Float) -> Float:
    """(H, W) probability without parts that are much smaller than the main one or far from it.

    The main part has most of the (N, 2) clicked points in it; without clicks it is the largest.
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
    max_gap = 3 + MAX_GAP * math.sqrt(areas[main])
    large = [part for part in range(1, n) if areas[part] >= MIN_PART_RATIO * areas[main]]
    kept = [part for part in large if float(distance[labels == part].min()) <= max_gap]
    return np.where(mask & ~np.isin(labels, kept), np.float32(0.2), probability)
