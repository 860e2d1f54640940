"""Fills what no frame shows: by the painter, or by classic inpainting where that is closer to the truth."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from vidfill.models.cleanplate.network import PainterNetwork
from vidfill.models.cleanplate.painting import paint
from vidfill.models.propagate.spatial import fill_smoothly
from vidfill.video.frame import Bool, Rgb

THIN_PX = 6  # from the middle of a hole to its rim; thicker holes are always painted
RING_PX = 2
INPAINT_RADIUS_PX = 3.0
PAINTER_FAVOUR = 1.5  # the error of the painter is divided by this, since it alone gives texture


def complete(network: PainterNetwork, rgb: Rgb, hole: Bool) -> Rgb:
    """Fill the hole of a picture, (H, W, 3).

    Thin holes (text, wires, scratches) depend on the pixels next to them, and on smooth ground a membrane or classic
    inpainting is closer to the truth than a painting. Each is tried on a hole dilated by `RING_PX`, and the one with
    the lowest error on the ring of known pixels is taken.
    """
    if not hole.any():
        return rgb.copy()
    fills: list[Callable[[Rgb, Bool], Rgb]] = [lambda picture, missing: paint(network, picture, missing)]
    depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    size = 2 * RING_PX + 1
    wider = cv2.dilate(hole.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    if depth.max() > THIN_PX or wider.all():
        return fills[0](rgb, hole)
    fills += [lambda picture, missing: fill_smoothly(picture, ~missing)]
    fills += [_inpainting(method) for method in (cv2.INPAINT_TELEA, cv2.INPAINT_NS)]
    ring = wider & ~hole
    truth = rgb[ring].astype(np.float32)
    errors = [float(np.square(fill(rgb, wider)[ring] - truth).mean()) for fill in fills]
    errors[0] /= PAINTER_FAVOUR
    return fills[int(np.argmin(errors))](rgb, hole)


def _inpainting(method: int) -> Callable[[Rgb, Bool], Rgb]:
    def fill(rgb: Rgb, hole: Bool) -> Rgb:
        return np.asarray(cv2.inpaint(rgb, hole.astype(np.uint8), INPAINT_RADIUS_PX, method), np.uint8)

    return fill
