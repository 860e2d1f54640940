"""The painted layer of one target: which pixels are painted, how opaque, and from which plate."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vidfill.models.base import Detail
from vidfill.models.cleanplate.plates import Brought, Plate, render
from vidfill.models.propagate.candidates import Candidate, Region
from vidfill.video.frame import Box, Float

# Expected errors in grey levels. That of a plate is its difference at the rim plus PLATE_ERROR, at least
# MIN_PLATE_ERROR. It takes over from fills of larger errors, fully from a difference of TRANSITION on.
MIN_PLATE_ERROR = 20.0
PLATE_ERROR = 5.0
TRANSITION = 12.0
SPATIAL_PENALTY = 18.0  # a spatial fill is blurred: it must be better than a plate by this to be preferred
OPACITY_STEP = 0.25  # largest change from frame to frame
MIN_OPEN_PX = 60
MIN_OPEN_RATIO = 0.02  # of the hole; less is filled smoothly
AGED_ERROR = 20.0  # a plate that differs more at the rim after AGED_FRAMES of use no longer fits
AGED_FRAMES = 12
FADE_STEP = 1 / 8
NOTHING = np.float32(1e6)


class PaintedLayer:
    """What is painted of one target; arrays, (h, w), cover its region.

    Made from the lowest expected errors of the real candidates (`NOTHING` where there is none) and of the spatial fill,
    and from the aligned opacity of the previous output (negative where unknown).

    Attributes:
        rgb: (h, w, 3), 0 to 255.
        left: where a painting is wanted and no plate has one yet.
        aged: where the plate no longer fits.
        parts: the plates that have been added.
    """

    def __init__(self, region: Region, real_error: Float, spatial_error: Float, before: Float) -> None:
        self._region, self._real_error, self._before = region, real_error, before
        self._other_error = np.minimum(real_error, spatial_error + SPATIAL_PENALTY)
        self._plate_error = np.full(real_error.shape, MIN_PLATE_ERROR, np.float32)
        self._weights: list[Float] = []
        self.aged = np.zeros(real_error.shape, np.bool_)
        self.rgb = np.zeros((*real_error.shape, 3), np.float32)
        self.left = region.hole & ((real_error > MIN_PLATE_ERROR) | (before > 0))
        self.parts: list[Brought] = []

    @property
    def is_open(self) -> bool:
        """Whether enough is left to paint anew."""
        open_px = int((self.left & (self._real_error > MIN_PLATE_ERROR + TRANSITION / 2)).sum())
        return open_px > max(MIN_OPEN_PX, MIN_OPEN_RATIO * int(self._region.hole.sum()))

    @property
    def is_aged(self) -> bool:
        """Whether a plate in use no longer fits and nothing has replaced it."""
        return bool(self.aged.any())

    def add(self, brought: Brought) -> None:
        """Use a plate where something is left to paint, and in place of one that no longer fits."""
        plate = brought.plate
        weight = np.where(self.left, 1.0, np.where(self.aged, plate.fade, 0.0)) * brought.valid
        weight = weight.astype(np.float32)
        used = weight > 0
        self.rgb += weight[..., None] * (brought.rgb - self.rgb)
        self._plate_error[used] = max(MIN_PLATE_ERROR, plate.error + PLATE_ERROR)
        if _has_aged(plate):
            self.aged |= used
        else:
            self.aged &= ~used
        self.left &= ~used
        self._weights = [old * (1 - weight) for old in self._weights] + [weight]
        plate = plate._replace(n_frames=plate.n_frames + bool(used.any()), fade=min(1.0, plate.fade + FADE_STEP))
        self.parts.append(brought._replace(plate=plate))

    def plates(self, n_max: int) -> tuple[Plate, ...]:
        """The plates to remember, without those that another has replaced."""
        kept = [
            part.plate
            for part, weight in zip(self.parts, self._weights, strict=True)
            if weight.any() or not _has_aged(part.plate)
        ]
        # The first one began the scene; of the others the last ones are nearest.
        return tuple(kept if len(kept) <= n_max else [kept[0], *kept[-(n_max - 1) :]])

    def opacity(self) -> Float:
        """(h, w) in [0, 1], 1 where only the painting counts; changes by `OPACITY_STEP` a frame at most."""
        wanted = np.clip((self._other_error - self._plate_error) / TRANSITION, 0, 1)
        near = np.clip(wanted, self._before - OPACITY_STEP, self._before + OPACITY_STEP)
        steady = np.where(self._before >= 0, near, wanted)
        return np.where(self._region.hole & ~self.left, steady, 0).astype(np.float32)

    def detail(self, opacity: Float, size: tuple[int, ...], original: tuple[int, int] | None) -> Detail | None:
        """The painting for a target of (H, W) at the source's own size, (H', W'); None where that is no larger."""
        if original is None or not self.parts or not opacity.any():
            return None
        scale = (original[0] / size[0], original[1] / size[1])
        region = self._region.box
        x, y = round(region.x0 * scale[1]), round(region.y0 * scale[0])
        size_wh = (round(region.width * scale[1]), round(region.height * scale[0]))
        box = Box(x, y, x + size_wh[0], y + size_wh[1])
        rgb = np.zeros((size_wh[1], size_wh[0], 3), np.float32)
        total = np.zeros((size_wh[1], size_wh[0]), np.float32)
        for part, weight in zip(self.parts, self._weights, strict=True):
            if not weight.any() or part.plate.map is None:
                continue
            large = cv2.resize(weight, size_wh, interpolation=cv2.INTER_LINEAR)
            painted = render(part.plate, part.plate.map, scale, self._region)
            correction = cv2.resize(part.correction, size_wh, interpolation=cv2.INTER_LINEAR)
            rgb += large[..., None] * (painted + correction)
            total += large
        seen = np.maximum(total, 1e-6)
        alpha = cv2.resize(opacity, size_wh, interpolation=cv2.INTER_LINEAR) * np.clip(total, 0, 1)
        return Detail(
            original, box, (rgb / seen[..., None]).clip(0, 255).round().astype(np.uint8), alpha.astype(np.float32)
        )


def lowest_error(candidates: Sequence[Candidate], shape: tuple[int, ...]) -> Float:
    """(h, w): the lowest expected error of some candidates, `NOTHING` where none is valid."""
    error = np.full(shape, NOTHING, np.float32)
    for candidate in candidates:
        np.minimum(error, candidate.error, out=error, where=candidate.valid)
    return error


def _has_aged(plate: Plate) -> bool:
    return plate.error > AGED_ERROR and plate.n_frames >= AGED_FRAMES
