"""The masks as a ZIP file that is made while it is sent."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from vidfill.masks.files import MaskSource
from vidfill.video.read import Reader


class _Outlet:
    """Holds what has been written since it was last taken; without `tell`, so that `zipfile` does not seek."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def take(self) -> bytes:
        data = bytes(self._written)
        self._written.clear()
        return data


def masks_zip(source: Path, masks: MaskSource, *, fps: Fraction | None) -> Iterator[bytes]:
    """A ZIP file with a PNG for each frame, white where something is removed, as `--mask FOLDER` takes them.

    Args:
        source: a video, or a folder of images.
        masks: of it.
        fps: frame rate of a folder of images.

    Yields:
        The file, in parts of about one mask each.
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
