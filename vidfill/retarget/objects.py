"""Which objects a mask shows, and where each of them is over time.

An object is a set of mask parts that are connected in space and time: parts of one mask that lie close together, and
parts that overlap from frame to frame. Two people who meet and part again within one scene are one object, so that
neither jumps when they meet. A cut ends all objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.engine.crop import MaskReading, Masks
from vidfill.video.frame import Bool, Box, Frame

Labels = NDArray[np.int32]

JOIN_RATIO = 0.02
"""Parts nearer to each other than this ratio of the picture's longer side are one part: a hand beside its sleeve."""
MAX_GAP_FRAMES = 12
"""An object that reappears in its old place after at most this many frames is the same object."""
_GRID_PX = 480  # longer side of the coarse grid on which parts are separated


class MaskParts(NamedTuple):
    """The separate parts of one mask.

    Attributes:
        labels: (H, W), 0 outside the mask, 1 to n inside its parts.
        boxes: the tight box of each part, in the order of the labels.
        zones: (h, w), the same labels on a coarse grid, grown to the distance at which parts are joined.
    """

    labels: Labels
    boxes: tuple[Box, ...]
    zones: Labels


def split_mask(mask: Bool) -> MaskParts:
    """Separate the parts of a (H, W) mask."""
    height, width = mask.shape
    step = max(1, -(-max(height, width) // _GRID_PX))
    rows, columns = -(-height // step), -(-width // step)
    padded = np.zeros((rows * step, columns * step), np.bool_)
    padded[:height, :width] = mask
    coarse = np.asarray(padded.reshape(rows, step, columns, step).any(axis=(1, 3)), np.uint8)
    reach = max(1, round(JOIN_RATIO * max(rows, columns) / 2))
    grown = cv2.dilate(coarse, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    n_labels, found, stats, _ = cv2.connectedComponentsWithStats(grown, connectivity=8, ltype=cv2.CV_32S)
    zones = np.asarray(found, np.int32)
    if n_labels == 2:  # one part: no need to look at each pixel
        labels = mask.astype(np.int32)
    else:
        full = zones.repeat(step, axis=0).repeat(step, axis=1)[:height, :width]
        labels = np.where(mask, full, 0).astype(np.int32)
    boxes = []
    for label in range(1, n_labels):
        x, y, part_width, part_height = (int(value) for value in step * stats[label, :4])
        tight = Box.around(labels[y : y + part_height, x : x + part_width] == label)
        assert tight is not None
        boxes.append(Box(tight.x0 + x, tight.y0 + y, tight.x1 + x, tight.y1 + y))
    return MaskParts(labels, tuple(boxes), zones)


@dataclass(frozen=True, slots=True)
class ObjectTrack:
    """One object over time.

    Attributes:
        start: the first frame in which it is visible.
        boxes: (N, 4) x0, y0, x1, y1 of each frame from `start` on; zeros where it is not visible.
        visible: (N,).
    """

    start: int
    boxes: NDArray[np.int32]
    visible: Bool


@dataclass(frozen=True, slots=True)
class ObjectTracks:
    """All objects of a video.

    Attributes:
        tracks: one per object, ordered by first frame.
        owners: for each frame, the object (an index into `tracks`) that each part of its mask belongs to.
    """

    tracks: tuple[ObjectTrack, ...]
    owners: tuple[tuple[int, ...], ...]


class PartsReader:
    """The parts of each frame's mask, in order of time; a mask that does not change is split once.

    A held frame repeats the picture before it, and so its parts.
    """

    def __init__(self, masks: MaskReading) -> None:
        self._masks = masks
        self._mask: Bool | None = None
        self._parts: MaskParts | None = None

    def at(self, frame: Frame) -> MaskParts:
        """The parts of a frame's mask."""
        mask = self._masks.at(frame)
        if self._parts is None or (mask is not self._mask and not frame.held):
            self._mask, self._parts = mask, split_mask(mask)
        return self._parts


def track_objects(
    frames: Iterator[Frame],
    masks: Masks,
    scenes: Sequence[tuple[int, int]],
    *,
    progress: Callable[[int], None] | None = None,
) -> ObjectTracks:
    """Follow the objects through a video; only a few boxes per frame are kept.

    Args:
        frames: all frames of the source.
        masks: of the same source.
        scenes: (start, stop) of each scene.
        progress: called with the number of frames done after each.
    """
    starts = {start for start, _ in scenes}
    links = _Links()
    with masks.cursor() as cursor:
        reader = PartsReader(cursor)
        for frame in frames:
            links.add(reader.at(frame), is_cut=frame.index in starts)
            if progress is not None:
                progress(frame.index + 1)
    return links.tracks()


class _Links:
    """Joins the parts of one frame to those of the frames before it: union-find over all parts seen so far."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._frames: list[tuple[int, tuple[Box, ...]]] = []  # number of the first part, boxes
        self._canvas: Labels | None = None  # 1 + the part last seen at each place, 0 for none
        self._ages: Labels | None = None

    def add(self, parts: MaskParts, *, is_cut: bool) -> None:
        first = len(self._parents)
        self._parents += range(first, first + len(parts.boxes))
        self._frames.append((first, parts.boxes))
        if self._canvas is None or self._ages is None or is_cut:
            self._canvas, self._ages = np.zeros_like(parts.zones), np.zeros_like(parts.zones)
        nodes = np.where(parts.zones > 0, parts.zones + first, 0)
        self._ages += 1
        self._canvas[self._ages > MAX_GAP_FRAMES + 1] = 0
        both = (nodes > 0) & (self._canvas > 0)
        for new, old in np.unique(np.stack([nodes[both], self._canvas[both]], axis=1), axis=0).tolist():
            roots = sorted((self._root(new - 1), self._root(old - 1)))
            self._parents[roots[1]] = roots[0]
        # An object that is visible now has left its earlier place.
        visible = {self._root(node) for node in range(first, len(self._parents))}
        for old in np.unique(self._canvas).tolist():
            if old and self._root(old - 1) in visible:
                self._canvas[self._canvas == old] = 0
        self._canvas = np.where(nodes > 0, nodes, self._canvas).astype(np.int32)
        self._ages[nodes > 0] = 0

    def tracks(self) -> ObjectTracks:
        numbers: dict[int, int] = {}
        places: list[dict[int, Box]] = []  # of each object: frame -> box
        owners: list[tuple[int, ...]] = []
        for index, (first, boxes) in enumerate(self._frames):
            own = []
            for node, box in enumerate(boxes, first):
                number = numbers.setdefault(self._root(node), len(numbers))
                if number == len(places):
                    places.append({})
                place = places[number]
                place[index] = place[index].union(box) if index in place else box
                own.append(number)
            owners.append(tuple(own))
        return ObjectTracks(tuple(_track(boxes) for boxes in places), tuple(owners))

    def _root(self, node: int) -> int:
        while self._parents[node] != node:
            self._parents[node] = self._parents[self._parents[node]]
            node = self._parents[node]
        return node


def _track(places: dict[int, Box]) -> ObjectTrack:
    start, stop = min(places), max(places) + 1
    boxes = np.zeros((stop - start, 4), np.int32)
    visible = np.zeros(stop - start, np.bool_)
    for index, box in places.items():
        boxes[index - start], visible[index - start] = box, True
    return ObjectTrack(start, boxes, visible)
