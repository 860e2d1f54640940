"""Small pictures of one frame before and after, for the report."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from vidfill.engine.plan import Plan
from vidfill.errors import VidfillError
from vidfill.video.display import displayed, encode_picture
from vidfill.video.read import Reader

WIDTH_PX = 320
_FRAMES_IN = 12  # of the longest segment: by then an object that enters or fades in is visible


def write_thumbnails(
    source: Path, output: Path, plan: Plan | None, paths: tuple[Path, Path], *, fps: Fraction | None
) -> None:
    """Write a frame from the longest segment, before and after, as two JPEG files.

    Errors are ignored: a report without pictures is better than a failed job.

    Args:
        source: of the job.
        output: of the job.
        plan: of the removal; nothing is written without one.
        paths: of the two files.
        fps: frame rate of a source that is a folder of images.
    """
    if plan is None or not plan.segments:
        return
    segment = max(plan.segments, key=lambda segment: segment.stop - segment.start)
    index = min((segment.start + segment.stop) // 2, segment.start + _FRAMES_IN)
    with contextlib.suppress(VidfillError, OSError, cv2.error):
        start_s = None
        for path, video in zip(paths, (source, output), strict=True):
            with Reader(video, fps=fps if video.is_dir() else None) as reader:
                tick_s = reader.info.time_base
                start_s = segment.read_start_pts * tick_s if start_s is None else start_s
                frames = reader.frames(start_pts=round(start_s / tick_s), start_index=segment.read_start)
                frame = next(islice(frames, index - segment.read_start, None), None)
                if frame is not None:
                    shown = displayed(frame, reader.info)
                    height = max(1, round(shown.shape[0] * WIDTH_PX / shown.shape[1]))
                    small = cv2.resize(shown, (WIDTH_PX, height), interpolation=cv2.INTER_AREA)
                    path.write_bytes(encode_picture(np.asarray(small, np.uint8), ".jpg"))
