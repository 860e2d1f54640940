"""Fills from the frame itself, for what no other frame shows."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.align.membrane import membrane
from vidfill.models.propagate.candidates import Candidate, Region, temperature, weighted
from vidfill.video.frame import Bool

# Expected errors in grey levels of 255; set by hand on the evaluation clips, not learned.
SPATIAL_ERROR = 15.0
SPATIAL_ERROR_PER_PX = 1.0
MAX_SPATIAL_ERROR = 33.0
STEADINESS = 0.7  # weight of the previous output
COPIED_MARGIN = 2.0  # better by this many temperatures than the spatial fill, which then weighs next to nothing


def fill_smoothly(rgb: NDArray[np.uint8], known: Bool) -> NDArray[np.uint8]:
    """Fill (H, W, 3) with the membrane over its unknown pixels (see `vidfill.align.membrane`); exact elsewhere.

    Unlike Telea's and the Navier-Stokes inpainting it continues no edges, but it draws no wrong ones either: on photos
    it is as close to the truth as the better of the two.
    """
    filled, hole = rgb.copy(), ~known
    filled[hole] = membrane(rgb.astype(np.float32), hole)[hole].round().clip(0, 255).astype(np.uint8)
    return filled


def spatial_candidate(region: Region, others: Sequence[Candidate], before: Candidate | None) -> Candidate:
    """The smooth fill of what the other candidates leave open, with them as its boundary; valid in the whole hole.

    Most of the previous output, aligned, is kept, so that the fill does not flicker. The expected error grows with the
    distance to known pixels.
    """
    depth = cv2.distanceTransform(region.hole.astype(np.uint8), cv2.DIST_L2, 3)
    error = np.minimum(SPATIAL_ERROR + SPATIAL_ERROR_PER_PX * depth, MAX_SPATIAL_ERROR).astype(np.float32)
    rgb, known = region.rgb.copy(), region.known.copy()
    for other in others:
        known |= other.valid & (other.error + COPIED_MARGIN * temperature(other.error) < error)
    copied = np.nonzero(known & region.hole)
    if len(copied[0]):
        rgb[copied] = weighted(others, copied).round().astype(np.uint8)
    rgb = fill_smoothly(rgb, known)
    if before is not None:
        weight = (STEADINESS * (before.valid & region.hole))[..., None]
        rgb = (rgb + weight * (before.rgb.astype(np.float32) - rgb)).round().astype(np.uint8)
    return Candidate(rgb, region.hole, error, 0)
