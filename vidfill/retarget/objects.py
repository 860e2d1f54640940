"""Which objects a mask shows, and where each of them is over time.

An object is what hangs together in space and time: parts of one mask that lie close to one another, and parts of
masks that overlap from frame to frame. Two people who meet and part again within one scene are one object: they are
moved together, so neither jumps when they meet. A cut ends all objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.engine.fill import MaskReading, Masks
from vidfill.video.frame import Bool, Box, Frame

Labels = NDArray[np.int32]

JOIN_SHARE = 0.02
"""Parts of a mask nearer than this share of the picture's longer side are one part: a hand beside its sleeve."""
MAX_GAP_FRAMES = 12
"""An object that comes back where it was after at most so many frames is the same."""
_GRID_PX = 480  # longer side at which parts are told apart


class Parts(NamedTuple):
    """The parts of one mask.

    Attributes:
        labels: (H, W), 0 outside the mask, 1 to n inside its parts.
        boxes: the tight box of each, in the order of the labels.
        zones: (h, w) at a coarse scale: the same labels, grown to where parts count as joined.
    """

    labels: Labels
    boxes: tuple[Box, ...]
    zones: Labels


def split_mask(mask: Bool) -> Parts:
    """Tell the parts of a (H, W) mask apart."""
    height, width = mask.shape
    step = max(1, -(-max(height, width) // _GRID_PX))
    rows, columns = -(-height // step), -(-width // step)
    padded = np.zeros((rows * step, columns * step), np.bool_)
    padded[:height, :width] = mask
    coarse = np.asarray(padded.reshape(rows, step, columns, step).any(axis=(1, 3)), np.uint8)
    reach = max(1, round(JOIN_SHARE * max(rows, columns) / 2))
    grown = cv2.dilate(coarse, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    n_labels, found, places, _ = cv2.connectedComponentsWithStats(grown, connectivity=8, ltype=cv2.CV_32S)
    zones = np.asarray(found, np.int32)
    if n_labels == 2:  # one part: no need to look at each pixel
        labels = mask.astype(np.int32)
    else:
        full = zones.repeat(step, axis=0).repeat(step, axis=1)[:height, :width]
        labels = np.where(mask, full, 0).astype(np.int32)
    boxes = tuple(_tight(labels, label, step * places[label]) for label in range(1, n_labels))
    return Parts(labels, boxes, zones)


def _tight(labels: Labels, label: int, place: NDArray[np.integer[Any]]) -> Box:
    """The tight box of a label, all of whose pixels lie within a place (x, y, width, height; it may stick out)."""
    x, y, width, height = (int(value) for value in place[:4])
    box = Box.around(labels[y : y + height, x : x + width] == label)
    if box is None:
        raise ValueError(f"no pixel has label {label}")
    return Box(box.x0 + x, box.y0 + y, box.x1 + x, box.y1 + y)


@dataclass(frozen=True, slots=True)
class Track:
    """One object over time.

    Attributes:
        start: the first frame in which it is seen.
        boxes: (N, 4) x0, y0, x1, y1 of each frame from `start` on; zeros where it is not seen.
        seen: (N,), whether it is.
    """

    start: int
    boxes: NDArray[np.int32]
    seen: Bool


@dataclass(frozen=True, slots=True)
class Tracks:
    """All objects of a video.

    Attributes:
        tracks: one for each object, in the order of their first frames.
        owners: for each frame the object (an index into `tracks`) that each of its parts belongs to.
    """

    tracks: tuple[Track, ...]
    owners: tuple[tuple[int, ...], ...]


class PartsReading:
    """The parts of each frame's mask, in order of time; a mask that stays is split once.

    A held frame repeats the picture before it: its parts are that one's.
    """

    def __init__(self, masks: MaskReading) -> None:
        self._masks = masks
        self._mask: Bool | None = None
        self._parts: Parts | None = None

    def at(self, frame: Frame) -> Parts:
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
) -> Tracks:
    """Follow the objects through a video; of each frame a few boxes are kept.

    Args:
        frames: all of the source.
        masks: of the same source.
        scenes: (start, stop) of each scene.
        progress: called with the number of frames done after each.
    """
    firsts = {start for start, _ in scenes}
    links = _Links()
    with masks.cursor() as cursor:
        reading = PartsReading(cursor)
        for frame in frames:
            links.add(reading.at(frame), is_cut=frame.index in firsts)
            if progress is not None:
                progress(frame.index + 1)
    return links.tracks()


class _Links:
    """Joins parts of one frame to those of the frames before it: union-find over all parts ever seen."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._frames: list[tuple[int, tuple[Box, ...]]] = []  # number of the first part, boxes
        self._canvas: Labels | None = None  # 1 + the part that was last seen at a place, 0 for none
        self._ages: NDArray[np.int32] | None = None

    def add(self, parts: Parts, *, is_cut: bool) -> None:
        """Take the parts of the next frame."""
        first = len(self._parents)
        self._parents += range(first, first + len(parts.boxes))
        self._frames.append((first, parts.boxes))
        if self._canvas is None or self._ages is None or is_cut:
            self._canvas = np.zeros_like(parts.zones)
            self._ages = np.zeros_like(parts.zones)
        nodes = np.where(parts.zones > 0, parts.zones + first, 0)
        self._ages += 1
        self._canvas[self._ages > MAX_GAP_FRAMES + 1] = 0
        both = (nodes > 0) & (self._canvas > 0)
        for pair in np.unique(np.stack([nodes[both], self._canvas[both]], axis=1), axis=0).tolist():
            self._join(pair[0] - 1, pair[1] - 1)
        # What is seen now has left where it was before.
        now = {self._root(node) for node in range(first, len(self._parents))}
        for old in np.unique(self._canvas).tolist():
            if old and self._root(old - 1) in now:
                self._canvas[self._canvas == old] = 0
        self._canvas = np.where(nodes > 0, nodes, self._canvas).astype(np.int32)
        self._ages[nodes > 0] = 0

    def tracks(self) -> Tracks:
        """Put together what was joined."""
        numbers: dict[int, int] = {}
        spans: list[list[int]] = []
        owners: list[tuple[int, ...]] = []
        for index, (first, boxes) in enumerate(self._frames):
            roots = [self._root(first + i) for i in range(len(boxes))]
            for root in roots:
                if numbers.setdefault(root, len(numbers)) == len(spans):
                    spans.append([index, index])
                spans[numbers[root]][1] = index
            owners.append(tuple(numbers[root] for root in roots))
        tracks = tuple(self._track(number, start, stop + 1, owners) for number, (start, stop) in enumerate(spans))
        return Tracks(tracks, tuple(owners))

    def _track(self, number: int, start: int, stop: int, owners: Sequence[tuple[int, ...]]) -> Track:
        boxes = np.zeros((stop - start, 4), np.int32)
        seen = np.zeros(stop - start, np.bool_)
        for index in range(start, stop):
            own = [box for owner, box in zip(owners[index], self._frames[index][1], strict=True) if owner == number]
            if own:
                union = own[0]
                for box in own[1:]:
                    union = union.union(box)
                boxes[index - start], seen[index - start] = union, True
        return Track(start, boxes, seen)

    def _root(self, node: int) -> int:
        while self._parents[node] != node:
            self._parents[node] = self._parents[self._parents[node]]
            node = self._parents[node]
        return node

    def _join(self, a: int, b: int) -> None:
        roots = sorted((self._root(a), self._root(b)))
        self._parents[roots[1]] = roots[0]
