"""The user's masks, from whatever form they come in to one boolean picture a frame."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vidfill.errors import MaskError, UsageError
from vidfill.masks.boxes import Boxes, TimedBox, TimeRange
from vidfill.masks.images import IMAGE_SUFFIXES, Fit, list_images, read_mask
from vidfill.masks.layers import AlphaLayer, FolderLayer, Layer, MaskAt, StillLayer, VideoLayer
from vidfill.settings import MaskSettings
from vidfill.video.frame import Bool, Frame, VideoInfo
from vidfill.video.read import Reader
from vidfill.video.read_images import image_paths

_log = logging.getLogger("vidfill")


@dataclass(frozen=True, slots=True)
class _Rules:
    """How a layer's masks and the boxes become the mask of a frame."""

    size: tuple[int, int]  # (height, width) of the coded picture
    boxes: Boxes
    when: TimeRange  # frames outside have no hole
    invert: bool  # the layer's masks
    first_s: Fraction  # when the first frame is shown; the user's times count from there
    slack_s: Fraction  # half a frame, by which the user's times are rounded

    def parts(self, frame: Frame, mask_at: MaskAt | None) -> tuple[Bool | None, Bool | None]:
        """The layer's mask and the boxes' mask for one frame, None where there is none."""
        time_s = frame.time_s - self.first_s
        if not self.when.holds(frame.index, time_s, slack_s=self.slack_s):
            return None, None
        boxes = self.boxes.at(frame, time_s, slack_s=self.slack_s)
        return (mask_at(frame) if mask_at is not None else None), boxes

    def union(self, layer: Bool | None, boxes: Bool | None) -> Bool:
        """Both together, with the layer's mask inverted if asked for."""
        if layer is not None and self.invert:
            layer = ~layer
        if layer is not None and boxes is not None:
            return layer | boxes
        given = layer if layer is not None else boxes
        return np.zeros(self.size, np.bool_) if given is None else given


class MaskCursor:
    """One forward pass over the masks; made by `MaskSource.cursor`."""

    def __init__(self, rules: _Rules, mask_at: MaskAt | None) -> None:
        self._rules = rules
        self._mask_at = mask_at
        self._parts: tuple[Bool | None, Bool | None] = (None, None)
        self._mask = rules.union(None, None)
        self._mask.setflags(write=False)

    def at(self, frame: Frame) -> Bool:
        """The mask of a frame, (H, W) at the coded size and orientation, true where the hole is.

        Args:
            frame: its index must not be lower than in the call before; it may jump ahead.

        Returns:
            A read-only array: the same object as for the frame before if the mask has not changed, so that what is
            computed from it can be cached. Empty past the last mask; see `MaskSource.check_count`.

        Raises:
            MaskError: if the mask cannot be read or does not fit the picture.
        """
        parts = self._rules.parts(frame, self._mask_at)
        if not all(_is_equal(new, old) for new, old in zip(parts, self._parts, strict=True)):
            self._parts = parts
            self._mask = self._rules.union(*parts)
            self._mask.setflags(write=False)
        return self._mask


def _is_equal(new: Bool | None, old: Bool | None) -> bool:
    """Whether two masks are equal; files often repeat a mask, and comparing is cheap."""
    if new is None or old is None or new is old:
        return new is old
    return np.array_equal(new, old)


class MaskSource:
    """The masks of one source; made by `open_masks`."""

    def __init__(self, layer: Layer | None, rules: _Rules, name: str) -> None:
        self._layer = layer
        self._rules = rules
        self._name = name

    @contextmanager
    def cursor(self) -> Iterator[MaskCursor]:
        """Start an independent forward pass; MaskError if a mask video cannot be read."""
        if self._layer is None:
            yield MaskCursor(self._rules, None)
            return
        with self._layer.open() as mask_at:
            yield MaskCursor(self._rules, mask_at)

    def check_count(self, n_frames: int) -> None:
        """Compare the number of masks with that of the frames, which only a decode knows.

        Raises:
            MaskError: if they differ.
        """
        n_masks = self._layer.count() if self._layer is not None else None
        if n_masks is None or n_masks == n_frames:
            return
        if n_masks == 1:
            todo = "to use one image for all frames, give the image itself rather than its folder"
        else:
            todo = (
                "draw the masks on frames written with `ffmpeg -i VIDEO -fps_mode passthrough FOLDER/%05d.png`, "
                "which neither drops nor repeats any"
            )
        raise MaskError(
            f"{_count(n_masks, 'mask')} in {self._name} for {_count(n_frames, 'frame')}",
            expected="one mask for each frame",
            todo=todo,
        )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def open_masks(spec: MaskSettings, info: VideoInfo, *, rate: Fraction, tracked: Layer | None = None) -> MaskSource:
    """Open what the user gave, and check what can be checked before a decode.

    Args:
        spec: what to remove.
        info: the source.
        rate: frames per second of the source, to round times in seconds to the nearest frame.
        tracked: masks of prompted objects; they need not be there before one is asked for.

    Raises:
        UsageError: for options that contradict each other or cannot be read.
        MaskError: for masks that are missing, unreadable, of the wrong aspect, or (where the source is a folder) count.
    """
    if tracked is not None and spec.mask is not None:
        raise UsageError("--mask together with prompts", expected="one of them", todo="leave one out")
    if spec.mask is None:
        if not spec.box and tracked is None:
            raise UsageError("no mask", expected="what to remove", todo="give --mask, --box or --point")
        if spec.invert:
            raise UsageError(
                "--invert without --mask", expected="a mask to turn round; a box is never inverted", todo="leave it out"
            )
    when = TimeRange.parse(spec.start, spec.end)
    timed = [TimedBox.parse(text) for text in spec.box]
    layer = tracked if tracked is not None else _open_layer(spec, info, _Notes())
    uses_seconds = when.uses_seconds or any(box.when.uses_seconds for box in timed)
    rules = _Rules(
        size=(info.height, info.width),
        boxes=Boxes(timed, info),
        when=when,
        invert=spec.invert,
        first_s=_first_time(info) if uses_seconds else Fraction(0),
        slack_s=1 / (2 * rate) if rate else Fraction(0),
    )
    source = MaskSource(layer, rules, "the alpha channel" if spec.uses_alpha else str(spec.mask))
    if info.is_folder and tracked is None:
        source.check_count(info.n_frames)
    return source


class _Notes:
    """Logs each warning once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            _log.warning(text)


def _open_layer(spec: MaskSettings, info: VideoInfo, note: Callable[[str], None]) -> Layer | None:
    if spec.uses_alpha:
        return AlphaLayer(info)
    path = spec.mask_path
    if path is None:
        return None
    fit = Fit(info, note=note)
    if path.is_dir():
        paths = list_images(path)
        if not paths:
            raise MaskError(f"no images in the mask folder {path}", expected="one for each frame")
        return FolderLayer(_in_order(paths, info, note), fit, note=note)
    if not path.exists():
        raise MaskError(f"no mask at {path}", expected="a folder of images, an image or a video")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return StillLayer(fit.to_coded(read_mask(path, note=note), path))
    return VideoLayer(path, fit, note=note)


def _in_order(masks: list[Path], info: VideoInfo, note: Callable[[str], None]) -> list[Path]:
    """The masks in the order of the source's frames: by name if the source is a folder of the same names."""
    if not info.is_folder:
        return masks
    frames = image_paths(info.path)
    by_stem = {mask.stem: mask for mask in masks}
    if len(by_stem) == len(masks) and by_stem.keys() == {frame.stem for frame in frames}:
        return [by_stem[frame.stem] for frame in frames]
    if len(masks) == len(frames):
        note(
            f"the masks' names are not those of the frames: matched by order ({masks[0].name} to {frames[0].name}, "
            f"{masks[-1].name} to {frames[-1].name})"
        )
    return masks


def _first_time(info: VideoInfo) -> Fraction:
    if info.start_pts is not None:
        return info.start_pts * info.time_base
    with Reader(info.path) as reader:
        return next((frame.time_s for frame in reader.frames()), Fraction(0))
