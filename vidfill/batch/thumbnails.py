"""Small pictures of one frame before and after, for the report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.engine.plan import Plan, Segment
from vidfill.errors import VidfillError
from vidfill.video.display import displayed, encode_picture
from vidfill.video.frame import Frame, VideoInfo
from vidfill.video.read import Reader

WIDTH_PX = 320
_FRAMES_IN = 12  # of the longest segment: an object that enters or fades in has come by then


def write_thumbnails(
    source: Path, output: Path, plan: Plan | None, paths: tuple[Path, Path], *, fps: Fraction | None
) -> None:
    """Write a frame from the longest segment, before and after, as two JPEG files.

    A report without pictures is better than a job that fails for them: what goes wrong here is passed over.

    Args:
        source: of the job.
        output: finished.
        plan: of the removal; nothing is written without one.
        paths: of the two files.
        fps: frame rate of a source that is a folder of images.
    """
    if plan is None or not plan.segments:
        return
    segment = max(plan.segments, key=lambda segment: segment.stop - segment.start)
    with contextlib.suppress(VidfillError, OSError, cv2.error):
        start_s = None
        for path, video in zip(paths, (source, output), strict=True):
            with Reader(video, fps=fps if video.is_dir() else None) as reader:
                tick_s = reader.info.time_base
                start_s = segment.read_start_pts * tick_s if start_s is None else start_s
                frame = next(_late_in(segment, reader, round(start_s / tick_s)), None)
                if frame is not None:
                    path.write_bytes(encode_picture(_small(frame, reader.info), ".jpg"))


def _late_in(segment: Segment, reader: Reader, start_pts: int) -> Iterator[Frame]:
    """The frame to show and those after it."""
    index = min((segment.start + segment.stop) // 2, segment.start + _FRAMES_IN)
    return islice(reader.frames(start_pts=start_pts, start_index=segment.read_start), index - segment.read_start, None)


def _small(frame: Frame, info: VideoInfo) -> NDArray[np.uint8]:
    """(h, WIDTH_PX, 3) uint8 RGB, as a player shows it."""
    shown = displayed(frame, info)
    height = max(1, round(shown.shape[0] * WIDTH_PX / shown.shape[1]))
    return np.asarray(cv2.resize(shown, (WIDTH_PX, height), interpolation=cv2.INTER_AREA), np.uint8)
