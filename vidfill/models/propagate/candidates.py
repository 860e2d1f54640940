"""Candidates for what is behind a hole: pictures aligned with the target, each with an expected error.

A candidate covers the target's region: the box around its hole with a margin of known pixels, on which the error is
measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.align.homography import Matrix
from vidfill.models.propagate.fields import extrapolate
from vidfill.video.frame import Bool, Box, Float, Rgb

MARGIN_PX = 64
BAND_PX = 20
N_BAND = 2000
MIN_BAND = 30
MAX_GAIN = 12.0
ERROR_SIGMAS_PX = (6.0, 15.0, 40.0)
ERROR_PER_FRAME = 0.05
SEEN_LEVEL = 253
TEMPERATURE = 1.0
TEMPERATURE_PER_ERROR = 0.3
MAX_ERROR = 40.0  # a picture that differs more at the rim shows something else


class Candidate(NamedTuple):
    """One picture of what may be behind the hole; arrays cover the target's region."""

    rgb: Rgb  # (h, w, 3)
    valid: Bool  # (h, w), where it shows something of this scene
    error: Float  # (h, w), expected error in grey levels of 255
    offset: int  # frames from the target to its source; 0 for a spatial fill


class Region:
    """The part of a target in which candidates are made and judged: its hole with a margin.

    Attributes:
        box: of the part.
        rgb: the target in the box; `known` and `hole` likewise.
        rim: the known pixels within `BAND_PX` of the hole.
        band: rows and columns of about `N_BAND` of them.
    """

    def __init__(self, rgb: Rgb, known: Bool) -> None:
        height, width = known.shape
        x, y, w, h = cv2.boundingRect((~known).astype(np.uint8))
        self.box = Box(x, y, x + w, y + h).grow(MARGIN_PX, height=height, width=width)
        self.rgb = np.ascontiguousarray(rgb[self.box.slices])
        self.known = np.ascontiguousarray(known[self.box.slices])
        self.hole = ~self.known
        size = 2 * BAND_PX + 1
        near = cv2.dilate(self.hole.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
        self.rim = near & self.known
        band = np.nonzero(self.rim)
        step = max(1, len(band[0]) // N_BAND)
        self.band = (band[0][::step], band[1][::step])
        self._band_rgb = self.rgb[self.band].astype(np.int16)

    @property
    def size_wh(self) -> tuple[int, int]:
        """(width, height) of the box."""
        return self.box.width, self.box.height

    def from_frame(self, matrix: Matrix) -> Matrix:
        """A homography to the target, continued to the coordinates of the box."""
        shift = np.array([[1, 0, -self.box.x0], [0, 1, -self.box.y0], [0, 0, 1]], np.float64)
        return np.asarray(shift @ matrix, np.float64)

    def bring(self, rgbk: Rgb, matrix: Matrix, offset: int) -> Candidate | None:
        """Warp a frame, `Seen.rgbk`, by the homography that maps it to the target, and `judge` it."""
        warped = cv2.warpPerspective(rgbk, self.from_frame(matrix), self.size_wh)
        return self.judge(np.ascontiguousarray(warped[..., :3]), warped[..., 3] >= SEEN_LEVEL, offset)

    def judge(self, rgb: Rgb, valid: Bool, offset: int) -> Candidate | None:
        """Match a picture's exposure to the rim, then extrapolate its error at the rim into the hole.

        Returns:
            None where it shows nothing of the hole, too little of the rim to be judged, or something else.
        """
        at_rim = valid[self.band]
        if int(at_rim.sum()) < MIN_BAND or not (valid & self.hole).any():
            return None
        difference = self._band_rgb[at_rim] - rgb[self.band][at_rim]
        gain = np.clip(np.median(difference, axis=0), -MAX_GAIN, MAX_GAIN)
        if np.abs(gain).max() >= 1:
            levels = np.arange(256)[None, :, None] + gain
            rgb = np.asarray(cv2.LUT(rgb, levels.round().clip(0, 255).astype(np.uint8)), np.uint8)
        grey = cv2.cvtColor(cv2.absdiff(rgb, self.rgb), cv2.COLOR_RGB2GRAY).astype(np.float32)
        error = extrapolate(grey[..., None], valid & self.known, sigmas_px=ERROR_SIGMAS_PX)[..., 0]
        valid = valid & (error < MAX_ERROR)
        if not (valid & self.hole).any():
            return None
        error += np.float32(ERROR_PER_FRAME * abs(offset))
        return Candidate(rgb, valid, error, offset)


def temperature(error: Float) -> Float:
    """Scale of the weights in grey levels: a candidate whose error is lower by this much weighs e times as much."""
    return np.asarray(TEMPERATURE + TEMPERATURE_PER_ERROR * error, np.float32)


def weighted(candidates: Sequence[Candidate], pixels: tuple[NDArray[np.intp], ...]) -> Float:
    """Mean of the candidates at P pixels, weighted by `exp((lowest error - error) / temperature(lowest error))`.

    Where one of them is very good only equally good ones count; where all are poor their mean is the best guess.

    Returns:
        (P, 3), 0 to 255.
    """
    errors = np.stack([np.where(c.valid[pixels], c.error[pixels], np.float32(1e6)) for c in candidates])
    lowest = errors.min(axis=0)
    weights = np.exp((lowest - errors) / temperature(lowest))
    weights /= weights.sum(axis=0)
    weights = np.asarray(weights, np.float32)
    total = np.zeros((len(pixels[0]), 3), np.float32)
    for candidate, weight in zip(candidates, weights, strict=True):
        total += candidate.rgb[pixels] * weight[:, None]
    return total
