"""Select an object from clicks or a box without weights: what has the colours and the motion of what was clicked."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import UsageError
from vidfill.masks.edit import dilate
from vidfill.masks.prompt import FramePrompt
from vidfill.track import evidence
from vidfill.track.base import CONFIDENT, Near, Tracked
from vidfill.video.frame import Bool, Box, Float, Rgb

N_ITERATIONS = 5
MARGIN = 0.4
"""Width of the surroundings that are used, relative to the longer side of the box."""
CLICK_SCALES = (0.03, 0.05, 0.08, 0.12, 0.17, 0.23)
"""Radii of objects that a click without a box may mean, relative to the picture's diagonal."""
MIN_AGREEMENT = 0.25
"""If their IoU is lower, what a box holds and what is clicked in it are different things."""
MAX_COVERAGE = 0.6
"""A disc that covers a larger ratio of the picture leaves no surroundings to compare with."""
MIN_STEADINESS = 0.05
"""By how much the IoU of selections in two discs must exceed the ratio of the discs' areas."""
CLICK_RADIUS = 0.06
"""Of the disc round a click that is surely object, relative to the object's size."""
MAX_HOLE_RATIO = 0.02
"""Holes in a mask of up to this ratio of its area are filled."""


class EvidenceWeights(NamedTuple):
    """How the evidence is weighted; selections that depend on these numbers are not confident.

    Attributes:
        motion: weight of motion relative to colour.
        place: weight of the distance from the middle of the box.
        n_places: bins of position along each side.
    """

    motion: float
    place: float
    n_places: int


DEFAULT_WEIGHTS = EvidenceWeights(1.0, 2.0, 5)
OTHER_WEIGHTS = (EvidenceWeights(0.5, 3.0, 3), EvidenceWeights(1.0, 1.5, 8))


class ColorMotionSelector:
    """Selects what differs in colour and motion from its surroundings.

    Colours are used with their positions (see `ColorPlaces`), motion relative to the camera's. Object and surroundings
    are separated iteratively, each time with the histograms of the last result, as GrabCut (Rother et al., SIGGRAPH
    2004) does with colours alone. Outside a box surely is not the object. Without a box, discs of several sizes round
    the clicks take its place, and the selection that grows least from one to the next is chosen.

    The confidence is, with a box, the overlap of selections with different weights; without one, how much less than the
    discs the selection grows.

    Args:
        whole: of what a click may mean take the largest (True), the smallest (False), the steadiest (None).
    """

    def __init__(self, *, whole: bool | None = None) -> None:
        self._whole = whole

    def select(self, picture: Rgb, prompt: FramePrompt, prior: Bool | None = None, near: Near = None) -> Tracked:
        """See `vidfill.track.base.Selector`.

        Raises:
            UsageError: points beside the object alone, and no track to correct.
        """
        if prior is not None and not prior.any():
            prior = None
        if prompt.box is None and not prompt.is_object.any() and prior is None:
            raise UsageError(
                "only points that are not on the object, where no track leads to",
                expected="a point on it, or a box round it",
                todo="add --point or --object-box at that time",
            )
        scene = _FrameFlow(picture, near)
        if prompt.box is not None:
            height, width = picture.shape[:2]
            x0, y0, x1, y1 = prompt.box
            box = Box(math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)).grow(0, height=height, width=width)
            allowed = np.zeros((height, width), np.bool_)
            allowed[box.slices] = True
            masks = [_select(scene, prompt, box, allowed, weights) for weights in (DEFAULT_WEIGHTS, *OTHER_WEIGHTS)]
            return self._checked(_judged(masks), scene, prompt, allowed)
        if prior is not None:
            return self._corrected(scene, prompt, prior)
        return self._from_clicks(scene, prompt)

    def _checked(self, found: Tracked, scene: _FrameFlow, prompt: FramePrompt, allowed: Bool) -> Tracked:
        """What was found in a box, not confident if the clicks alone find something else in it."""
        if len(prompt.on_object) == 0 or found.confidence < CONFIDENT:
            return found
        clicked = self._from_clicks(scene, prompt)
        agreement = iou(found.mask, clicked.mask & allowed)
        if clicked.confidence < CONFIDENT or agreement >= MIN_AGREEMENT:
            return found
        reason = "the box holds much besides what was clicked: draw it closer, or leave it out"
        return Tracked(found.mask, CONFIDENT * agreement / MIN_AGREEMENT, reason)

    def _corrected(self, scene: _FrameFlow, prompt: FramePrompt, prior: Bool) -> Tracked:
        """The mask of the track, without what is near points beside the object, extended near points on it."""
        size = math.sqrt(prior.sum())
        allowed = dilate(prior, 0.15 * size)
        for x, y in prompt.on_object:
            _draw_disc(allowed, x, y, 0.5 * size)
        box = Box.around(allowed)
        assert box is not None
        mask = _select(scene, prompt, box, allowed, DEFAULT_WEIGHTS, prior)
        return Tracked(mask, 1.0) if mask.any() else Tracked(mask, 0.0, "nothing is left of the object")

    def _from_clicks(self, scene: _FrameFlow, prompt: FramePrompt) -> Tracked:
        diagonal = math.hypot(*scene.picture.shape[:2])
        masks: list[Bool] = []
        for scale in CLICK_SCALES:
            allowed = np.zeros(scene.picture.shape[:2], np.bool_)
            for x, y in prompt.on_object:
                _draw_disc(allowed, x, y, 1.5 * scale * diagonal)
            allowed = _hull(allowed)
            box = Box.around(allowed)
            assert box is not None
            if len(masks) >= 2 and allowed.mean() > MAX_COVERAGE:
                break
            masks.append(_select(scene, prompt, box, allowed, DEFAULT_WEIGHTS))
        # A mask hardly larger than the discs of the clicks means that nothing around them belongs to the object.
        min_area = 2 * len(prompt.on_object) * math.pi * _click_radius(3 * CLICK_SCALES[0] * diagonal) ** 2
        steadiness = [
            _steadiness(masks[i], masks[i + 1], (CLICK_SCALES[i] / CLICK_SCALES[i + 1]) ** 2)
            if np.count_nonzero(masks[i + 1]) > min_area
            else 0.0
            for i in range(len(masks) - 1)
        ]
        best = max(range(len(steadiness)), key=steadiness.__getitem__)
        steady = [i for i, value in enumerate(steadiness) if value >= CONFIDENT]
        if steady and self._whole is not None:
            best = steady[-1] if self._whole else steady[0]
        confidence = steadiness[best]
        reason = "" if confidence >= CONFIDENT else "a click alone does not say how far the object goes: draw a box"
        return Tracked(masks[max(best, 1)], confidence, reason)


class _FrameFlow:
    """A frame and the flow to the frames near it."""

    def __init__(self, picture: Rgb, near: Near) -> None:
        self.picture, own = picture, evidence.grey(picture)
        self._flows = [
            evidence.dense_flow(own, evidence.grey(other)) / np.float32(offset)
            for offset, other in (near or {}).items()
        ]

    def motion(self, surroundings: Bool) -> Float:
        """(H, W, 2) pixels a frame, relative to the camera: the median over the frames near it."""
        if not self._flows:
            return np.zeros((*surroundings.shape, 2), np.float32)
        flows = np.stack([evidence.residual_motion(flow, surroundings) for flow in self._flows])
        return np.asarray(np.median(flows, axis=0), np.float32)


def selected(logits: Float, confidence: float, prompt: FramePrompt, *, network: str) -> Tracked:
    """A network's answer to the prompts of a frame, from the (H, W) logits of one mask; `network` is its name."""
    mask = connected(logits > 0, prompt.on_object)
    if not mask.any():
        return Tracked(mask, 0.0, f"{network} finds nothing there")
    reason = "" if confidence >= CONFIDENT else f"{network} is not sure what is meant: add points or a box"
    return Tracked(mask, confidence, reason)


def iou(a: Bool, b: Bool) -> float:
    """Intersection over union of two masks of one size; 1 where both are empty."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def _steadiness(small: Bool, large: Bool, ratio: float) -> float:
    """How much less a selection grows from a small disc to a large one than the discs, whose areas have a `ratio` < 1.

    It is in [0, 1], and `CONFIDENT` for hardly less.
    """
    return min(1.0, max(0.0, CONFIDENT + 2 * (iou(small, large) - ratio - MIN_STEADINESS)))


def _judged(masks: list[Bool]) -> Tracked:
    """The first of several selections; its confidence is the mean overlap with the others."""
    mask = masks[0]
    if not mask.any():
        return Tracked(mask, 0.0, "nothing in the box stands out from what is around it")
    confidence = float(np.mean([iou(mask, other) for other in masks[1:]]))
    reason = "" if confidence >= CONFIDENT else "what the box holds is hard to tell from what is around it"
    return Tracked(mask, confidence, reason)


def _select(
    scene: _FrameFlow,
    prompt: FramePrompt,
    box: Box,
    allowed: Bool,
    weights: EvidenceWeights,
    prior: Bool | None = None,
) -> Bool:
    """One selection by the points of a prompt, inside the (H, W) mask `allowed`, whose box is `box`."""
    height, width = allowed.shape
    region = box.grow(max(10, round(MARGIN * max(box.width, box.height))), height=height, width=width)
    picture, outside = scene.picture[region.slices], ~allowed[region.slices]
    moved = scene.motion(~allowed)[region.slices]
    by_place = weights.place * (_nearness(box, region) - 0.4) if prior is None else 3.0 * (prior[region.slices] - 0.5)
    radius = _click_radius(min(box.width, box.height))
    on_object, beside = (_discs(points, region, radius) for points in (prompt.on_object, prompt.beside))
    places = evidence.ColorPlaces(n_places=weights.n_places)
    colors, motions = places.bins(picture), evidence.motion_bins(moved, outside)
    sure, excluded = on_object.astype(np.float32), outside | beside
    probability = np.where(outside, 0, 0.5 / (1 + np.exp(-by_place - 1)) + 0.5 * sure).astype(np.float32)
    for _ in range(N_ITERATIONS):
        inside = probability + sure
        around = (outside + ~outside * (0.7 * (1 - probability)) + beside).astype(np.float32)
        counts = [places.counts(colors, part, n_place_blurs=2) for part in (inside, around)]
        by_motion = weights.motion * evidence.motion_evidence(motions, inside, around)
        odds = evidence.color_evidence(colors, *counts) + by_motion + by_place
        odds = np.where(excluded, -6, odds + 3 * sure).astype(np.float32)
        probability = np.where(excluded, 0, evidence.along_edges(1 / (1 + np.exp(-odds)), picture)).astype(np.float32)
    mask = np.zeros_like(allowed)
    origin = np.array([region.x0, region.y0], np.float32)
    mask[region.slices] = connected(probability > 0.5, prompt.on_object - origin)
    return mask


def _nearness(box: Box, region: Box) -> Float:
    """1 in the middle of the box, falling towards its edges and corners; of the region's size."""
    rows, columns = np.mgrid[region.y0 : region.y1, region.x0 : region.x1].astype(np.float32)
    across = (columns + 0.5 - (box.x0 + box.x1) / 2) / (box.width / 2)
    down = (rows + 0.5 - (box.y0 + box.y1) / 2) / (box.height / 2)
    return np.asarray(np.exp(-1.2 * (across**2 + down**2)), np.float32)


def connected(mask: Bool, points: NDArray[np.float32]) -> Bool:
    """The clicked parts of a (H, W) mask and those not much smaller, small holes filled; without clicks the largest.

    `points` are (N, 2) x and y of the clicks.
    """
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    if n <= 1:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    areas[0] = 0
    columns = np.clip(points[:, 0].astype(int), 0, mask.shape[1] - 1)
    rows = np.clip(points[:, 1].astype(int), 0, mask.shape[0] - 1)
    clicked = set(labels[rows, columns].tolist()) - {0}
    largest = max((int(areas[i]) for i in clicked), default=int(areas.max()))
    kept = np.isin(labels, [i for i in range(1, n) if i in clicked or areas[i] >= 0.1 * largest])
    n, labels, stats, _ = cv2.connectedComponentsWithStats((~kept).view(np.uint8), connectivity=4)
    small = [i for i in range(1, n) if stats[i, cv2.CC_STAT_AREA] <= MAX_HOLE_RATIO * kept.sum()]
    return np.asarray(kept | np.isin(labels, small))


def _click_radius(size: float) -> float:
    """In pixels, in an object of this size."""
    return max(2.0, CLICK_RADIUS * size)


def _discs(points: NDArray[np.float32], region: Box, radius: float) -> Bool:
    drawn = np.zeros((region.height, region.width), np.bool_)
    for x, y in points:
        _draw_disc(drawn, x - region.x0, y - region.y0, radius)
    return drawn


def _draw_disc(mask: Bool, x: float, y: float, radius: float) -> None:
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    mask |= (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def _hull(mask: Bool) -> Bool:
    """The convex hull of a mask: two clicks also mean what is between them."""
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(mask.view(np.uint8))), (1,))
    return hull.astype(np.bool_)
