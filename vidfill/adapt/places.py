"""Extra holes for a clip that has one already: the same shape, the same motion, another place."""

from __future__ import annotations

import cv2
import numpy as np

from vidfill.frame import Bool, Box

N_TRIES = 24
ENOUGH = 0.7
LEAST = 0.1
RIM_PX = 8
_STRIDE = 4


def draw_extra(rng: np.random.Generator, holes: Bool) -> Bool | None:
    """Draw another hole.

    It is the real one, perhaps mirrored, perhaps played backwards, and moved by one offset; frames without a hole
    borrow the nearest one's. What would lie on the real hole, or within `RIM_PX` of it, is left out.

    Args:
        rng: draws it.
        holes: (T, H, W), the real hole, in one frame at least.

    Returns:
        (T, H, W), of the first draw of which `ENOUGH` is left, or of the best one; None if less than `LEAST` of any is.
    """
    shapes = _in_every_frame(holes)
    area = max(1, int(shapes[:, ::_STRIDE, ::_STRIDE].sum()))
    kernel = np.ones((2 * RIM_PX + 1, 2 * RIM_PX + 1), np.uint8)
    taken = np.stack([cv2.dilate(hole.astype(np.uint8), kernel) > 0 for hole in holes])
    best, most = None, LEAST
    for _ in range(N_TRIES):
        drawn = _moved(rng, shapes)
        left = np.count_nonzero((drawn & ~taken)[:, ::_STRIDE, ::_STRIDE]) / area
        if left >= most:
            best, most = drawn, left
        if most >= ENOUGH:
            break
    return None if best is None else best & ~taken


def _moved(rng: np.random.Generator, shapes: Bool) -> Bool:
    """Mirrored or not, backwards or not, with its middle anywhere in the frame; what leaves the frame is lost."""
    if rng.random() < 0.5:
        shapes = shapes[:, :, ::-1]
    if rng.random() < 0.5:
        shapes = shapes[::-1]
    _, height, width = shapes.shape
    box = Box.around(np.asarray(shapes.any(axis=0))) or Box(0, 0, width, height)
    down = int(rng.integers(height)) - (box.y0 + box.y1) // 2
    right = int(rng.integers(width)) - (box.x0 + box.x1) // 2
    moved = np.zeros_like(shapes)
    to = moved[:, max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
    to[:] = shapes[:, max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    return moved


def _in_every_frame(holes: Bool) -> Bool:
    """Frames without a hole get the one that is nearest in time."""
    there = np.flatnonzero(holes.any(axis=(1, 2)))
    if not len(there):
        raise ValueError("no frame has a hole")
    nearest = there[np.abs(np.arange(len(holes))[:, None] - there).argmin(axis=1)]
    return np.asarray(holes[nearest])
