"""The pictures of the new size: the clean background resized, the objects of the source put back on it.

Everything happens in the picture's own planes, at their own bit depth and chroma siting: no sample goes through RGB. At
the source's own size and position, an object's samples come out bit-identical.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.masks.edit import soft_alpha
from vidfill.retarget.layout import ObjectTransform, Placement
from vidfill.retarget.objects import MaskParts
from vidfill.video.color import chroma_site
from vidfill.video.frame import Bool, Box, Float, Frame, Patch, PixelFormat, Samples, VideoInfo
from vidfill.video.resample import Axis, resample

_BLOCK_PX = 4  # crops begin at multiples of this: whole chroma blocks


class Renderer:
    """Makes the pictures of the new size.

    Args:
        source: the source.
        target: the same at the new size.
        placements: of all objects.
        feather_px: width of the soft rim of the cut-out objects, in source pixels, outside the mask.
    """

    def __init__(
        self, source: VideoInfo, target: VideoInfo, placements: Sequence[Placement], *, feather_px: int
    ) -> None:
        self._source, self._target = source, target
        self._placements = tuple(placements)
        self._feather_px = feather_px
        self._rows = Axis.resize(source.height, target.height)
        self._columns = Axis.resize(source.width, target.width)

    def render(self, clean: Frame, planes: Sequence[Samples], parts: MaskParts, owners: Sequence[int]) -> Frame:
        """One picture.

        Args:
            clean: the source's frame without its objects.
            planes: of the original frame, with the objects.
            parts: of its mask.
            owners: the object that each part belongs to.

        Returns:
            A new frame of the new size, at the same time.
        """
        new = tuple(self._resized(plane, i) for i, plane in enumerate(clean.planes))
        for number in sorted(set(owners), key=lambda owner: self._placements[owner].nearness):
            own = [label for label, owner in enumerate(owners, 1) if owner == number]
            mask = parts.labels == own[0] if len(own) == 1 else np.isin(parts.labels, own)
            self._put(new, planes, mask, self._placements[number].at(clean.index))
        return Frame(clean.index, clean.pts, clean.time_base, new, clean.held)

    def _resized(self, plane: Samples, number: int) -> Samples:
        rows, columns = _Grid.of(self._source, number).axes(self._rows, self._columns)
        pixel_format = self._target.pixel_format
        height, width = pixel_format.plane_size(number, height=self._target.height, width=self._target.width)
        return _rounded(resample(plane, rows._replace(n=height), columns._replace(n=width)), pixel_format)

    def _put(self, new: Sequence[Samples], planes: Sequence[Samples], mask: Bool, transform: ObjectTransform) -> None:
        """Put an object into the new planes, in place."""
        tight = Box.around(mask)
        if tight is None:
            return
        scale, dx, dy = transform
        margin = self._feather_px + math.ceil(2 / min(scale, 1)) + 1
        crop = _aligned(tight.grow(margin, height=self._source.height, width=self._source.width), self._source)
        cover = soft_alpha(mask[crop.slices], dilate_px=0, feather_px=self._feather_px)
        box = Box(
            max(0, math.floor(scale * crop.x0 + dx)),
            max(0, math.floor(scale * crop.y0 + dy)),
            min(self._target.width, math.ceil(scale * crop.x1 + dx)),
            min(self._target.height, math.ceil(scale * crop.y1 + dy)),
        )
        if box.x0 >= box.x1 or box.y0 >= box.y1:
            return
        box = _aligned(box, self._target)
        # The pixels of the new box, measured in pixels of the crop.
        rows = Axis(box.height, (box.y0 + 0.5 - dy) / scale - 0.5 - crop.y0, 1 / scale)
        columns = Axis(box.width, (box.x0 + 0.5 - dx) / scale - 0.5 - crop.x0, 1 / scale)
        for number, plane in enumerate(planes):
            grid = _Grid.of(self._source, number)
            where = grid.box(box)
            plane_rows, plane_columns = grid.axes(rows, columns)
            color = resample(
                plane[grid.box(crop).slices],
                plane_rows._replace(n=where.height),
                plane_columns._replace(n=where.width),
            )
            alpha = _alpha(cover, rows, columns, where, grid)
            below = new[number][where.slices]
            mixed = _rounded(alpha * color + (1 - alpha) * below, self._target.pixel_format)
            below[...] = np.where(alpha > 0, mixed, below)


class _Grid(NamedTuple):
    """Where the samples of a plane lie: log2 of its subsampling, and its first sample in pixels."""

    shift_x: int
    shift_y: int
    site_x: float
    site_y: float

    @classmethod
    def of(cls, info: VideoInfo, number: int) -> Self:
        if info.pixel_format.kind != "yuv" or number not in (1, 2):
            return cls(0, 0, 0.0, 0.0)
        return cls(*info.pixel_format.chroma_shift, *chroma_site(info))

    def axes(self, rows: Axis, columns: Axis) -> tuple[Axis, Axis]:
        """The axes of the plane from those of the full-sized planes."""
        return rows.on_grid(self.site_y, 1 << self.shift_y), columns.on_grid(self.site_x, 1 << self.shift_x)

    def box(self, box: Box) -> Box:
        """A box of whole chroma blocks, in samples of the plane."""
        return Box(
            box.x0 >> self.shift_x, box.y0 >> self.shift_y, -(-box.x1 >> self.shift_x), -(-box.y1 >> self.shift_y)
        )


def clear_alpha(frame: Frame, info: VideoInfo, patch: Patch) -> None:
    """Continue the picture's own alpha channel where an object was removed, in place.

    Args:
        frame: of the source, with its patch in it.
        info: of the source; without alpha nothing happens.
        patch: where the object was.
    """
    if not info.pixel_format.has_alpha:
        return
    box = patch.box.grow(_BLOCK_PX, height=info.height, width=info.width)
    hole = np.zeros((info.height, info.width), np.uint8)
    hole[patch.box.slices] = patch.alpha
    alpha, hole = frame.planes[-1][box.slices], hole[box.slices]
    known = alpha[hole == 0]
    if known.size and (known == known[0]).all():
        alpha[hole > 0] = known[0]
    elif known.size:
        alpha[...] = cv2.inpaint(alpha, hole, _BLOCK_PX, cv2.INPAINT_TELEA)


def _alpha(cover: NDArray[np.uint8], rows: Axis, columns: Axis, where: Box, grid: _Grid) -> Float:
    """How much of each sample of a plane the object covers, in [0, 1]."""
    down = Axis(where.height, rows.start + grid.site_y * rows.step, rows.step * (1 << grid.shift_y))
    across = Axis(where.width, columns.start + grid.site_x * columns.step, columns.step * (1 << grid.shift_x))
    # Past the source's border there is no object, though resampling repeats it.
    inside = np.outer(_within(down, cover.shape[0]), _within(across, cover.shape[1]))
    return np.asarray(np.clip(resample(cover, down, across) / np.float32(255), 0, 1) * inside, np.float32)


def _within(axis: Axis, n_input: int) -> Bool:
    """(axis.n,), which output samples lie within the outer edges of the input."""
    places = axis.start + axis.step * np.arange(axis.n)
    return np.asarray((places >= -0.5) & (places <= n_input - 0.5))


def _aligned(box: Box, info: VideoInfo) -> Box:
    """The box grown to whole chroma blocks."""
    block = _BLOCK_PX
    return Box(
        box.x0 // block * block,
        box.y0 // block * block,
        min(info.width, -(-box.x1 // block) * block),
        min(info.height, -(-box.y1 // block) * block),
    )


def _rounded(samples: Float, pixel_format: PixelFormat) -> Samples:
    limited = np.clip(np.rint(samples), 0, (1 << pixel_format.depth) - 1)
    return limited.astype(np.uint8) if pixel_format.depth <= 8 else limited.astype(np.uint16)
