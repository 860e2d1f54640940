"""Straight still borders: letterbox bars, split screens, picture in picture.

The two sides of such a border are independent pictures. Borders run along rows and columns and stay in place for a
whole segment.

A border is accepted where the picture beside it changes while the step across it stays in place, or where it ends a bar
of one colour at the picture's edge. Edges in the scene move with the camera; under a still camera hardly anything
changes beside them, and moving objects hide them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.video.frame import Bool, Float, Rgb

Labels = NDArray[np.int32]

BAR_TOLERANCE = 10  # grey levels: compressed black is not quite black
MIN_BAR_PX = 2
MAX_SOFT_PX = 3  # of a blurred border
BAR_MAX_OUTLIERS = 0.05  # of a row of a bar
PICTURE_MIN_RATIO = 0.6  # of the row behind a bar that differs from it in some frame
MIN_COLUMNS = 24  # known pixels along a border
MIN_LENGTH_PX, MIN_LENGTH_RATIO = 32, 0.2  # of a border inside the picture
MIN_STEP = 5.0  # mean over time
MIN_STEP_RATIO = 2.0  # to the steps on both sides of it
MIN_CHANGE = 8  # grey levels between a smoothed frame and the median over time: the picture has changed
MIN_CHANGED = 0.2  # ratio of such frames
MAX_DRIFT_PX = 0.5
NEAR_PX, FAR_PX = 3, 6  # distances at which a border is compared with the picture beside it, outside its blur
WINDOW_PX = 15
MIN_SIDE_PX = 16
MIN_PICTURE_PX = 48
MIN_DENSITY = 0.6
SOFT_RATIO = 0.3  # of the largest step: belongs to the border's blur


class Sides(NamedTuple):
    """A picture divided along its borders."""

    labels: Labels  # (H, W): sides from 1 on, each with at least one pixel; 0 on the blur between two of them
    flat: frozenset[int]  # the sides of a single colour


class _Line(NamedTuple):
    """A border along rows."""

    first: int  # row of its blur; the sides end before `first` and after `last`
    last: int  # row of its blur; `first - 1` where it has none
    along: Bool  # (W,), the columns where it is seen or nothing is known


def find_sides(frames: Sequence[Rgb], known: Sequence[Bool]) -> Sides | None:
    """Divide a picture along its straight still borders; None if undivided, or too small to tell.

    Frames, (H, W, 3), are of one segment in order of time; a dozen, spread out, are enough. `known` excludes the hole.
    """
    if min(frames[0].shape[:2]) < MIN_PICTURE_PX:
        return None
    along_rows = _Evidence.of(np.stack(frames), np.stack(known))
    along_columns = _Evidence.of(np.stack(frames).swapaxes(1, 2), np.stack(known).swapaxes(1, 2))
    bars = along_rows.bars(), along_columns.bars()
    labels = _cells(along_rows.borders(bars[0]), along_columns.borders(bars[1]), along_rows.seen)
    if _has_small_part(labels):
        labels = _cells(bars[0], bars[1], along_rows.seen)
    if labels.max() < 2:
        return None
    flat = (label for label in range(1, int(labels.max()) + 1) if along_rows.is_flat(labels == label))
    return Sides(labels, frozenset(flat))


class _Evidence(NamedTuple):
    """Statistics of T frames."""

    lowest: Rgb  # (H, W, 3), over time
    highest: Rgb  # (H, W, 3), over time
    steps: Rgb  # (T, H, W), absolute step from each row to the next, 0 where unknown and in the last row
    step: Float  # (H, W), its mean over the frames in which the picture beside it has changed
    changed: Float  # (H, W), the ratio of these frames
    seen: Bool  # (H, W), whether the pixel is known in some frame

    @classmethod
    def of(cls, frames: Rgb, known: Bool) -> _Evidence:
        lowest = np.where(known[..., None], frames, np.uint8(255)).min(axis=0)
        highest = np.where(known[..., None], frames, np.uint8(0)).max(axis=0)
        pictures = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames]
        grey = np.stack(pictures).astype(np.uint8)
        steps = np.zeros_like(grey)
        total, n_changed, n_known = np.zeros((3, *known.shape[1:]), np.float32)
        smooth = np.stack([cv2.blur(picture, (5, 5)) for picture in grey])
        usual = np.partition(smooth, len(smooth) // 2, axis=0)[len(smooth) // 2]
        beside = np.ones((2 * FAR_PX + 1, 1), np.uint8)
        for i, picture in enumerate(grey):
            both = known[i, 1:] & known[i, :-1]
            steps[i, :-1] = cv2.absdiff(picture[1:], picture[:-1]) * both
            other = (cv2.absdiff(smooth[i], usual) >= MIN_CHANGE).astype(np.uint8) * known[i]
            counts = cv2.dilate(other, beside)[:-1] * both
            total[:-1] += steps[i, :-1] * counts
            n_changed[:-1] += counts
            n_known[:-1] += both
        step, changed = total / np.maximum(n_changed, 1), n_changed / np.maximum(n_known, 1)
        return cls(lowest, highest, steps, step, changed, np.any(known, axis=0))

    def is_flat(self, where: Bool) -> bool:
        """Whether a part has one colour; False where nothing of it is seen."""
        inside = where & self.seen
        if not inside.any():
            return False
        return bool(self._differs(inside)[inside].mean() <= BAR_MAX_OUTLIERS)

    def _differs(self, where: Bool) -> Bool:
        """(H, W), whether a pixel ever differs from the median colour of a part."""
        colour = np.median(np.concatenate((self.lowest[where], self.highest[where])).astype(np.float32), axis=0)
        off = np.maximum(self.highest - colour, colour - self.lowest).max(axis=2)
        return np.asarray(off > BAR_TOLERANCE)

    def bars(self) -> list[_Line]:
        return [line for line in (self._bar(1), self._bar(-1)) if line is not None]

    def _bar(self, direction: int) -> _Line | None:
        """The end of a bar of one colour at the top (1) or the bottom (-1)."""
        seen = self.seen[::direction]
        outermost = np.zeros_like(self.seen)
        outermost[::direction][:MIN_BAR_PX] = seen[:MIN_BAR_PX]
        if outermost.sum() < MIN_COLUMNS:
            return None
        differs = self._differs(outermost)[::direction] & seen
        n_seen = seen.sum(axis=1)
        ratio = np.where(n_seen >= MIN_COLUMNS, differs.sum(axis=1) / np.maximum(n_seen, 1), 0)
        height = int(np.argmax(ratio > BAR_MAX_OUTLIERS))
        behind = ratio[height : height + MAX_SOFT_PX + 1] >= PICTURE_MIN_RATIO
        if not MIN_BAR_PX <= height < len(seen) - 1 or not behind.any():
            return None
        # The blur ends where the contrast to the bar reaches that of the picture behind it.
        middle = self.lowest[::direction] / np.float32(2) + self.highest[::direction] / np.float32(2)
        off = np.abs(middle - np.median(middle[:MIN_BAR_PX][seen[:MIN_BAR_PX]], axis=0)).mean(axis=2)
        contrast = np.where(seen, off, 0).sum(axis=1) / np.maximum(n_seen, 1)
        full = 0.8 * contrast[height + 1 : height + 1 + FAR_PX].mean()
        soft = int(np.argmax(contrast[height : height + MAX_SOFT_PX + 1] >= full))
        first, last = height, height + soft - 1
        if direction < 0:
            first, last = len(seen) - 1 - last, len(seen) - 1 - first
        return _Line(first, last, np.ones(seen.shape[1], np.bool_))

    def borders(self, bars: list[_Line]) -> list[_Line]:
        """The ends of bars and the other borders, from the top."""
        height = len(self.seen)
        step, changed = self._along(self.step), self._along(self.changed)
        beside = np.zeros_like(step)
        for away in range(NEAR_PX, FAR_PX + 1):
            beside = np.maximum(beside, np.maximum(_shifted(step, away), _shifted(step, -away)))
        is_line = (step >= MIN_STEP) & (step >= MIN_STEP_RATIO * beside) & (changed >= MIN_CHANGED)
        strength = np.where(is_line, step, 0).sum(axis=1)
        lines = list(bars)
        # The strongest first: the rows beside it are its blur.
        for row in np.argsort(-strength, kind="stable")[: np.count_nonzero(is_line.sum(axis=1) >= MIN_COLUMNS)]:
            if not FAR_PX <= row < height - FAR_PX or any(abs(row + 1 - line.first) <= FAR_PX for line in lines):
                continue
            along = _runs(is_line[row], self.seen[row] & self.seen[min(row + 1, height - 1)])
            if along is None:
                continue
            start = row - 2
            if not self._stays(start, along):
                continue
            profile = step[start : row + 3, along].mean(axis=1)
            strong = np.flatnonzero(profile >= SOFT_RATIO * profile.max()) + start
            # A step lies between its row and the next: a border with one step has no blur.
            lines.append(_Line(int(strong[0]) + 1, int(strong[-1]), along | ~self.seen[row]))
        return sorted(lines, key=lambda line: line.first)

    def _stays(self, start: int, along: Bool) -> bool:
        """Whether the step is in the same place in every frame."""
        rows = np.arange(start, start + 5)
        profiles = self.steps[:, rows][:, :, along].mean(axis=2)
        profiles -= profiles.min(axis=1, keepdims=True)
        visible = profiles.sum(axis=1) > MIN_STEP
        places = (profiles @ rows)[visible] / profiles[visible].sum(axis=1)
        return bool(visible.any() and np.quantile(places, 0.9) - np.quantile(places, 0.1) <= MAX_DRIFT_PX)

    def _along(self, values: Float) -> Float:
        """Means over a few known pixels along each row, to bridge places where a border has no contrast."""
        window = (WINDOW_PX, 1)
        weight = self.seen.astype(np.float32)
        sums, weights = (cv2.blur(v, window, borderType=cv2.BORDER_CONSTANT) for v in (values * weight, weight))
        return np.asarray(sums / np.maximum(weights, 1e-3), np.float32)


def _shifted(values: Float, rows: int) -> Float:
    """`values[y + rows]` at y, 0 outside."""
    shifted = np.zeros_like(values)
    if rows >= 0:
        shifted[: len(values) - rows] = values[rows:]
    else:
        shifted[-rows:] = values[:rows]
    return shifted


def _runs(is_line: Bool, seen: Bool) -> Bool | None:
    """(W,): the runs of a row that are a border in most known columns; None where they are too short."""
    hits, total = (
        cv2.blur((values & seen).astype(np.float32)[None], (WINDOW_PX, 1), borderType=cv2.BORDER_CONSTANT)[0]
        for values in (is_line, np.ones_like(seen))
    )
    along = np.asarray((hits >= MIN_DENSITY * total) & (total > 0))
    # Runs continue through the hole.
    _, _, stats, _ = cv2.connectedComponentsWithStats((along | ~seen).astype(np.uint8)[None])
    pieces = [along[x : x + w] & seen[x : x + w] for x, _, w, _, _ in stats[1:]]
    longest = max((int(piece.sum()) for piece in pieces), default=0)
    return along & seen if longest >= max(MIN_LENGTH_PX, MIN_LENGTH_RATIO * len(seen)) else None


def _cells(rows: list[_Line], columns: list[_Line], seen: Bool) -> Labels:
    """Label the cells between the extended borders, joining those without a border between them."""
    height, width = seen.shape
    tops, lefts = [0, *(line.last + 1 for line in rows)], [0, *(line.last + 1 for line in columns)]
    bottoms, rights = [*(line.first for line in rows), height], [*(line.first for line in columns), width]
    group = np.arange(len(tops) * len(lefts)).reshape(len(tops), len(lefts))

    def join(one: int, other: int) -> None:
        group[group == one] = other

    for i in range(len(tops)):
        for j in range(len(lefts)):
            if i + 1 < len(tops) and not _parts(rows[i], seen[rows[i].first - 1], lefts[j], rights[j]):
                join(group[i, j], group[i + 1, j])
            if j + 1 < len(lefts) and not _parts(columns[j], seen[:, columns[j].first - 1], tops[i], bottoms[i]):
                join(group[i, j], group[i, j + 1])
    names = {name: number for number, name in enumerate(dict.fromkeys(group.ravel().tolist()), start=1)}
    labels = np.zeros((height, width), np.int32)
    # Joined cells have no blur between them.
    upto_row, upto_column = [*tops[1:], height], [*lefts[1:], width]
    for i in range(len(tops)):
        for j in range(len(lefts)):
            own = group[i, j]
            below = upto_row[i] if i + 1 < len(tops) and group[i + 1, j] == own else bottoms[i]
            right = upto_column[j] if j + 1 < len(lefts) and group[i, j + 1] == own else rights[j]
            labels[tops[i] : below, lefts[j] : right] = names[own]
    # A cell where two bars meet may have no pixels: it gets no label.
    return np.searchsorted(np.unique(labels[labels > 0]), labels, side="right").astype(np.int32)


def _has_small_part(labels: Labels) -> bool:
    """Whether a part inside the picture is so small that it must be an object in the scene, such as a tile."""
    height, width = labels.shape
    for label in range(1, int(labels.max()) + 1):
        x, y, w, h = cv2.boundingRect((labels == label).astype(np.uint8))
        if min(w, h) < MIN_SIDE_PX and x > 0 and y > 0 and x + w < width and y + h < height:
            return True
    return False


def _parts(line: _Line, seen: Bool, start: int, stop: int) -> bool:
    """Whether a border is seen between two positions along it."""
    inner = np.s_[start + MAX_SOFT_PX : max(stop - MAX_SOFT_PX, start + MAX_SOFT_PX + 1)]
    visible = seen[inner]
    if not visible.any():
        return bool(line.along.all())
    return bool(line.along[inner][visible].mean() >= MIN_DENSITY)
