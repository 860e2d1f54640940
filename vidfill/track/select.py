"""Select an object from clicks without any weights: what has the colours and the motion of what was clicked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import UsageError
from vidfill.masks.edit import dilate
from vidfill.masks.prompt import FramePrompt
from vidfill.track.base import CONFIDENT, Picture, Tracked
from vidfill.track.evidence import (
    Bins,
    ColorPlaces,
    along_edges,
    color_evidence,
    dense_flow,
    grey,
    mean_motion,
    motion_bins,
    motion_evidence,
    residual_motion,
)
from vidfill.video.frame import Bool, Box, Float

N_ITERATIONS = 5
MARGIN = 0.4
"""Surroundings looked at, as a part of the longer side of the box."""
CLICK_SCALES = (0.03, 0.05, 0.08, 0.12, 0.17, 0.23)
"""Radii of objects that a click without a box may mean, as parts of the picture's diagonal."""
SAME = 0.25
"""What a box holds and what is clicked in it are two things if they overlap less than this (IoU)."""
MOST = 0.6
"""A disc that covers more of the picture than this leaves no surroundings to compare with."""
STEADY = 0.05
"""What the overlap of selections in two discs must exceed the ratio of the discs' areas by."""
CLICK_RADIUS = 0.06
"""Of the disc that a click stands for, as a part of the object's size."""
SMALL_HOLE = 0.02
"""A hole in a mask of up to this part of its area is closed."""


class Ways(NamedTuple):
    """How the evidence is weighed; selections that hang on these numbers are not to be trusted.

    Attributes:
        motion: weight of motion against colour.
        place: weight of the distance from the middle of the box.
        n_places: bins of place along each side.
    """

    motion: float
    place: float
    n_places: int


USUAL = Ways(1.0, 2.0, 5)
OTHERS = (Ways(0.5, 3.0, 3), Ways(1.0, 1.5, 8))


class ColorMotionSelector:
    """Selects what differs in colour and motion from what is around it.

    Colours are looked at together with their places (see `ColorPlaces`), motion against the camera's; object and
    surroundings are told apart again and again, each time with what the time before has learnt of both, as GrabCut
    (Rother et al., SIGGRAPH 2004) does with colours alone. A box says what surely is not the object. Without one,
    discs of several sizes round the clicks stand for it, and what grows least from one to the next is taken.

    The confidence is, with a box, how much selections overlap that weigh the evidence differently; without one, how
    much less than the discs the selection grows.

    Args:
        whole: of what a click may mean take the largest (True), the smallest (False), the steadiest (None).
    """

    def __init__(self, *, whole: bool | None = None) -> None:
        self._whole = whole

    def select(
        self,
        picture: Picture,
        prompt: FramePrompt,
        *,
        prior: Bool | None = None,
        near: Mapping[int, Picture] | None = None,
    ) -> Tracked:
        """See `vidfill.track.base.Selector`.

        Raises:
            UsageError: points beside the object alone, and no track to correct.
        """
        if prior is not None and not prior.any():
            prior = None
        if not prompt.names_an_object and prior is None:
            raise UsageError(
                "only points that are not on the object, where no track leads to",
                expected="a point on it, or a box round it",
                todo="add --point or --object-box at that time",
            )
        scene = _Scene(picture, near or {})
        if prompt.box is not None:
            height, width = picture.shape[:2]
            x0, y0, x1, y1 = prompt.box
            box = Box(math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)).grow(0, height=height, width=width)
            allowed = _inside(box, picture)
            found = _judged([_select(scene, prompt, box, allowed, ways) for ways in (USUAL, *OTHERS)])
            return self._checked(found, scene, prompt, allowed)
        if prior is not None:
            return self._corrected(scene, prompt, prior)
        return self._from_clicks(scene, prompt)

    def _checked(self, found: Tracked, scene: _Scene, prompt: FramePrompt, allowed: Bool) -> Tracked:
        """What was found in a box, doubted if the clicks alone find something quite different in it."""
        if len(prompt.on_object) == 0 or found.confidence < CONFIDENT:
            return found
        clicked = self._from_clicks(scene, prompt)
        agreement = iou(found.mask, clicked.mask & allowed)
        if clicked.confidence < CONFIDENT or agreement >= SAME:
            return found
        reason = "the box holds much besides what was clicked: draw it closer, or leave it out"
        return Tracked(found.mask, CONFIDENT * agreement / SAME, reason)

    def _corrected(self, scene: _Scene, prompt: FramePrompt, prior: Bool) -> Tracked:
        """What the track made of the frame, less what is near points beside it and more of what is near those on it."""
        size = math.sqrt(prior.sum())
        allowed = dilate(prior, 0.15 * size)
        for x, y in prompt.on_object:
            _draw_disc(allowed, x, y, 0.5 * size)
        box = Box.around(allowed)
        assert box is not None
        mask = _select(scene, prompt, box, allowed, USUAL, prior=prior)
        return Tracked(mask, 1.0) if mask.any() else Tracked(mask, 0.0, "nothing is left of the object")

    def _from_clicks(self, scene: _Scene, prompt: FramePrompt) -> Tracked:
        diagonal = math.hypot(*scene.picture.shape[:2])
        masks: list[Bool] = []
        for scale in CLICK_SCALES:
            allowed = np.zeros(scene.picture.shape[:2], np.bool_)
            for x, y in prompt.on_object:
                _draw_disc(allowed, x, y, 1.5 * scale * diagonal)
            allowed = _hull(allowed)
            box = Box.around(allowed)
            assert box is not None
            if len(masks) >= 2 and allowed.mean() > MOST:
                break
            masks.append(_select(scene, prompt, box, allowed, USUAL))
        # A mask hardly larger than what a click stands for says that nothing around it goes with it.
        least = 2 * len(prompt.on_object) * math.pi * _click_radius(3 * CLICK_SCALES[0] * diagonal) ** 2
        steadiness = [
            _steadiness(masks[i], masks[i + 1], (CLICK_SCALES[i] / CLICK_SCALES[i + 1]) ** 2)
            if np.count_nonzero(masks[i + 1]) > least
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


class _Scene:
    """A frame and how its pixels move, worked out when first asked for."""

    def __init__(self, picture: Picture, near: Mapping[int, Picture]) -> None:
        self.picture = picture
        own = grey(picture)
        self._flows = [dense_flow(own, grey(other)) / np.float32(offset) for offset, other in near.items()]

    def motion(self, surroundings: Bool) -> Float:
        """(H, W, 2) pixels a frame, less the camera's."""
        if not self._flows:
            return np.zeros((*surroundings.shape, 2), np.float32)
        return mean_motion([residual_motion(flow, surroundings) for flow in self._flows])


def iou(a: Bool, b: Bool) -> float:
    """Intersection over union of two masks of one size; 1 where both are empty."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def _steadiness(small: Bool, large: Bool, ratio: float) -> float:
    """How much less a selection grows than the disc that it is looked for in, in [0, 1]; `CONFIDENT` for hardly less.

    Args:
        small: (H, W), what was found in the smaller disc.
        large: (H, W), in the larger one.
        ratio: of the discs' areas, below 1.
    """
    return min(1.0, max(0.0, CONFIDENT + 2 * (iou(small, large) - ratio - STEADY)))


def _judged(masks: list[Bool]) -> Tracked:
    """The first of several selections, as confident as the others agree with it."""
    mask = masks[0]
    if not mask.any():
        return Tracked(mask, 0.0, "nothing in the box stands out from what is around it")
    confidence = float(np.mean([iou(mask, other) for other in masks[1:]]))
    reason = "" if confidence >= CONFIDENT else "what the box holds is hard to tell from what is around it"
    return Tracked(mask, confidence, reason)


def _select(
    scene: _Scene, prompt: FramePrompt, box: Box, allowed: Bool, ways: Ways, *, prior: Bool | None = None
) -> Bool:
    """One selection.

    Args:
        scene: the frame.
        prompt: its points.
        box: of `allowed`.
        allowed: (H, W), where the object may be.
        ways: how the evidence is weighed.
        prior: (H, W), what a track made of the frame.
    """
    height, width = allowed.shape
    region = box.grow(max(10, round(MARGIN * max(box.width, box.height))), height=height, width=width)
    picture, outside = scene.picture[region.slices], ~allowed[region.slices]
    moved = scene.motion(~allowed)[region.slices]
    leaning = ways.place * (_nearness(box, region) - 0.4) if prior is None else 3.0 * (prior[region.slices] - 0.5)
    radius = _click_radius(min(box.width, box.height))
    on_object, beside = (_discs(points, region, radius) for points in (prompt.on_object, prompt.beside))
    places = ColorPlaces(region, n_places=ways.n_places)
    colors, motions = places.bins(picture), motion_bins(moved, outside)
    sure = on_object.astype(np.float32)
    probability = np.where(outside, 0, 0.5 / (1 + np.exp(-leaning - 1)) + 0.5 * sure).astype(np.float32)
    for _ in range(N_ITERATIONS):
        around = outside + ~outside * (0.7 * (1 - probability)) + beside
        odds = _odds(places, colors, motions, probability + sure, around.astype(np.float32), ways.motion) + leaning
        odds = np.where(outside | beside, -6, odds + 3 * sure).astype(np.float32)
        probability = np.where(outside | beside, 0, along_edges(1 / (1 + np.exp(-odds)), picture)).astype(np.float32)
    mask = np.zeros_like(allowed)
    origin = np.array([region.x0, region.y0], np.float32)
    mask[region.slices] = connected(probability > 0.5, prompt.on_object - origin)
    return mask


def _odds(
    places: ColorPlaces, colors: Bins, motions: Bins, inside: Float, outside: Float, motion_weight: float
) -> Float:
    """Log of how much likelier each pixel is in the object, by colour with place and by motion."""
    by_color = color_evidence(
        colors,
        places.counts(colors, inside, n_place_blurs=2),
        places.counts(colors, outside, n_place_blurs=2),
    )
    return by_color + motion_weight * motion_evidence(motions, inside, outside)


def _inside(box: Box, picture: Picture) -> Bool:
    mask = np.zeros(picture.shape[:2], np.bool_)
    mask[box.slices] = True
    return mask


def _nearness(box: Box, region: Box) -> Float:
    """1 in the middle of the box, less towards its edges, least in its corners; of the region's size."""
    rows, columns = np.mgrid[region.y0 : region.y1, region.x0 : region.x1].astype(np.float32)
    across = (columns + 0.5 - (box.x0 + box.x1) / 2) / (box.width / 2)
    down = (rows + 0.5 - (box.y0 + box.y1) / 2) / (box.height / 2)
    return np.asarray(np.exp(-1.2 * (across**2 + down**2)), np.float32)


def connected(mask: Bool, points: NDArray[np.float32]) -> Bool:
    """The parts of a mask that are clicked, or not much smaller than those; without clicks the largest; no holes.

    Args:
        mask: (H, W).
        points: (N, 2) x and y of the clicks, in pixels of the mask.
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
    return filled(np.isin(labels, [i for i in range(1, n) if i in clicked or areas[i] >= 0.1 * largest]))


def filled(mask: Bool) -> Bool:
    """A mask with its small holes closed: those of up to `SMALL_HOLE` of its area."""
    n, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).view(np.uint8), connectivity=4)
    small = [i for i in range(1, n) if stats[i, cv2.CC_STAT_AREA] <= SMALL_HOLE * mask.sum()]
    return np.asarray(mask | np.isin(labels, small)) if small else mask


def _click_radius(size: float) -> float:
    """Of the disc that a click stands for, in pixels, in an object of this size."""
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
    """The convex hull of a mask: two clicks mean what lies between them as well."""
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(mask.view(np.uint8))), (1,))
    return hull.astype(np.bool_)
