"""Fill a clip that lies in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.engine.device import is_out_of_memory
from vidfill.engine.fill import SegmentFiller
from vidfill.engine.source import WorkingFrame
from vidfill.errors import DeviceError
from vidfill.models.base import Model
from vidfill.settings import EngineSettings
from vidfill.video.frame import Bool


def fill_clip(
    model: Model, frames: Sequence[NDArray[np.uint8]], holes: Sequence[Bool], *, settings: EngineSettings
) -> Iterator[NDArray[np.uint8]]:
    """Fill a clip that lies in memory, at its own size.

    Args:
        model: any model.
        frames: (H, W, 3) uint8 RGB each; pixels inside the holes are not used.
        holes: (H, W) bool, true = missing; one a frame.
        settings: device, precision, threads.

    Yields:
        (H, W, 3) uint8: the fill inside the hole, the source, unchanged, outside.

    Raises:
        ValueError: the counts differ.
        DeviceError: the device is not there or has not enough memory.
    """
    if len(frames) != len(holes):
        raise ValueError(f"{len(frames)} frames but {len(holes)} holes")
    filler = SegmentFiller(model, settings)
    pictures = (WorkingFrame(frame, hole) for frame, hole in zip(frames, holes, strict=True))
    try:
        for filled in filler.frames(filler.source(pictures, len(frames))):
            values = np.rint(filled.rgb * 255).astype(np.uint8)
            yield np.where(filled.picture.hole[..., None], values, filled.picture.rgb).astype(np.uint8)
    except (RuntimeError, MemoryError, cv2.error) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError("the device ran out of memory", todo="pass smaller frames, or another device") from error
