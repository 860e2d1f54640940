"""Gradual transitions between scenes: dissolves, and fades through black or any other plain colour.

In a dissolve every picture is a mixture of one before and one after it, with weights that go from 1 to 0. So each
picture is fitted as `a * before + b * after` by least squares, for pairs at several distances. There is a transition
where the residual is small, the weights go from one end to the other and stay there on both sides, and before and after
show different scenes. A camera move fails: its pictures are no mixtures of the ends, and the weights never rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np

from vidfill.video.cuts import THUMB_SIZE
from vidfill.video.frame import Float

_HALF_SPANS = (4, 6, 9, 13, 19, 28, 40)  # frames from the middle to either end; transitions last up to 60
_PLATEAU = 2  # min frames on either side with resting weights,
_PLATEAU_EVERY = 8  # and one more for so many frames of the transition: a slow ramp seems to rest for longer
_SIZE = (THUMB_SIZE[1] // 4, THUMB_SIZE[0] // 4)  # coarse, so that motion matters less
_MIN_CONTRAST = 6.0  # grey levels, of before and of after
_MAX_CORRELATION = 0.5  # of before and after; more is one scene
_MAX_MATCH = 0.52  # correlation with the middle of one shifted over the other; dissolves mostly have 0.1 to 0.5
_MIN_CORRELATION = -0.95  # weights of a picture and its negative cannot be told apart
_MARGIN = 0.2  # ratio of a thumbnail's sides by which that middle may shift
_MAX_RESIDUAL = 0.3  # relative to the energy of before and after, in the middle of the transition
_MAX_RESIDUAL_BESIDE = 0.7  # elsewhere: pictures move
_RESTS = 0.06  # a weight is at 0 or 1 within this
_PLAIN = 0.35  # weights with a smaller sum in the middle are a fade
_FADED = 0.93  # a smaller ratio of the contrast of before or after has begun to fade
_MAX_BACKWARDS = 0.15  # by which motion may move the weights back from frame to frame


class DissolveDetector:
    """Finds gradual transitions in a stream of thumbnails; holds 81 of them.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> one, other = rng.uniform(0, 255, (2, 36, 64, 3)).astype(np.float32)
        >>> detector = DissolveDetector()
        >>> for weight in [0] * 10 + [0.2, 0.4, 0.6, 0.8] + [1] * 10:
        ...     detector.push((1 - weight) * one + weight * other)
        >>> detector.finish()
        [(10, 14)]
    """

    def __init__(self) -> None:
        self._thumbs: deque[Float] = deque()
        self._vectors: deque[Float] = deque()
        self._first = 0  # position of the oldest of them
        self._middle = 0  # the next position to be judged
        self._spans: list[tuple[int, int]] = []

    def push(self, thumb: Float) -> None:
        """Take the next frame's thumbnail, see `vidfill.video.cuts.thumbnail`."""
        small = cv2.resize(thumb, _SIZE, interpolation=cv2.INTER_AREA)
        self._vectors.append(np.asarray(small - small.mean(axis=(0, 1)), np.float32).ravel())
        self._thumbs.append(thumb)
        while self._first + len(self._vectors) > self._middle + _HALF_SPANS[-1]:
            self._judge()
        while len(self._vectors) > 2 * _HALF_SPANS[-1] + 1:
            self._vectors.popleft()
            self._thumbs.popleft()
            self._first += 1

    def finish(self) -> list[tuple[int, int]]:
        """(start, stop) of the frames that show two scenes at once, half-open; no more frames may follow."""
        while self._middle < self._first + len(self._vectors):
            self._judge()
        return self._spans

    def _judge(self) -> None:
        middle = self._middle
        self._middle += 1
        if self._spans and middle <= self._spans[-1][1]:
            return
        found: tuple[int, int] | None = None
        for half in _HALF_SPANS:
            begin, end = middle - half - self._first, middle + half - self._first
            if begin < 0 or end >= len(self._vectors):
                break
            if not _may_differ(self._vectors[begin], self._vectors[middle - self._first], self._vectors[end]):
                continue
            span = _span(np.stack([self._vectors[i] for i in range(begin, end + 1)]))
            if span is not None and _show_two_scenes(self._thumbs[begin], self._thumbs[end]):
                # Pure ends, farther away, locate a transition better than ends within it: the last one found counts.
                found = middle - half + span[0], middle - half + span[1]
        if found is not None and not (self._spans and found[0] < self._spans[-1][1]):
            self._spans.append(found)


def _may_differ(before: Float, middle: Float, after: Float) -> bool:
    """The fast part of the test: before and after are two scenes, and the middle is half of each, or plain."""
    energies = float(before @ before), float(after @ after)
    if min(energies) < before.size * _MIN_CONTRAST**2:
        return False
    correlation = float(before @ after) / (energies[0] * energies[1]) ** 0.5
    if not _MIN_CORRELATION < correlation <= _MAX_CORRELATION:
        return False
    (a, b), residual = _weights(middle[None], before, after)
    total = float(a[0] + b[0])
    is_half = total < _PLAIN or abs(float(b[0]) / total - 0.5) < 0.15
    return is_half and float(residual[0]) < _MAX_RESIDUAL


def _show_two_scenes(before: Float, after: Float) -> bool:
    """Whether the middle of neither thumbnail is found in the other: a pan keeps its scene."""
    height, width = (round(_MARGIN * side) for side in THUMB_SIZE)
    return all(
        float(cv2.matchTemplate(whole, part[height:-height, width:-width], cv2.TM_CCOEFF_NORMED).max()) < _MAX_MATCH
        for whole, part in ((before, after), (after, before))
    )


def _weights(pictures: Float, before: Float, after: Float) -> tuple[tuple[Float, Float], Float]:
    """For (N, P) pictures: (N,) weights of before and of after, and (N,) relative energy of the residual."""
    ends = np.stack([before, after])
    weights = np.linalg.solve(ends @ ends.T, ends @ pictures.T)
    residual = np.square(pictures - weights.T @ ends).sum(axis=1)
    energy = (float(before @ before) + float(after @ after)) / 4
    return (weights[0], weights[1]), np.asarray(residual / energy, np.float32)


def _span(pictures: Float) -> tuple[int, int] | None:
    """(start, stop) of the transition from the first of (N, P) pictures to the last; None if there is none."""
    (a, b), residual = _weights(pictures, pictures[0], pictures[-1])
    n, middle = len(pictures), len(pictures) // 2
    is_fade = float(a[middle] + b[middle]) < _PLAIN
    if float(residual.max()) > _MAX_RESIDUAL_BESIDE * (4 if is_fade else 1):
        return None
    progress = np.where(a + b > _PLAIN, b / np.maximum(a + b, _PLAIN), 0.5)
    if float(np.diff(progress).min()) < -_MAX_BACKWARDS:
        return None
    if is_fade:
        contrast = np.sqrt(np.square(pictures).sum(axis=1))
        begins = (contrast >= _FADED * contrast[0]) & (np.arange(n) < middle)
        ends = (contrast >= _FADED * contrast[-1]) & (np.arange(n) > middle)
    else:
        begins, ends = progress < _RESTS, progress > 1 - _RESTS
    start, stop = int(np.flatnonzero(begins)[-1]) + 1, int(np.flatnonzero(ends)[0])
    plateau = _PLATEAU + (stop - start) // _PLATEAU_EVERY
    if min(start, n - stop) < plateau or stop - start < 2:
        return None
    return start, stop


def without_cuts(spans: list[tuple[int, int]], cuts: list[int]) -> list[tuple[int, int]]:
    """The transitions without a hard cut in or beside them."""
    return [
        (start, stop) for start, stop in spans if not any(start - _PLATEAU <= cut <= stop + _PLATEAU for cut in cuts)
    ]


def parted(spans: Sequence[tuple[int, int]], cuts: Sequence[int], *, longest: int) -> list[int]:
    """First frames of scenes if transitions are split into pieces of at most `longest` frames, each its own scene."""
    found = set(cuts)
    for start, stop in spans:
        n = -(-(stop - start) // longest)
        found |= {start + (stop - start) * i // n for i in range(n + 1)}
    return sorted(found)
