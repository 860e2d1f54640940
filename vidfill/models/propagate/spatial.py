"""Fills from the frame itself, for what no other frame shows."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.align.membrane import membrane
from vidfill.models.propagate.candidates import Candidate, Region, temperature, weighted

# Expected errors, in grey levels of 255; set by hand on the clips of the quality protocol itself, not learned.
SPATIAL_ERROR = 15.0
SPATIAL_ERROR_PER_PX = 1.0
MAX_SPATIAL_ERROR = 33.0
STEADINESS = 0.7
COPIED_MARGIN = 2.0  # so many temperatures better than the spatial fill: it has next to no weight there


def fill_smoothly(rgb: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The membrane that is fixed at the hole's rim (see `vidfill.align.membrane`).

    It continues no edges, as the fills of Telea and of Navier and Stokes do, but draws no wrong ones: on photos with
    holes of every kind it is as close to the truth as the best of the three. Pixels copied from other frames may count
    as known, too: what is left then begins at their level.

    Args:
        rgb: (H, W, 3).
        known: (H, W) bool, at least one pixel of it True.

    Returns:
        (H, W, 3); exact outside the hole.
    """
    filled, hole = rgb.copy(), ~known
    filled[hole] = membrane(rgb.astype(np.float32), hole)[hole].round().clip(0, 255).astype(np.uint8)
    return filled


def spatial_candidate(region: Region, others: Sequence[Candidate], before: Candidate | None) -> Candidate:
    """The smooth fill of what the other candidates leave open, with them as its boundary.

    Args:
        region: of the target.
        others: what other frames show of the hole.
        before: the output before this one, brought here; most of it is kept, so that the fill does not flicker.

    Returns:
        Valid in the whole hole; its expected error grows with the distance to what is known.
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
        share = (STEADINESS * (before.valid & region.hole))[..., None]
        rgb = (rgb + share * (before.rgb.astype(np.float32) - rgb)).round().astype(np.uint8)
    return Candidate(rgb, region.hole, error, 0, "spatial")
