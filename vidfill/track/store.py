"""Masks of a whole video on disk, a few hundred bytes each: packed bits of the mask's box, compressed."""

from __future__ import annotations

import json
import struct
import zlib
from array import array
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from vidfill.errors import InputError, OutputError
from vidfill.video.frame import Bool, Box

_MAGIC = b"vidfill track 1\n"
_RECORD = struct.Struct("<iiiiI")  # box, bytes of the packed bits
_TAIL = struct.Struct("<QI")  # bytes of the table, bytes of the header


class MaskFile:
    """Masks of one size by frame, written in any order; those never written are empty.

    In memory there are eight bytes a frame.

    Args:
        file: open for reading and writing.
        size: (height, width) of the masks.
        n_frames: how many there may be.
        offsets: where each mask lies in the file, -1 for none; all of them for a new file.
    """

    def __init__(self, file: BinaryIO, size: tuple[int, int], n_frames: int, offsets: array[int] | None = None) -> None:
        self._file = file
        self.size = size
        self.offsets = array("q", [-1]) * n_frames if offsets is None else offsets

    def put(self, index: int, mask: Bool) -> None:
        """Write the mask of a frame; the last one put counts.

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


class Stored(NamedTuple):
    """A file of masks that was finished, open for reading."""

    masks: MaskFile
    header: dict[str, Any]


def finish(masks: MaskFile, file: BinaryIO, header: dict[str, Any]) -> None:
    """Put the table and a header behind the masks; the file can then be opened again with `open_stored`."""
    text = json.dumps(header | {"size": masks.size, "n_frames": len(masks.offsets)}).encode()
    table = zlib.compress(masks.offsets.tobytes(), 1)
    file.seek(0, 2)
    file.write(table + text + _TAIL.pack(len(table), len(text)) + _MAGIC)
    file.flush()


def open_stored(path: Path, file: BinaryIO) -> Stored:
    """Read what `finish` left.

    Raises:
        InputError: the file is not complete, or another one.
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
        return Stored(MaskFile(file, (height, width), len(offsets), offsets), header)
    except (OSError, ValueError, KeyError, TypeError, struct.error, zlib.error) as error:
        raise InputError(f"{path} is not a finished track ({error})", todo="track again") from error
