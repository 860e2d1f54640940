"""Segment Anything (Kirillov et al., ICCV 2023): masks from clicks, and a tracker that asks it about every frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.masks.prompt import FramePrompt
from vidfill.track.base import CONFIDENT, Near, Tracked
from vidfill.track.flow import FlowTracker
from vidfill.track.sam_network import SamNetwork
from vidfill.track.select import connected, iou, selected
from vidfill.video.frame import Bool, Box, Float, Rgb

MIN_AGREEMENT = 0.5
"""An answer whose IoU with the propagated mask is lower is about something else."""
N_POSITIVE, N_NEGATIVE = 3, 2


class SamSelector:
    """Selects with SAM what the prompts of a frame are about; see `vidfill.track.base.Selector`.

    Args:
        network: the network.
        whole: of what a click may mean take the largest (True), the smallest (False), the most likely (None).
    """

    def __init__(self, network: SamNetwork, *, whole: bool | None = None) -> None:
        self._network, self._whole = network, whole

    def select(self, picture: Rgb, prompt: FramePrompt, prior: Bool | None = None, near: Near = None) -> Tracked:
        """See `vidfill.track.base.Selector`; SAM does not use motion."""
        # A single click may mean a button, a shirt or a person; more prompts say which.
        is_ambiguous = prompt.box is None and prior is None and len(prompt.points) == 1
        answers = self._network.predict(
            picture,
            points=prompt.points,
            is_object=prompt.is_object,
            box=prompt.box,
            prior=None if prior is None else prior.astype(np.float32),
            several=is_ambiguous or self._whole is not None,
        )
        chosen = answers.choose(whole=self._whole)
        return selected(answers.logits[chosen], float(answers.values()[chosen]), prompt, network="SAM")


class SamTracker(FlowTracker):
    """Asks SAM about every frame, with the mask propagated by flow as its box, points and mask input.

    An answer about something else is replaced by the propagated mask, and `Doubt` is told. Areas, motion and colours
    are judged as those of `FlowTracker` are.
    """

    def __init__(self, network: SamNetwork) -> None:
        super().__init__()
        self._network = network

    def _weigh(self, picture: Rgb, propagated: Float, back: Float, consistent: Bool) -> tuple[Float, float]:
        mask = propagated > 0.5
        box = Box.around(mask)
        assert box is not None
        grown = box.grow(2 + round(0.05 * max(box.width, box.height)), height=mask.shape[0], width=mask.shape[1])
        points, is_object = representative_points(mask)
        prompted = (float(grown.x0), float(grown.y0), float(grown.x1), float(grown.y1))
        answers = self._network.predict(
            picture, points=points, is_object=is_object, box=prompted, prior=propagated, several=False
        )
        found = connected(answers.logits[0] > 0, points[is_object])
        agreement = iou(found, mask) * float(answers.values()[0] >= CONFIDENT)
        if agreement < MIN_AGREEMENT:
            return propagated, agreement
        return np.where(found, 1 / (1 + np.exp(-answers.logits[0])), 0).astype(np.float32), agreement


def representative_points(mask: Bool) -> tuple[NDArray[np.float32], Bool]:
    """Points that represent a mask: the `N_POSITIVE` deepest inside it, and `N_NEGATIVE` well outside it.

    Returns:
        (N, 2) x and y, and (N,) whether each is inside.
    """
    size = float(np.sqrt(mask.sum()))
    inside = _deepest(mask, N_POSITIVE, min_distance=0.3 * size)
    ring = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 5)
    outside = _deepest((ring > 0.15 * size) & (ring < 0.6 * size), N_NEGATIVE, min_distance=size)
    points = np.array(inside + outside, np.float32).reshape(-1, 2)
    return points, np.arange(len(points)) < len(inside)


def _deepest(mask: Bool, n: int, *, min_distance: float) -> list[tuple[float, float]]:
    """Up to `n` pixels (x, y) farthest from the mask's outline, each at a minimum distance from the ones before."""
    depth = cv2.distanceTransform(np.pad(mask, 1).view(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    found: list[tuple[float, float]] = []
    for _ in range(n):
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        if depth[y, x] <= 0:
            break
        found.append((float(x), float(y)))
        depth = np.where((columns - x) ** 2 + (rows - y) ** 2 < max(min_distance, 1.0) ** 2, 0, depth)
    return found
