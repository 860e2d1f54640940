"""The pictures of the new size: the clean background resized, the objects of the source put back on it.

Everything happens in the picture's own planes, at their own depth, chroma sited as the source has it: no sample goes
through RGB. At the source's own size and in its own place, an object's samples come out bit-identical.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.masks.edit import soft_alpha
from vidfill.retarget.layout import Place, Placement
from vidfill.retarget.objects import Parts
from vidfill.video.color import chroma_site
from vidfill.video.frame import Bool, Box, Float, Frame, Patch, PixelFormat, Samples, VideoInfo
from vidfill.video.resample import Axis, resample

_BLOCK_PX = 4  # crops begin at multiples of this: whole blocks of chroma


class Renderer:
    """Makes the pictures of the new size.

    Args:
        source: the source.
        target: the same at the new size.
        placements: of all objects.
        feather_px: width of the soft rim that objects are cut out with, in source pixels, outside the mask.
    """

    def __init__(
        self, source: VideoInfo, target: VideoInfo, placements: Sequence[Placement], *, feather_px: int
    ) -> None:
        self._source, self._target = source, target
        self._placements = tuple(placements)
        self._feather_px = feather_px
        self._rows = Axis.resize(source.height, target.height)
        self._columns = Axis.resize(source.width, target.width)

    def render(self, clean: Frame, planes: Sequence[Samples], parts: Parts | None, owners: Sequence[int]) -> Frame:
        """One picture.

        Args:
            clean: the source's frame without its objects.
            planes: of the frame as it was, with them.
            parts: of its mask; None where it has no mask.
            owners: the object that each part belongs to.

        Returns:
            A new frame of the new size, at the same time.
        """
        made = tuple(self._resized(plane, i) for i, plane in enumerate(clean.planes))
        for number in sorted(set(owners), key=lambda owner: self._placements[owner].nearness):
            if parts is None:
                break
            own = [label for label, owner in enumerate(owners, 1) if owner == number]
            mask = parts.labels == own[0] if len(own) == 1 else np.isin(parts.labels, own)
            self._put(made, planes, mask, self._placements[number].at(clean.index))
        return Frame(clean.index, clean.pts, clean.time_base, made, clean.held)

    def _resized(self, plane: Samples, number: int) -> Samples:
        rows, columns = self._on_plane(self._rows, self._columns, number)
        height, width = self._target.pixel_format.plane_size(
            number, height=self._target.height, width=self._target.width
        )
        return _rounded(resample(plane, rows._replace(n=height), columns._replace(n=width)), self._target.pixel_format)

    def _on_plane(self, rows: Axis, columns: Axis, number: int) -> tuple[Axis, Axis]:
        """The axes of a plane from those of the full-sized ones."""
        shift_x, shift_y = _shift(self._source.pixel_format, number)
        site_x, site_y = chroma_site(self._source) if (shift_x, shift_y) != (0, 0) else (0.0, 0.0)
        return rows.on_grid(site_y, 1 << shift_y), columns.on_grid(site_x, 1 << shift_x)

    def _put(self, made: Sequence[Samples], planes: Sequence[Samples], mask: Bool, place: Place) -> None:
        """Put an object into the new planes, in place."""
        tight = Box.around(mask)
        if tight is None:
            return
        margin = self._feather_px + math.ceil(2 / min(place.scale, 1)) + 1
        crop = _aligned(tight.grow(margin, height=self._source.height, width=self._source.width), self._source)
        cover = soft_alpha(mask[crop.slices], dilate_px=0, feather_px=self._feather_px)
        box = self._shown(crop, place)
        if box is None:
            return
        # A pixel of the new picture, counted from the box, on the pixels of the crop.
        rows = Axis(box.height, (box.y0 + 0.5 - place.dy) / place.scale - 0.5 - crop.y0, 1 / place.scale)
        columns = Axis(box.width, (box.x0 + 0.5 - place.dx) / place.scale - 0.5 - crop.x0, 1 / place.scale)
        for number, plane in enumerate(planes):
            shift_x, shift_y = _shift(self._source.pixel_format, number)
            part = _subsampled(crop, shift_x, shift_y)
            where = _subsampled(box, shift_x, shift_y)
            plane_rows, plane_columns = self._on_plane(rows, columns, number)
            color = resample(
                plane[part.slices], plane_rows._replace(n=where.height), plane_columns._replace(n=where.width)
            )
            alpha = self._alpha(cover, rows, columns, where, number)
            below = made[number][where.slices]
            mixed = _rounded(alpha * color + (1 - alpha) * below, self._target.pixel_format)
            below[...] = np.where(alpha > 0, mixed, below)

    def _alpha(self, cover: NDArray[np.uint8], rows: Axis, columns: Axis, where: Box, number: int) -> Float:
        """How much of each sample of a plane the object covers, in [0, 1]."""
        shift_x, shift_y = _shift(self._source.pixel_format, number)
        site_x, site_y = chroma_site(self._source) if (shift_x, shift_y) != (0, 0) else (0.0, 0.0)
        down = Axis(where.height, rows.start + site_y * rows.step, rows.step * (1 << shift_y))
        across = Axis(where.width, columns.start + site_x * columns.step, columns.step * (1 << shift_x))
        # Past the source's border there is no object, though resampling repeats it.
        inside = np.outer(_within(down, cover.shape[0]), _within(across, cover.shape[1]))
        return np.asarray(np.clip(resample(cover, down, across) / np.float32(255), 0, 1) * inside, np.float32)

    def _shown(self, crop: Box, place: Place) -> Box | None:
        """Where a crop of the source lies in the new picture; None if outside."""
        width, height = self._target.width, self._target.height
        box = Box(
            max(0, math.floor(place.scale * crop.x0 + place.dx)),
            max(0, math.floor(place.scale * crop.y0 + place.dy)),
            min(width, math.ceil(place.scale * crop.x1 + place.dx)),
            min(height, math.ceil(place.scale * crop.y1 + place.dy)),
        )
        return _aligned(box, self._target) if box.x0 < box.x1 and box.y0 < box.y1 else None


def clear_alpha(frame: Frame, info: VideoInfo, patch: Patch) -> None:
    """Let the picture's own alpha go on where an object was removed, in place: what stood on nothing leaves nothing.

    Args:
        frame: of the source, its patch put in.
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


def _within(axis: Axis, n_input: int) -> Bool:
    """(axis.n,), which output samples lie within the outer edges of the input."""
    places = axis.start + axis.step * np.arange(axis.n)
    return np.asarray((places >= -0.5) & (places <= n_input - 0.5))


def _shift(pixel_format: PixelFormat, number: int) -> tuple[int, int]:
    """log2 of the subsampling of a plane, horizontal and vertical."""
    is_chroma = pixel_format.kind == "yuv" and number in (1, 2)
    return pixel_format.chroma_shift if is_chroma else (0, 0)


def _aligned(box: Box, info: VideoInfo) -> Box:
    """The box grown to whole blocks of chroma."""
    block = _BLOCK_PX
    return Box(
        box.x0 // block * block,
        box.y0 // block * block,
        min(info.width, -(-box.x1 // block) * block),
        min(info.height, -(-box.y1 // block) * block),
    )


def _subsampled(box: Box, shift_x: int, shift_y: int) -> Box:
    """A box of whole blocks in the samples of a subsampled plane."""
    return Box(box.x0 >> shift_x, box.y0 >> shift_y, -(-box.x1 >> shift_x), -(-box.y1 >> shift_y))


def _rounded(samples: Float, pixel_format: PixelFormat) -> Samples:
    limited = np.clip(np.rint(samples), 0, (1 << pixel_format.depth) - 1)
    return limited.astype(np.uint8) if pixel_format.depth <= 8 else limited.astype(np.uint16)
