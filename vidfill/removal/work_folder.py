"""The work folder of a run: its plan, what the plan depends on, and the patches of every finished segment.

Each segment is written under a temporary name and renamed when complete, so a killed run leaves whole segments behind.
Nothing in the folder is code or pickled, and damaged files are refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from vidfill.engine.plan import Plan
from vidfill.errors import BusyError, InputError, OutputError, UsageError
from vidfill.files.atomic import atomic_write
from vidfill.files.lock import STALE_S, FileLock
from vidfill.video.frame import Box, Patch, Remembered

_PLAN = "plan.json"
_FINGERPRINT = "fingerprint.json"
_PATCHES = "segment_*.patches"
_MEMORY = "segment_*.memory"
_PARTIAL = "*.part"
_LOCK = "run.lock"
_TRACK = "masks.track"

_FORMAT = b"vidfill patches "
_MAGIC = _FORMAT + b"2\n"
# Index, pts, box (4), invented ratio (NaN for None), bytes of the packed RGB and of the packed alpha, CRC-32 of both.
_HEADER = struct.Struct("<qqiiiidIII")
_SCALES = "scales"  # of the pictures of a memory, which are named by numbers
_END = -1  # the index of the last header, after which no patch follows


class WorkFolder:
    """Where an interrupted run resumes; made when something is first put into it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def track(self) -> Path:
        """The file of the masks of tracked objects."""
        return self.path / _TRACK

    def check(self) -> None:
        """Check before a long run that the folder can be made and written.

        Raises:
            OutputError: it cannot.
        """
        existing = self.path if self.path.exists() else self.path.absolute().parent
        if not existing.is_dir():
            raise OutputError(f"no folder {existing} for unfinished work", todo="make it, or give another --work-dir")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise OutputError(f"the folder {existing} is not writable", todo="give another one with --work-dir")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one run; partial files of a run that died are removed.

        Raises:
            BusyError: another run holds it.
            OutputError: it cannot be made.
        """
        lock = FileLock(self.path / _LOCK)
        with _writing(self.path):
            self.path.mkdir(exist_ok=True)
            if not lock.acquire():
                raise BusyError(
                    f"the work folder {self.path} is in use by {lock.holder() or 'another run'}",
                    todo="wait for that run, or write to another output or --work-dir; the lock of a run that died "
                    f"on another machine is given up after {STALE_S:.0f} s",
                )
            for partial in self.path.glob(_PARTIAL):
                partial.unlink(missing_ok=True)
        try:
            yield
        finally:
            lock.release()
            with suppress(OSError):  # gone, or not empty
                self.path.rmdir()

    def begin(self, fingerprint: Mapping[str, str], plan: Plan) -> None:
        """Start over: remove earlier segments, and write the plan and what it depends on.

        Raises:
            OutputError: the folder cannot be made or written.
        """
        with _writing(self.path):
            self.path.mkdir(exist_ok=True)
            self._clear()
            _replace(self.path / _PLAN, plan.to_json().encode())
            _replace(self.path / _FINGERPRINT, json.dumps(dict(fingerprint), indent=1).encode())

    def resume(self, fingerprint: Mapping[str, str]) -> Plan | None:
        """The plan of the interrupted run, None without one.

        Args:
            fingerprint: everything that the patches of this run depend on, by name.

        Raises:
            UsageError: that run had another source or other settings; the message names them.
        """
        plan = self.plan()
        try:
            found = json.loads((self.path / _FINGERPRINT).read_text())
        except (OSError, ValueError):
            return None
        if plan is None:
            return None
        differing = [
            f"{name} was {found.get(name, 'not stated')}, is {fingerprint.get(name, 'not stated')}"
            for name in sorted(found.keys() | fingerprint.keys())
            if found.get(name) != fingerprint.get(name)
        ]
        if differing:
            raise UsageError(
                f"cannot resume from {self.path}: " + "; ".join(differing),
                expected="the source and the settings of the interrupted run",
                todo="give those, or leave out --resume to start over",
            )
        return plan

    def has(self, segment: int) -> bool:
        """Whether a segment is finished."""
        return self._segment(segment).exists()

    def plan(self) -> Plan | None:
        """The plan of the run, whatever it depends on; None without one."""
        try:
            return Plan.from_json((self.path / _PLAN).read_text())
        except (OSError, InputError):
            return None

    def n_stored(self) -> int:
        """How many segments are finished."""
        return sum(1 for _ in self.path.glob(_PATCHES))

    def read(self, segment: int) -> Iterator[Patch]:
        """The patches of a finished segment, in order.

        Raises:
            InputError: the file is damaged, or of another version.
        """
        path = self._segment(segment)
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
            if magic != _MAGIC:
                is_ours = len(magic) == len(_MAGIC) and magic.startswith(_FORMAT)
                raise _unusable(path, "are those of another version of vidfill" if is_ours else "are damaged")
            while True:
                header = file.read(_HEADER.size)
                if len(header) != _HEADER.size:
                    raise _unusable(path, "are damaged")
                index, pts, x0, y0, x1, y1, invented, n_rgb, n_alpha, check = _HEADER.unpack(header)
                if index == _END:
                    return
                packed = file.read(n_rgb + n_alpha)
                if len(packed) != n_rgb + n_alpha or zlib.crc32(packed) != check:
                    raise _unusable(path, "are damaged")
                box = Box(x0, y0, x1, y1)
                alpha = np.frombuffer(zlib.decompress(packed[n_rgb:]), np.uint8).reshape(box.height, box.width)
                ratio = None if math.isnan(invented) else invented
                yield Patch(index, pts, box, _unpack_rgb(packed[:n_rgb], alpha), alpha, ratio)

    @contextmanager
    def writing(self, segment: int) -> Iterator[SegmentWriter]:
        """Write the patches of a segment; it is finished if the block ends without an exception.

        Raises:
            OutputError: the disk is full or the folder is gone.
        """
        path = self._segment(segment)
        with ExitStack() as stack:
            with _writing(self.path):
                file = stack.enter_context(stack.enter_context(atomic_write(path)).open("wb"))
            writer = SegmentWriter(file.write, self.path)
            yield writer
            writer.finish()
            with _writing(self.path):
                stack.close()

    def remembered(self, segment: int) -> list[Remembered]:
        """The pictures that the model remembers of a finished segment.

        Raises:
            InputError: the file is damaged.
        """
        path = self._memory(segment)
        try:
            tensors = safetensors.numpy.load_file(path)
            pairs = zip(tensors.pop(_SCALES).tolist(), sorted(tensors), strict=True)
            return [Remembered(tensors[name], (y, x)) for (y, x), name in pairs]
        except FileNotFoundError:
            return []
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise _unusable(path, "are damaged") from error

    def keep(self, segment: int, pictures: Sequence[Remembered]) -> None:
        """Store the pictures that the model remembers of a segment, before the segment is finished.

        Raises:
            OutputError: the disk is full or the folder is gone.
        """
        path = self._memory(segment)
        with _writing(self.path):
            if not pictures:
                path.unlink(missing_ok=True)
                return
            named = {f"{i:03d}": np.ascontiguousarray(each.picture) for i, each in enumerate(pictures)}
            named[_SCALES] = np.array([each.scale for each in pictures])
            _replace(path, safetensors.numpy.save(named))

    def remove(self) -> None:
        """Remove vidfill's own files, and the folder if it is empty then."""
        if not self.path.is_dir():
            return
        self._clear()
        self.track.unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def _segment(self, segment: int) -> Path:
        return self.path / _PATCHES.replace("*", f"{segment:05d}")

    def _memory(self, segment: int) -> Path:
        return self.path / _MEMORY.replace("*", f"{segment:05d}")

    def _clear(self) -> None:
        for pattern in (_MEMORY, _FINGERPRINT, _PLAN, _PATCHES, _PARTIAL):
            for path in self.path.glob(pattern):
                path.unlink()


class SegmentWriter:
    """Writes patches one after another.

    Args:
        write: writes to the open file.
        folder: for messages.
    """

    def __init__(self, write: Callable[[bytes], object], folder: Path) -> None:
        self._write, self._folder = write, folder
        with _writing(folder):
            write(_MAGIC)

    def add(self, patch: Patch) -> None:
        """Append a patch.

        Raises:
            OutputError: the disk is full.
        """
        rgb, alpha = _pack_rgb(patch.rgb, patch.alpha), zlib.compress(np.ascontiguousarray(patch.alpha).data, 1)
        invented = math.nan if patch.invented is None else patch.invented
        check = zlib.crc32(alpha, zlib.crc32(rgb))
        header = _HEADER.pack(patch.index, patch.pts, *patch.box, invented, len(rgb), len(alpha), check)
        with _writing(self._folder):
            self._write(header)
            self._write(rgb)
            self._write(alpha)

    def finish(self) -> None:
        """Write the end mark."""
        with _writing(self._folder):
            self._write(_HEADER.pack(_END, *[0] * 9))


def fingerprint_of(path: Path) -> str:
    """What changes with a file, or with a folder of files: sizes and modification times, without reading them.

    Raises:
        InputError: it does not exist.
    """
    try:
        if not path.is_dir():
            state = path.stat()
            return f"{path.name}, {state.st_size} bytes, changed at {state.st_mtime_ns} ns"
        digest, count = hashlib.sha256(), 0
        for entry in sorted(path.iterdir()):
            state = entry.stat()
            digest.update(os.fsencode(entry.name) + f"\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
            count += 1
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return f"{path.name}, {count} files, state {digest.hexdigest()[:16]}"


def _pack_rgb(rgb: NDArray[np.uint16], alpha: NDArray[np.uint8]) -> bytes:
    """The covered pixels as differences, high and low bytes apart; the low ones are noise and stay uncompressed."""
    steps = rgb[alpha > 0]
    steps[1:] -= steps[:-1].copy()
    low, high = (steps & 255).astype(np.uint8), (steps >> 8).astype(np.uint8)
    return low.tobytes() + zlib.compress(high.tobytes(), 1)


def _unpack_rgb(packed: bytes, alpha: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """The covered pixels; the others are black and never read."""
    covered = alpha > 0
    n_low = 3 * int(np.count_nonzero(covered))
    low = np.frombuffer(packed, np.uint8, n_low).reshape(-1, 3)
    high = np.frombuffer(zlib.decompress(packed[n_low:]), np.uint8).reshape(-1, 3)
    rgb = np.zeros((*alpha.shape, 3), np.uint16)
    rgb[covered] = np.cumsum(low + (high.astype(np.uint16) << 8), axis=0, dtype=np.uint16)
    return rgb


def _replace(path: Path, content: bytes) -> None:
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def _unusable(path: Path, why: str) -> InputError:
    return InputError(f"the contents of {path} {why}", todo="run again without --resume")


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write to the work folder {folder}: {error.strerror}", todo="give another one with --work-dir"
        ) from error
