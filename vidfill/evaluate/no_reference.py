"""Measures of a removal, for which there is no truth.

Each gets worse, on clips with a truth, when the truth is damaged in the way that it is meant to see, and ranks fills as
the feature distance (flicker: the warp error) does: `benchmarks/measures.py` shows it. What failed is not here: the
spread of features (does not notice patches that change places) and the step across the rim of the hole (least for
Telea's smears). What a shadow outside the mask leaves is the same for every model, since the known pixels are put back.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.evaluate.appearance import Network, feature_maps, rc_s_lite, residue_lite
from vidfill.evaluate.protocol import EvaluationClip, Frames
from vidfill.evaluate.results import Measures
from vidfill.evaluate.temporal import flicker, ring_round
from vidfill.video.frame import Bool

RING_PX = 16
ROUNDING_ENERGY = 1.0  # squared grey levels; keeps the ratio of two even areas at 1


def judge_removal(output: Frames, clip: EvaluationClip, indices: Sequence[int], network: Network | None) -> Measures:
    """The measures of a removal: means over the frames at `indices`, all with a hole.

    What no frame allows is left out; without a network so are `rc_s_lite` and `residue_lite`.
    """
    found: dict[str, list[float | None]] = {"sharpness": [sharpness(output[i], clip.holes[i]) for i in indices]}
    if network is not None:
        for i in indices:
            hole, maps = clip.holes[i], feature_maps(network, output[i])
            found.setdefault("rc_s_lite", []).append(rc_s_lite(maps, hole))
            source = feature_maps(network, clip.frames[i])
            found.setdefault("residue_lite", []).append(residue_lite(maps, source, hole))
    known = {name: [value for value in values if value is not None] for name, values in found.items()}
    means = {name: float(np.mean(values)) for name, values in known.items() if values}
    return means | {"flicker": flicker(output, clip.holes)}


def sharpness(output: NDArray[np.uint8], hole: Bool) -> float | None:
    """How much fine detail a fill has: the mean squared Laplacian inside the hole over that in a ring round it.

    Returns:
        1 for as much detail as the ring of 16 px has, near 0 for a blur, well above 1 for edges that do not belong. The
        rim itself is left out. None where nothing is left of the hole or of the ring.
    """
    grey = cv2.cvtColor(output, cv2.COLOR_RGB2GRAY).astype(np.float32)
    energy = cv2.Laplacian(grey, cv2.CV_32F, borderType=cv2.BORDER_REPLICATE) ** 2
    inside = ~ring_round(~hole, 1) & hole
    ring = ring_round(hole, RING_PX) & ~ring_round(hole, 1)
    if not inside.any() or not ring.any():
        return None
    return float((energy[inside].mean() + ROUNDING_ENERGY) / (energy[ring].mean() + ROUNDING_ENERGY))
