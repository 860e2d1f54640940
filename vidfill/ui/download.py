"""Masks as one file, made while it is sent."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from vidfill.masks.files import MaskSource
from vidfill.video.read import Reader


class _Outlet(io.RawIOBase):
    """Collects what is written until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(memoryview(data))  # type: ignore[arg-type]
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def masks_zip(source: Path, masks: MaskSource, *, fps: Fraction | None) -> Iterator[bytes]:
    """A ZIP file with a PNG for each frame, white where something goes, as `--mask FOLDER` takes them.

    Args:
        source: a video, or a folder of images.
        masks: of it.
        fps: frame rate of a folder of images.

    Yields:
        The file, in parts of about one mask.
    """
    outlet = _Outlet()
    with Reader(source, fps=fps) as reader, masks.cursor() as cursor:
        turned = reader.info.orientation.to_display
        with zipfile.ZipFile(outlet, "w") as archive:
            for frame in reader.frames():
                mask = turned(cursor.at(frame)).astype(np.uint8)
                _, data = cv2.imencode(".png", mask * np.uint8(255))
                archive.writestr(f"{frame.index:06d}.png", data.tobytes())
                yield outlet.take()
    yield outlet.take()
