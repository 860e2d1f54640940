"""Select an object from clicks without any weights: GrabCut inside a box, or at the scale that suits a click best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import UsageError
from vidfill.frame import Bool, Box
from vidfill.masks.edit import dilate
from vidfill.masks.prompt import FramePrompt
from vidfill.track.base import Picture, Tracked

N_ITERATIONS = 4
CLICK_RADIUS = 0.008
"""Of the disc that a click stands for, as a part of the picture's diagonal."""
CLICK_SCALES = (0.04, 0.07, 0.11, 0.16, 0.23)
"""Radii of objects that a click without a box may mean, as parts of the picture's diagonal."""
STABLE = 0.5
"""Selections at neighbouring scales that overlap less than this (IoU) say that the click is not understood."""
MARGIN = 0.5
"""Surroundings looked at, as a part of the box's sides."""


class GrabCutSelector:
    """GrabCut (Rother et al., SIGGRAPH 2004): colour models of object and surroundings, and the cheapest cut between.

    A box says what surely is not the object. A click alone does not: it is tried with discs of several sizes, and
    what hardly changes from one size to the next is taken. The confidence is how much two such selections overlap.

    Args:
        whole: of what a click may mean take the largest (True), the smallest (False), the steadiest (None).
    """

    def __init__(self, *, whole: bool | None = None) -> None:
        self._whole = whole

    def select(self, picture: Picture, prompt: FramePrompt, *, prior: Bool | None = None) -> Tracked:
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
        if prompt.box is not None:
            return self._in_box(picture, prompt)
        if prior is not None:
            return self._corrected(picture, prompt, prior)
        return self._from_clicks(picture, prompt)

    def _in_box(self, picture: Picture, prompt: FramePrompt) -> Tracked:
        height, width = picture.shape[:2]
        assert prompt.box is not None
        masks = []
        for grow in (0.0, 0.06):  # a box drawn a little more generously must give the same object
            inside = np.zeros((height, width), np.bool_)
            x0, y0, x1, y1 = prompt.box
            dx, dy = grow * (x1 - x0), grow * (y1 - y0)
            left, top = max(0, math.floor(x0 - dx)), max(0, math.floor(y0 - dy))
            inside[top : max(top + 1, math.ceil(y1 + dy)), left : max(left + 1, math.ceil(x1 + dx))] = True
            masks.append(_cut(picture, inside, prompt))
        mask = masks[0]
        filled = mask.sum() / max(1.0, (prompt.box[2] - prompt.box[0]) * (prompt.box[3] - prompt.box[1]))
        if filled < 0.03:
            return Tracked(mask, 0.0, "nothing in the box stands out from what is around it")
        confidence = iou(masks[0], masks[1])
        reason = "" if confidence >= STABLE else "what the box holds is hard to tell from what is around it"
        return Tracked(mask, confidence, reason)

    def _corrected(self, picture: Picture, prompt: FramePrompt, prior: Bool) -> Tracked:
        reach = max(3, round(0.15 * math.sqrt(prior.sum())))
        allowed = dilate(prior, reach)
        for x, y in prompt.on_object:
            _draw_disc(allowed, x, y, 3 * reach)
        return Tracked(_cut(picture, allowed, prompt, prior=prior), 1.0)

    def _from_clicks(self, picture: Picture, prompt: FramePrompt) -> Tracked:
        diagonal = math.hypot(*picture.shape[:2])
        masks = []
        for scale in CLICK_SCALES:
            allowed = np.zeros(picture.shape[:2], np.bool_)
            for x, y in prompt.on_object:
                _draw_disc(allowed, x, y, scale * diagonal)
            masks.append(_cut(picture, _hull(allowed), prompt))
        return self._steadiest(masks)

    def _steadiest(self, masks: Sequence[Bool]) -> Tracked:
        overlaps = [iou(a, b) for a, b in zip(masks, masks[1:], strict=False)]
        best = max(range(len(overlaps)), key=overlaps.__getitem__)
        stable = [i for i, overlap in enumerate(overlaps) if overlap >= max(STABLE, 0.8 * overlaps[best])]
        if stable and self._whole is not None:
            best = stable[-1] if self._whole else stable[0]
        reason = "" if overlaps[best] >= STABLE else "a click alone does not say how far the object goes: draw a box"
        return Tracked(masks[best + 1], overlaps[best], reason)


def iou(a: Bool, b: Bool) -> float:
    """Intersection over union of two masks of one size; 1 where both are empty."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def _cut(picture: Picture, allowed: Bool, prompt: FramePrompt, *, prior: Bool | None = None) -> Bool:
    """GrabCut with everything outside `allowed` as surroundings, and the clicks as what they say.

    Args:
        picture: (H, W, 3).
        allowed: (H, W), where the object may be.
        prompt: its points.
        prior: (H, W), where it probably is; everywhere it is allowed for None.
    """
    height, width = allowed.shape
    around = Box.around(allowed)
    if around is None:
        return np.zeros_like(allowed)
    margin = 8 + round(MARGIN * max(around.width, around.height))
    box = around.grow(margin, height=height, width=width)
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    labels[allowed] = cv2.GC_PR_FGD if prior is None else cv2.GC_PR_BGD
    if prior is not None:
        labels[allowed & prior] = cv2.GC_PR_FGD
    radius = max(1.5, CLICK_RADIUS * math.hypot(height, width))
    for points, label in ((prompt.on_object, cv2.GC_FGD), (prompt.beside, cv2.GC_BGD)):
        for x, y in points:
            disc = np.zeros_like(allowed)
            _draw_disc(disc, x, y, radius)
            labels[disc] = label
    inside = grabcut(picture[box.slices], labels[box.slices], n_iterations=N_ITERATIONS)
    mask = np.zeros_like(allowed)
    mask[box.slices] = _connected(inside, prompt.on_object - np.array([box.x0, box.y0], np.float32))
    return mask


def grabcut(picture: Picture, labels: NDArray[np.uint8], *, n_iterations: int) -> Bool:
    """OpenCV's GrabCut; what is labelled is returned where one of the two sides has nothing to learn from.

    Args:
        picture: (H, W, 3).
        labels: (H, W) of cv2.GC_*; not changed.
        n_iterations: of fitting the colours and cutting.
    """
    is_object = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if is_object.sum() < 8 or (~is_object).sum() < 8:
        return is_object
    labels = labels.copy()
    cv2.setRNGSeed(0)  # its k-means starts at random; a run must be repeatable
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(picture[..., ::-1])
    cv2.grabCut(bgr, labels, None, *models, n_iterations, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    return np.asarray((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))


def _connected(mask: Bool, points: NDArray[np.float32]) -> Bool:
    """The parts of a mask that are clicked, or nearly as large as those; without clicks the largest; no holes."""
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    if n <= 1:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    areas[0] = 0
    columns = np.clip(points[:, 0].astype(int), 0, mask.shape[1] - 1)
    rows = np.clip(points[:, 1].astype(int), 0, mask.shape[0] - 1)
    clicked = set(labels[rows, columns].tolist()) - {0}
    largest = max((int(areas[i]) for i in clicked), default=int(areas.max()))
    kept = [i for i in range(1, n) if i in clicked or areas[i] >= 0.15 * largest]
    return filled(np.isin(labels, kept))


def filled(mask: Bool, *, part: float = 0.02) -> Bool:
    """A mask with its small holes closed: those of up to `part` of its area."""
    n, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).view(np.uint8), connectivity=4)
    small = [i for i in range(1, n) if stats[i, cv2.CC_STAT_AREA] <= part * mask.sum()]
    return np.asarray(mask | np.isin(labels, small)) if small else mask


def _draw_disc(mask: Bool, x: float, y: float, radius: float) -> None:
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    mask |= (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def _hull(mask: Bool) -> Bool:
    """The convex hull of a mask: two clicks mean what lies between them as well."""
    points = cv2.findNonZero(mask.view(np.uint8))
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), (1,))
    return hull.astype(np.bool_)
