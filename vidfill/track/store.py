"""Masks of a whole video in a file, a few hundred bytes each: packed bits of the mask's box, compressed."""

from __future__ import annotations

import json
import struct
import zlib
from array import array
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vidfill.errors import InputError, OutputError
from vidfill.video.frame import Bool, Box

_MAGIC = b"vidfill track 1\n"
_RECORD = struct.Struct("<iiiiI")  # box, bytes of the packed bits
_TAIL = struct.Struct("<QI")  # bytes of the table, bytes of the header


class MaskFile:
    """Masks of one size by frame, written in any order; those never written are empty. Memory: 8 bytes a frame.

    Args:
        file: open for reading and writing.
        size: (height, width) of the masks.
        n_frames: maximum number of masks.
        offsets: position of each mask in an existing file, -1 for none.
    """

    def __init__(self, file: BinaryIO, size: tuple[int, int], n_frames: int, offsets: array[int] | None = None) -> None:
        self._file = file
        self.size = size
        self.offsets = array("q", [-1]) * n_frames if offsets is None else offsets

    def put(self, index: int, mask: Bool) -> None:
        """Write the mask of a frame, in place of one that was written before.

        Raises:
            OutputError: the disk is full.
        """
        box = Box.around(mask)
        if box is None:
            self.offsets[index] = -1
            return
        packed = zlib.compress(np.packbits(mask[box.slices]).tobytes(), 1)
        try:
            self.offsets[index] = self._file.seek(0, 2)
            self._file.write(_RECORD.pack(*box, len(packed)) + packed)
        except OSError as error:
            raise OutputError(
                f"a mask cannot be stored ({error.strerror})", todo="free some space on the disk"
            ) from error

    def get(self, index: int) -> Bool:
        """The mask of a frame, (H, W), a new array.

        Raises:
            InputError: the file is damaged.
        """
        mask = np.zeros(self.size, np.bool_)
        if self.offsets[index] < 0:
            return mask
        try:
            self._file.seek(self.offsets[index])
            *edges, n_packed = _RECORD.unpack(self._file.read(_RECORD.size))
            box = Box(*edges)
            bits = np.frombuffer(zlib.decompress(self._file.read(n_packed)), np.uint8)
            mask[box.slices] = np.unpackbits(bits, count=box.height * box.width).reshape(box.height, box.width)
        except (struct.error, zlib.error, ValueError) as error:
            raise InputError(f"the tracked mask of frame #{index} is damaged", todo="track again") from error
        return mask


def finish(masks: MaskFile, file: BinaryIO, header: dict[str, Any]) -> None:
    """Append the table of offsets and a header; the file can then be opened again with `open_stored`."""
    text = json.dumps(header | {"size": masks.size, "n_frames": len(masks.offsets)}).encode()
    table = zlib.compress(masks.offsets.tobytes(), 1)
    file.seek(0, 2)
    file.write(table + text + _TAIL.pack(len(table), len(text)) + _MAGIC)
    file.flush()


def open_stored(path: Path, file: BinaryIO) -> tuple[MaskFile, dict[str, Any]]:
    """Read the masks and the header that `finish` wrote.

    Raises:
        InputError: the file is not complete, or not a file of masks.
    """
    try:
        file.seek(-(len(_MAGIC) + _TAIL.size), 2)
        n_table, n_text = _TAIL.unpack(file.read(_TAIL.size))
        if file.read() != _MAGIC:
            raise ValueError("its end is missing")
        file.seek(-(len(_MAGIC) + _TAIL.size + n_table + n_text), 2)
        offsets = array("q", zlib.decompress(file.read(n_table)))
        header = json.loads(file.read(n_text))
        height, width = header["size"]
        return MaskFile(file, (height, width), len(offsets), offsets), header
    except (OSError, ValueError, KeyError, TypeError, struct.error, zlib.error) as error:
        raise InputError(f"{path} is not a finished track ({error})", todo="track again") from error
