"""The frames that a network is adapted on: a bounded number of them, spread over the whole clip."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidfill.adapter import Clip
from vidfill.engine.fill import pictures
from vidfill.frame import Bool
from vidfill.plan import Plan, Segment

N_EXCERPTS = 6
EXCERPT_FRAMES = 32
LEAST_FRAMES = 6
MOST_BYTES = 512 * 2**20
"""Of all excerpts and of one in work: 6 of 32 frames fit up to a working size of 720x480, one of 10 at 1920x1080."""
_KEPT_BYTES_PER_PIXEL = 4
_WORK_BYTES_PER_PIXEL = 20


class Excerpt(NamedTuple):
    """Consecutive frames of a segment at its working size.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        holes: (T, H, W) bool, true where the user's object is.
    """

    frames: NDArray[np.uint8]
    holes: Bool


class Span(NamedTuple):
    """Which frames of the source an excerpt holds: [start, stop), of one segment."""

    segment: Segment
    start: int
    stop: int


def choose_spans(plan: Plan) -> list[Span]:
    """Spread excerpts evenly over the frames to be filled.

    Args:
        plan: of the source.

    Returns:
        None at all where the segments are too short, or so large that too few of their frames fit into memory.
    """
    lengths = [segment.stop - segment.start for segment in plan.segments]
    pixels = max(math.prod(segment.size) for segment in plan.segments)
    affordable = (MOST_BYTES // (EXCERPT_FRAMES * pixels) - _WORK_BYTES_PER_PIXEL) // _KEPT_BYTES_PER_PIXEL
    n = max(1, min(N_EXCERPTS, sum(lengths) // EXCERPT_FRAMES, affordable))
    most_frames = min(EXCERPT_FRAMES, MOST_BYTES // (pixels * (n * _KEPT_BYTES_PER_PIXEL + _WORK_BYTES_PER_PIXEL)))
    spans = []
    for k in range(n):
        at = (2 * k + 1) * sum(lengths) // (2 * n)
        segment = plan.segments[int(np.searchsorted(np.cumsum(lengths), at, side="right"))]
        middle = segment.start + at - sum(lengths[: segment.index])
        n_frames = min(most_frames, segment.read_stop - segment.read_start)
        start = min(max(middle - n_frames // 2, segment.read_start), segment.read_stop - n_frames)
        if n_frames >= LEAST_FRAMES:
            spans.append(Span(segment, start, start + n_frames))
    return spans


def read_excerpts(clip: Clip, spans: list[Span], on_frame: Callable[[], None]) -> Iterator[Excerpt]:
    """Decode the frames of spans; those that happen to lie in a gap of the hole are left out.

    Args:
        clip: where they are from.
        spans: of its plan.
        on_frame: called for each frame that is decoded.
    """
    for segment, start, stop in spans:
        frames, holes = [], []
        with closing(pictures(segment, clip.plan, clip.reader, clip.masks)) as coming:
            for index, picture in enumerate(coming, segment.read_start):
                on_frame()
                if index >= start:
                    frames.append(_to_bytes(picture.rgb))
                    holes.append(picture.hole)
                if index + 1 == stop:
                    break
        if len(frames) == stop - start and any(hole.any() for hole in holes):
            yield Excerpt(np.stack(frames), np.stack(holes))


def _to_bytes(rgb: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    if rgb.dtype == np.uint8:
        return np.asarray(rgb, np.uint8)
    return np.rint(rgb / np.float32(257)).astype(np.uint8)
