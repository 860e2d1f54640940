"""What one decode tells about a source: when each frame is shown, where scenes change, and what is damaged."""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from vidfill.errors import InputError
from vidfill.video.cuts import CutDetector, thumbnail
from vidfill.video.decode import Damage
from vidfill.video.dissolves import DissolveDetector, without_cuts
from vidfill.video.frame import Frame, VideoInfo
from vidfill.video.read import Reader


@dataclass(frozen=True, slots=True)
class SourceIndex:
    """The frames of a source without their pictures, 8 bytes each; made by `index_source`.

    Attributes:
        info: the source.
        pts: presentation time of each frame, in ticks.
        cuts: first frames of all scenes but the first, ascending; hard cuts only.
        dissolves: (start, stop) of gradual transitions, half-open, none of them at a hard cut.
        held: the frames that repeat the last good one in the place of damaged ones.
        damage: what was wrong with the file.
    """

    info: VideoInfo
    pts: Sequence[int]
    cuts: tuple[int, ...] = ()
    dissolves: tuple[tuple[int, int], ...] = ()
    held: frozenset[int] = frozenset()
    damage: Damage = field(default_factory=Damage)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.pts)

    @property
    def scenes(self) -> tuple[range, ...]:
        """The frames between hard cuts."""
        edges = [0, *self.cuts, len(self)]
        return tuple(range(start, stop) for start, stop in zip(edges, edges[1:], strict=False))

    def scene_of(self, index: int) -> range:
        """The frames of the scene that a frame belongs to."""
        return self.scenes[bisect.bisect_right(self.cuts, index)]

    def time_s(self, index: int) -> Fraction:
        """When a frame is shown, in seconds after the first."""
        return (self.pts[index] - self.pts[0]) * self.info.time_base

    def frames(self) -> Iterator[Frame]:
        """All frames, without planes."""
        for i, pts in enumerate(self.pts):
            yield Frame(i, pts, self.info.time_base, (), i in self.held)


def index_source(
    reader: Reader,
    *,
    each: Callable[[Frame], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SourceIndex:
    """Decode a source once.

    Args:
        reader: the source.
        each: called with each frame, for whoever wants to see the pictures of this pass.
        progress: called with (frames done, frames as the container states them or 0) after each frame.

    Raises:
        InputError: it has no frames or cannot be read.
    """
    info, cuts, dissolves = reader.info, CutDetector(), DissolveDetector()
    pts, held = array("q"), set[int]()
    for frame in reader.frames():
        thumb = thumbnail(frame, info.pixel_format)
        cuts.push(thumb)
        dissolves.push(thumb)
        pts.append(frame.pts)
        if frame.held:
            held.add(frame.index)
        if each is not None:
            each(frame)
        if progress is not None:
            progress(len(pts), info.n_frames)
    if not pts:
        raise InputError(f"no frames in {info.path}", expected="at least one")
    hard = cuts.finish()
    spans = without_cuts(dissolves.finish(), hard)
    return SourceIndex(info, pts, tuple(hard), tuple(spans), frozenset(held), reader.damage)
