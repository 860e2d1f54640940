"""Where an object goes in the new picture, and how large it is there.

An object's pixel at (x, y) of the source is shown at (scale x + dx, scale y + dy). The scale lies between those of the
two axes, as near to 1 as possible, so that the object keeps its shape and, if one side of the picture stays, its size;
it is smaller if the object would not fit. The object's anchor stays at its proportional place, as in the retargeting of
Kim et al., "Deep Video Inpainting" (2019), unless the object would leave the picture there. What the source's border
cuts off lies at the new border.

Only scale and offset are smoothed over time. The object's own motion is in its pixels, neither damped nor delayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vidfill.retarget.objects import ObjectTrack
from vidfill.retarget.path import Path1D, slow_path_below, smooth_path
from vidfill.settings.commands import RetargetSettings
from vidfill.video.frame import Bool, Orientation, VideoInfo

_ANCHORS = {
    "bottom": (0.5, 1.0),
    "center": (0.5, 0.5),
    "top": (0.5, 0.0),
    "left": (0.0, 0.5),
    "right": (1.0, 0.5),
}
_MAX_FILL_RATIO = 0.92  # of the picture's side that an object may take, so that it has room to move smoothly
_TOUCH_PX = 2  # an object closer to the source's border than this is cut off by it
_SCALE_S = 4.0  # an object shrinks and grows this slowly, since a size that changes quickly is noticed
_OFFSET_S = 0.5  # time scale of the offset's path


class ObjectTransform(NamedTuple):
    """Where an object is in one frame of the new picture: (x, y) of the source goes to (scale x + dx, scale y + dy)."""

    scale: float
    dx: float
    dy: float


@dataclass(frozen=True, slots=True)
class Placement:
    """One object over time, (N,) each, frame by frame of its track.

    Attributes:
        start: the track's first frame.
        scale: pixels of the new picture per source pixel.
        dx, dy: offsets, in pixels of the new picture.
        visible: whether the object is in the frame.
        nearness: how low the object stands, which decides which objects cover which.
    """

    start: int
    scale: Path1D
    dx: Path1D
    dy: Path1D
    visible: Bool
    nearness: float

    @property
    def scale_range(self) -> tuple[float, float]:
        """The smallest and the largest scale while the object is visible."""
        scales = self.scale[self.visible]
        return float(scales.min()), float(scales.max())

    def at(self, index: int) -> ObjectTransform:
        """The transform in one frame of the source."""
        i = index - self.start
        return ObjectTransform(float(self.scale[i]), float(self.dx[i]), float(self.dy[i]))


def place(track: ObjectTrack, source: VideoInfo, size: tuple[int, int], settings: RetargetSettings) -> Placement:
    """Lay out one object.

    Args:
        track: where it is in the source.
        source: the source.
        size: (height, width) of the new picture, coded as the source is.
        settings: with the objects' scale and anchor.
    """
    rate = float(source.rate)
    x0, y0, x1, y1 = track.boxes.astype(np.float64).T
    ratios = size[1] / source.width, size[0] / source.height
    widths, heights = np.maximum(x1 - x0, 1), np.maximum(y1 - y0, 1)
    fitting = np.minimum(size[1] / widths, size[0] / heights)
    # At the scale of the smaller axis everything fits.
    largest = np.minimum(np.maximum(_MAX_FILL_RATIO * fitting, min(ratios)), fitting)
    ceiling = np.minimum(largest, settings.object_scale * min(max(1, min(ratios)), max(ratios)))
    scale = slow_path_below(ceiling, track.visible, frames=max(1, round(_SCALE_S * rate)))
    anchor_x, anchor_y = _coded(settings.anchor, source.orientation)
    dx, dy = (
        _offset(track.visible, scale, lo, hi, lo + anchor * (hi - lo), n_from, n_to, rate)
        for lo, hi, anchor, n_from, n_to in (
            (x0, x1, anchor_x, source.width, size[1]),
            (y0, y1, anchor_y, source.height, size[0]),
        )
    )
    return Placement(track.start, scale, dx, dy, track.visible, _nearness(track, source.orientation))


def _offset(
    visible: Bool, scale: Path1D, lo: Path1D, hi: Path1D, anchor: Path1D, n_from: int, n_to: int, rate: float
) -> Path1D:
    """The offset along one axis, on which the object covers [lo, hi) of `n_from` pixels."""
    wanted = (n_to / n_from - scale) * anchor
    lowest, highest = -scale * lo, n_to - scale * hi
    at_start, at_end = lo < _TOUCH_PX, hi > n_from - _TOUCH_PX
    # The outer edges of both pictures meet; an object that is cut off on both sides lies in the middle.
    start_edge, end_edge = np.zeros_like(scale), n_to - scale * n_from
    edge = np.where(at_start & at_end, (start_edge + end_edge) / 2, np.where(at_start, start_edge, end_edge))
    is_cut = at_start | at_end
    lowest, highest = np.where(is_cut, edge, lowest), np.where(is_cut, edge, highest)
    return smooth_path(np.clip(wanted, lowest, highest), lowest, highest, visible, frames=_OFFSET_S * rate)


def _coded(anchor: str, orientation: Orientation) -> tuple[float, float]:
    """An anchor of the picture as shown, as (x, y) ratios of a box in the coded picture."""
    x, y = _ANCHORS[anchor]
    shown = np.zeros((3, 3), np.bool_)
    shown[round(2 * y), round(2 * x)] = True
    row, column = np.argwhere(orientation.to_coded(shown))[0]
    return float(column) / 2, float(row) / 2


def _nearness(track: ObjectTrack, orientation: Orientation) -> float:
    """How low an object stands on average in the picture as shown: the lower, the nearer to the camera."""
    x0, y0, x1, y1 = track.boxes[track.visible].mean(axis=0)
    edges = {(0.5, 1.0): y1, (0.5, 0.0): -y0, (1.0, 0.5): x1, (0.0, 0.5): -x0}
    return float(edges[_coded("bottom", orientation)])
