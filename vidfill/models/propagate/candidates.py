"""Candidates for what is behind a hole: pictures brought to the target, each with the error to expect of it.

A candidate lives on the target's region: the box round its hole with a margin of known pixels, against which the
candidate is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.align.homography import Matrix
from vidfill.models.propagate.fields import carry_inwards

Rgb = NDArray[np.uint8]
Bool = NDArray[np.bool_]
Float = NDArray[np.float32]
Box = tuple[int, int, int, int]
Kind = Literal["reference", "earlier", "later", "spatial"]

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
ERROR_MOST = 40.0  # a picture that misses the rim by more shows something else


class Candidate(NamedTuple):
    """One picture of what may be behind the hole."""

    rgb: Rgb  # (H, W, 3) uint8, on the region
    valid: Bool  # (H, W) bool, where it shows something of this scene
    error: Float  # (H, W) float32, the error to expect, in grey levels of 255
    offset: int  # frames from the target to the frame it comes from; 0 for a spatial fill
    # A frame registered directly, a chain from the earlier or the later frames, or a spatial fill.
    kind: Kind = "reference"


class Region:
    """The part of a target in which candidates are made and judged.

    Args:
        rgb: (H, W, 3) uint8, the whole target.
        known: (H, W) bool, where it is seen; at least one pixel is not.

    Attributes:
        box: (x0, y0, x1, y1), half-open.
        rgb: the target cut to the box.
        known: likewise.
        hole: its opposite.
        rim: the known pixels within `BAND_PX` of the hole.
        band: rows and columns of at most about `N_BAND` of them.
    """

    def __init__(self, rgb: Rgb, known: Bool) -> None:
        height, width = known.shape
        x, y, w, h = cv2.boundingRect((~known).astype(np.uint8))
        self.box: Box = (
            max(0, x - MARGIN_PX),
            max(0, y - MARGIN_PX),
            min(width, x + w + MARGIN_PX),
            min(height, y + h + MARGIN_PX),
        )
        self.rgb = np.ascontiguousarray(rgb[self.rows, self.columns])
        self.known = np.ascontiguousarray(known[self.rows, self.columns])
        self.hole = ~self.known
        size = 2 * BAND_PX + 1
        near = cv2.dilate(self.hole.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
        self.rim = near & self.known
        band = np.nonzero(self.rim)
        step = max(1, len(band[0]) // N_BAND)
        self.band = (band[0][::step], band[1][::step])
        self._band_rgb = self.rgb[self.band].astype(np.int16)

    @property
    def rows(self) -> slice:
        """Of the whole picture."""
        return slice(self.box[1], self.box[3])

    @property
    def columns(self) -> slice:
        """Of the whole picture."""
        return slice(self.box[0], self.box[2])

    @property
    def size_wh(self) -> tuple[int, int]:
        """(width, height) of the box."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]

    def from_frame(self, matrix: Matrix) -> Matrix:
        """A homography that leads to the target, led on to the box's own coordinates."""
        shift = np.array([[1, 0, -self.box[0]], [0, 1, -self.box[1]], [0, 0, 1]], np.float64)
        return np.asarray(shift @ matrix, np.float64)

    def bring(self, rgbk: Rgb, matrix: Matrix, offset: int) -> Candidate | None:
        """A frame brought here by a homography, compensated and judged (see `judge`).

        Args:
            rgbk: (H, W, 4) uint8: RGB and, as fourth, 255 where it is seen.
            matrix: (3, 3), target from that frame.
            offset: how many frames it is away.
        """
        warped = cv2.warpPerspective(rgbk, self.from_frame(matrix), self.size_wh)
        return self.judge(np.ascontiguousarray(warped[..., :3]), warped[..., 3] >= SEEN_LEVEL, offset)

    def judge(self, rgb: Rgb, valid: Bool, offset: int) -> Candidate | None:
        """Compensate a picture's exposure and expect of it in the hole the error that it has round it.

        Args:
            rgb: (H, W, 3) uint8, on the box.
            valid: (H, W) bool, where it shows something.
            offset: how many frames it is away.

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
        error = carry_inwards(grey[..., None], valid & self.known, sigmas_px=ERROR_SIGMAS_PX)[..., 0]
        valid = valid & (error < ERROR_MOST)
        if not (valid & self.hole).any():
            return None
        error += np.float32(ERROR_PER_FRAME * abs(offset))
        return Candidate(rgb, valid, error, offset)


def temperature(error: Float) -> Float:
    """By how many grey levels a candidate must be better than one of this error to count e times as much."""
    return np.asarray(TEMPERATURE + TEMPERATURE_PER_ERROR * error, np.float32)


def shares(candidates: Sequence[Candidate], pixels: tuple[NDArray[np.intp], ...]) -> Float:
    """How much each candidate counts at some pixels: `exp(-(error - least) / temperature(least))`.

    Where one of them is very good only its equals count, where all are poor their mean is the best guess.

    Args:
        candidates: N of them; at each pixel at least one is valid.
        pixels: rows and columns of P pixels of the region.

    Returns:
        (N, P) float32, sums over N are 1.
    """
    far = np.float32(1e6)
    errors = np.stack([np.where(c.valid[pixels], c.error[pixels], far) for c in candidates])
    least = errors.min(axis=0)
    weights = np.exp((least - errors) / temperature(least))
    weights /= weights.sum(axis=0)
    return np.asarray(weights, np.float32)


def mix(candidates: Sequence[Candidate], weights: Float, pixels: tuple[NDArray[np.intp], ...]) -> Float:
    """The candidates' weighted mean at some pixels.

    Args:
        candidates: N of them.
        weights: (N, P), of `shares`.
        pixels: rows and columns of P pixels of the region.

    Returns:
        (P, 3) float32, 0 to 255.
    """
    total = np.zeros((len(pixels[0]), 3), np.float32)
    for candidate, weight in zip(candidates, weights, strict=True):
        total += candidate.rgb[pixels] * weight[:, None]
    return total


def weighted(candidates: Sequence[Candidate], pixels: tuple[NDArray[np.intp], ...]) -> Float:
    """(P, 3) float32, 0 to 255: the candidates at P pixels, each by its share (see `shares`)."""
    return mix(candidates, shares(candidates, pixels), pixels)
