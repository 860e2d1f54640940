"""The outcome of tracking: masks on disk, a confidence for each object and frame, and where objects were lost."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from vidfill.errors import MaskError
from vidfill.files.atomic import atomic_write
from vidfill.masks.prompt import FramePrompt
from vidfill.track.base import CONFIDENT, Tracked
from vidfill.track.store import MaskFile, finish, open_stored
from vidfill.video.frame import Bool, Box, Float, VideoInfo
from vidfill.video.index import SourceIndex

NOT_TRACKED = -1.0
"""The confidence of a frame that no track reaches."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A run of frames [start, stop) on which an object is not known."""

    object_id: int
    start: int
    stop: int
    time_s: float  # of the first of them, in seconds after the first frame of the source
    reason: str
    seen: int = -1  # the last frame before them on which it was known, -1 for none
    seen_x: int = 0  # its middle there, in pixels of the picture as a player shows it
    seen_y: int = 0

    def describe(self) -> str:
        """Which object was lost when and why, as a phrase."""
        frames = f"frame #{self.start}" if self.stop == self.start + 1 else f"frames #{self.start} to #{self.stop - 1}"
        return f"object {self.object_id} is lost at {self.time_s:.2f} s ({frames}): {self.reason}"

    def hint(self) -> str:
        """The prompt that would help."""
        number = "" if self.object_id == 1 else f"{self.object_id}:"
        point = f"--point {number}X,Y@#{self.start} where it is then"
        if self.seen < 0:  # never known: points alone may not say how far it goes
            return f"--object-box {number}X0,Y0,X1,Y1@#{self.start} round it, or {point}"
        return f"{point}; it was last seen near {self.seen_x},{self.seen_y} at #{self.seen}"


@dataclass(frozen=True, slots=True)
class Left:
    """A run of frames [start, stop) for which an object has left the picture."""

    object_id: int
    start: int
    stop: int
    time_s: float  # as of `Lost`


class Track:
    """What `vidfill.track.clip.track` found; masks are read from disk one at a time."""

    def __init__(self, path: Path, file: BinaryIO, info: VideoInfo) -> None:
        self._file = file
        self._masks, self._header = open_stored(path, file)
        header = self._header
        self.info = info
        self.n_frames = len(self._masks.offsets)
        self.size = self._masks.size  # (height, width) of the masks, turned as a player shows them
        self.tracker = str(header["tracker"])
        self.key = str(header["key"])  # what the masks depend on, as the caller spelled it
        self.lost = tuple(Lost(**entry) for entry in header["lost"])  # in order of time
        self.left = tuple(Left(**entry) for entry in header["left"])
        # object -> (n_frames,) in [0, 1], `NOT_TRACKED` where no track leads.
        self.confidence = {int(o): np.array(values, np.float32) / 100 for o, values in header["confidence"].items()}
        self.prompted = _prompted_from_json(header["prompted"])  # frame -> object -> prompts in pixels as shown

    @classmethod
    def open(cls, path: Path, info: VideoInfo) -> Track:
        """Open what a run left.

        Raises:
            InputError: the file is not there, not complete, or another one.
        """
        file = path.open("rb")
        try:
            return cls(path, file, info)
        except BaseException:
            file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def mask(self, index: int) -> Bool:
        """The mask of all objects on a frame, of `size`, a new array; objects that are not known are left out."""
        return self._masks.get(index)

    @contextmanager
    def rewriting(self, path: Path, *, key: str) -> Iterator[MaskFile]:
        """Write other masks for the same track; the file is replaced when the block ends well."""
        with atomic_write(path) as partial, partial.open("w+b") as file:
            masks = MaskFile(file, self.size, self.n_frames)
            yield masks
            finish(masks, file, self._header | {"key": key})

    def confidences(self) -> Float:
        """(n_frames,) the lowest confidence of all objects."""
        return np.asarray(np.stack(list(self.confidence.values())).min(axis=0), np.float32)

    def check(self) -> None:
        """Check that every object is known on every frame that is wanted.

        Raises:
            MaskError: says when the first one was lost, why, and which prompt would help.
        """
        if not self.lost:
            return
        first = self.lost[0]
        n_more = sum(lost.stop - lost.start for lost in self.lost) - (first.stop - first.start)
        more = f"; {n_more} more frames are lost later" if n_more else ""
        raise MaskError(
            f"{first.describe()}{more}",
            expected="every object to be known on every frame",
            todo=f"add {first.hint()}, limit the removal with --start and --end, or leave out the lost frames with "
            "--allow-lost; vidfill preview with the same prompts shows them",
        )


def write_track(
    path: Path,
    source: SourceIndex,
    found: Iterable[tuple[int, Mapping[int, Tracked | None]]],
    *,
    size: tuple[int, int],
    objects: tuple[int, ...],
    prompted: Mapping[int, Mapping[int, FramePrompt]],
    tracker: str,
    key: str,
) -> None:
    """Write a file for `Track.open`, which has its final name only when it is complete.

    Args:
        path: the file.
        source: the source.
        found: (frame, object -> what is known of it, None where no track leads to the frame), in order of time.
        size: (height, width) of the masks, turned as a player shows them.
        objects: all objects.
        prompted: see `Track`.
        tracker: its name.
        key: what the masks depend on.
    """
    confidence = {o: array("h", [round(100 * NOT_TRACKED)]) * len(source) for o in objects}
    spans = {o: _Spans(o, source, size) for o in objects}
    with atomic_write(path) as partial, partial.open("w+b") as file:
        masks = MaskFile(file, size, len(source))
        for index, by_object in found:
            union = np.zeros(size, np.bool_)
            for object_id, tracked in by_object.items():
                spans[object_id].add(index, tracked)
                if tracked is None:
                    continue
                # Rounded down, so that what is below the limit stays below it.
                confidence[object_id][index] = int(100 * tracked.confidence)
                if tracked.confidence >= CONFIDENT and not tracked.has_left:
                    union |= tracked.mask
            masks.put(index, union)
        lost = sorted((span for each in spans.values() for span in each.lost), key=lambda span: span.start)
        left = sorted((span for each in spans.values() for span in each.left), key=lambda span: span.start)
        header = {
            "tracker": tracker,
            "key": key,
            "lost": [asdict(span) for span in lost],
            "left": [asdict(span) for span in left],
            "confidence": {str(o): list(values) for o, values in confidence.items()},
            "prompted": _prompted_to_json(prompted),
        }
        finish(masks, file, header)


class _Spans:
    """Joins frames on which an object is lost, or has left, to runs."""

    def __init__(self, object_id: int, source: SourceIndex, size: tuple[int, int]) -> None:
        self._object_id, self._source = object_id, source
        height, width = source.info.display_size
        self._scale = width / size[1], height / size[0]
        self._seen = -1, 0, 0
        self.lost: list[Lost] = []
        self.left: list[Left] = []

    def add(self, index: int, tracked: Tracked | None) -> None:
        time_s = float(self._source.time_s(index))
        if tracked is None or tracked.confidence < CONFIDENT:
            reason = tracked.reason if tracked is not None else "no prompt in this scene, which begins with a cut"
            if self.lost and self.lost[-1].stop == index:
                self.lost[-1] = replace(self.lost[-1], stop=index + 1)
            else:
                self.lost.append(Lost(self._object_id, index, index + 1, time_s, reason, *self._seen))
        elif tracked.has_left:
            if self.left and self.left[-1].stop == index:
                self.left[-1] = replace(self.left[-1], stop=index + 1)
            else:
                self.left.append(Left(self._object_id, index, index + 1, time_s))
        elif (box := Box.around(tracked.mask)) is not None:
            x, y = (box.x0 + box.x1) / 2 * self._scale[0], (box.y0 + box.y1) / 2 * self._scale[1]
            self._seen = index, round(x), round(y)


def _prompted_to_json(prompted: Mapping[int, Mapping[int, FramePrompt]]) -> list[list[Any]]:
    return [
        [index, object_id, prompt.points.tolist(), prompt.is_object.tolist(), prompt.box]
        for index, by_object in prompted.items()
        for object_id, prompt in by_object.items()
    ]


def _prompted_from_json(entries: list[list[Any]]) -> dict[int, dict[int, FramePrompt]]:
    found: dict[int, dict[int, FramePrompt]] = {}
    for index, object_id, points, is_object, box in entries:
        prompt = FramePrompt(
            np.array(points, np.float32).reshape(-1, 2), np.array(is_object, np.bool_), tuple(box) if box else None
        )
        found.setdefault(index, {})[object_id] = prompt
    return found
