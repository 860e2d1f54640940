"""Gradual transitions between scenes: dissolves, and fades through black or any other plain colour.

In a dissolve every picture is a mixture of one before it and one after it, whose shares go from all to nothing. So each
picture is written as `a * before + b * after` by least squares, for pairs at several distances around it. A transition
is where that leaves little over, where the shares run from one end to the other and stay there on both sides, and
where before and after show different scenes. A camera that moves fails this: the picture on the way is no mixture of
its ends, and the shares never rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np

from vidfill.video.cuts import THUMB_SIZE
from vidfill.video.frame import Float

_HALF_SPANS = (4, 6, 9, 13, 19, 28, 40)  # frames from the middle to either end; transitions last up to 60
_PLATEAU = 2  # frames on either side in which the shares rest,
_PLATEAU_SHARE = 8  # and one more for so many of the transition: a slow ramp seems to rest for longer
_SIZE = (THUMB_SIZE[1] // 4, THUMB_SIZE[0] // 4)  # coarse, so that motion matters less
_LEAST_CONTRAST = 6.0  # grey levels: less is no picture that could dissolve into another
_LIKE = 0.5  # correlation of before and after; more is one scene
_LIKE_MOVED = (
    0.52  # the same with the middle of one laid over the other wherever it fits best; dissolves mostly 0.1 to 0.5
)
_NEGATIVE = -0.95  # the same for a picture and its negative, whose shares cannot be told apart
_MARGIN = 0.2  # of a thumbnail's sides, by which that middle may move
_LEFT_OVER = 0.3  # of the energy of before and after, which is no mixture, in the middle
_LEFT_OVER_BESIDE = 0.7  # elsewhere: pictures move
_RESTS = 0.06  # a share that is 0 or 1 within this
_PLAIN = 0.35  # shares that add up to less in the middle are a fade
_FADED = 0.93  # of the contrast of before or after: less has begun to fade
_BACKWARDS = 0.15  # by which shares may go back once, by motion


class DissolveDetector:
    """Finds gradual transitions in a stream of thumbnails; holds 81 of them.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> one, other = rng.uniform(0, 255, (2, 36, 64, 3)).astype(np.float32)
        >>> detector = DissolveDetector()
        >>> for share in [0] * 10 + [0.2, 0.4, 0.6, 0.8] + [1] * 10:
        ...     detector.push((1 - share) * one + share * other)
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
        """Take the next frame's thumbnail, (36, 64, 3) as `vidfill.video.cuts.thumbnail` makes it."""
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
        """(start, stop) of the transitions, half-open: their frames show two scenes; no more frames may follow."""
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
                # Farther ends, which are pure, tell more exactly where a transition stops than ends within it.
                found = middle - half + span[0], middle - half + span[1]
        if found is not None and not (self._spans and found[0] < self._spans[-1][1]):
            self._spans.append(found)


def _may_differ(before: Float, middle: Float, after: Float) -> bool:
    """The quick part of the test: before and after are two scenes, and the middle is half of each, or plain."""
    energies = float(before @ before), float(after @ after)
    if min(energies) < before.size * _LEAST_CONTRAST**2:
        return False
    correlation = float(before @ after) / (energies[0] * energies[1]) ** 0.5
    if not _NEGATIVE < correlation <= _LIKE:
        return False
    (a, b), left = _shares(middle[None], before, after)
    total = float(a[0] + b[0])
    is_half = total < _PLAIN or abs(float(b[0]) / total - 0.5) < 0.15
    return is_half and float(left[0]) < _LEFT_OVER


def _show_two_scenes(before: Float, after: Float) -> bool:
    """Whether the middle of neither thumbnail is found in the other: a pan keeps its scene."""
    height, width = (round(_MARGIN * side) for side in THUMB_SIZE)
    return all(
        float(cv2.matchTemplate(whole, part[height:-height, width:-width], cv2.TM_CCOEFF_NORMED).max()) < _LIKE_MOVED
        for whole, part in ((before, after), (after, before))
    )


def _shares(pictures: Float, before: Float, after: Float) -> tuple[tuple[Float, Float], Float]:
    """For (N, P) pictures: (N,) shares of before and of after, and (N,) how much is neither."""
    ends = np.stack([before, after])
    shares = np.linalg.solve(ends @ ends.T, ends @ pictures.T)
    left = np.square(pictures - shares.T @ ends).sum(axis=1)
    energy = (float(before @ before) + float(after @ after)) / 4
    return (shares[0], shares[1]), np.asarray(left / energy, np.float32)


def _span(pictures: Float) -> tuple[int, int] | None:
    """(start, stop) of the transition from the first of (N, P) pictures to the last; None if there is none."""
    (a, b), left = _shares(pictures, pictures[0], pictures[-1])
    n, middle = len(pictures), len(pictures) // 2
    is_fade = float(a[middle] + b[middle]) < _PLAIN
    if float(left.max()) > _LEFT_OVER_BESIDE * (4 if is_fade else 1):
        return None
    progress = np.where(a + b > _PLAIN, b / np.maximum(a + b, _PLAIN), 0.5)
    if float(np.diff(progress).min()) < -_BACKWARDS:
        return None
    if is_fade:
        contrast = np.sqrt(np.square(pictures).sum(axis=1))
        begins = (contrast >= _FADED * contrast[0]) & (np.arange(n) < middle)
        ends = (contrast >= _FADED * contrast[-1]) & (np.arange(n) > middle)
    else:
        begins, ends = progress < _RESTS, progress > 1 - _RESTS
    start, stop = int(np.flatnonzero(begins)[-1]) + 1, int(np.flatnonzero(ends)[0])
    plateau = _PLATEAU + (stop - start) // _PLATEAU_SHARE
    if min(start, n - stop) < plateau or stop - start < 2:
        return None
    return start, stop


def without_cuts(spans: list[tuple[int, int]], cuts: list[int]) -> list[tuple[int, int]]:
    """Those of the transitions that have no hard cut (its position) in them or beside them."""
    return [
        (start, stop) for start, stop in spans if not any(start - _PLATEAU <= cut <= stop + _PLATEAU for cut in cuts)
    ]


def parted(spans: Sequence[tuple[int, int]], cuts: Sequence[int], *, longest: int) -> list[int]:
    """Where scenes begin if transitions are cut into pieces of their own, so that nothing is carried over.

    Args:
        spans: of transitions.
        cuts: positions of hard cuts.
        longest: frames in a piece: within one, the mixture is nearly the same.

    Returns:
        All positions, ascending.
    """
    found = set(cuts)
    for start, stop in spans:
        n = -(-(stop - start) // longest)
        found |= {start + (stop - start) * i // n for i in range(n + 1)}
    return sorted(found)
