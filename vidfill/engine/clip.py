"""Run a model over pictures that arrive one by one, and over a clip that lies in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.engine.device import EngineSettings, Runtime, choose_runtime, is_out_of_memory, limited_threads
from vidfill.engine.source import LazySource, Picture
from vidfill.errors import DeviceError
from vidfill.models.base import Detail, Model, WindowSpec, recur
from vidfill.models.sides import SideBySide
from vidfill.video.frame import Bool, Float


class Filled(NamedTuple):
    """One filled frame of a segment.

    Attributes:
        position: in the segment.
        rgb: (h, w, 3) float32 in [0, 1]: the fill in the hole, the source outside, without padding.
        invented: (h, w) float32 in [0, 1], 1 where the fill shows what no frame shows; None if the model does not say.
        detail: a part of the fill at the source's own size, None where there is none.
        state: the model's, after this frame.
    """

    position: int
    rgb: Float
    invented: Float | None
    detail: Detail | None
    state: Any


def fill_clip(
    model: Model, frames: Sequence[NDArray[np.uint8]], holes: Sequence[Bool], *, settings: EngineSettings
) -> Iterator[NDArray[np.uint8]]:
    """Fill a clip that lies in memory, at its own size.

    Args:
        model: any model of the contract.
        frames: (H, W, 3) uint8 RGB each; what lies inside the holes is not looked at.
        holes: (H, W) bool, true = missing; one a frame.
        settings: device, precision, threads.

    Yields:
        (H, W, 3) uint8: the fill inside the hole, the source, untouched, outside.

    Raises:
        ValueError: the counts differ.
        DeviceError: the device is not there or has not enough memory.
    """
    if len(frames) != len(holes):
        raise ValueError(f"{len(frames)} frames but {len(holes)} holes")
    runtime = choose_runtime(model, settings)
    model = SideBySide(runtime.place(model))
    pictures = (Picture(frame, hole) for frame, hole in zip(frames, holes, strict=True))
    source = LazySource(model, pictures, len(frames), runtime)
    steps = composited(model, source, runtime, settings.threads)
    while (filled := _next_or_device_error(steps)) is not None:
        values = np.rint(filled.rgb * 255).astype(np.uint8)
        yield np.where(holes[filled.position][..., None], values, frames[filled.position])


def composited(
    model: Model,
    source: LazySource,
    runtime: Runtime,
    threads: int,
    *,
    targets: range | None = None,
    spec: WindowSpec | None = None,
    start: Any = None,
) -> Iterator[Filled]:
    """Fill the frames of a segment.

    Args:
        model: on the runtime's device.
        source: the segment's frames.
        runtime: how to compute.
        threads: CPU threads, 0 to leave them.
        targets: positions to fill, None for all.
        spec: the window in the place of the model's own, None for that.
        start: the state in which the last pass begins, from `Model.recall`.

    Yields:
        The frames in order.
    """
    steps = recur(model, source, targets=targets, spec=spec, start=start)
    while True:
        # Neither the modes of torch nor the threads may leak out through the yield below.
        with limited_threads(threads), runtime.computing():
            step = next(steps, None)
            if step is None:
                return
            position, result = step
            picture = source.picture(position)
            height, width = picture.hole.shape
            fill = result.fill[0, :, :height, :width].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
            invented = None
            if result.invented is not None:
                invented = result.invented[0, 0, :height, :width].float().cpu().numpy()
        full = 255 if picture.rgb.dtype == np.uint8 else 65535
        rgb = np.where(picture.hole[..., None], fill, picture.rgb / np.float32(full))
        yield Filled(position, rgb, invented, result.detail[0] if result.detail else None, result.state)


def _next_or_device_error(steps: Iterator[Filled]) -> Filled | None:
    try:
        return next(steps, None)
    except (RuntimeError, MemoryError, cv2.error) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError("the device ran out of memory", todo="pass smaller frames, or another device") from error
