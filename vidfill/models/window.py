"""Which frames a model needs to fill one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Direction = Literal["forward", "backward"]


@dataclass(frozen=True, slots=True)
class ReferenceSpec:
    """Which frames of the segment a model needs beside the neighbours.

    Attributes:
        stride: every `stride`-th frame, counted from the segment's first, so that all targets share one bank.
        near: and every frame within this distance of the target.
        reach: but no frame farther than this from the target; None for the whole segment.
        most: size of the bank of a whole segment, for which the stride is raised; None for no limit.
    """

    stride: int
    near: int = 0
    reach: int | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        if self.most is not None and (self.most < 1 or self.reach is not None):
            raise ValueError("`most` limits the bank of a whole segment, to 1 or more")

    def indices(self, target: int, n_frames: int) -> tuple[int, ...]:
        """The reference positions for one target, ascending, without itself."""
        low = 0 if self.reach is None else max(0, target - self.reach)
        high = n_frames if self.reach is None else min(n_frames, target + self.reach + 1)
        stride = self._stride(n_frames)
        return tuple(i for i in range(low, high) if i != target and (i % stride == 0 or abs(i - target) <= self.near))

    def bank(self, n_frames: int) -> range:
        """The positions that are references of targets anywhere in the segment; none if there is a reach."""
        return range(0) if self.reach is not None else range(0, n_frames, self._stride(n_frames))

    def _stride(self, n_frames: int) -> int:
        return self.stride if self.most is None else max(self.stride, -(-n_frames // self.most))


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """What a model needs around a target frame.

    Attributes:
        neighbours: offsets of the neighbour frames; positions outside the segment are mirrored at its ends.
        references: None for none.
        previous: whether the previous output (composited) is fed back.
        multiple: height and width are padded to a multiple of this.
        passes: directions of the passes over the segment; the last one is forward and gives the output.
        takes_uint8: frames come as uint8 and holes as bool, on the CPU.
    """

    neighbours: tuple[int, ...] = ()
    references: ReferenceSpec | None = None
    previous: bool = False
    multiple: int = 1
    passes: tuple[Direction, ...] = ("forward",)
    takes_uint8: bool = False

    def __post_init__(self) -> None:
        if not self.passes or self.passes[-1] != "forward":
            raise ValueError(f"the last pass must be forward, found {self.passes}")

    def with_most_references(self, most: int) -> WindowSpec:
        """The same window with a bank of at most so many references of a segment."""
        if self.references is None or self.references.reach is not None:
            return self
        own = self.references.most
        return replace(self, references=replace(self.references, most=most if own is None else min(most, own)))

    def neighbour_indices(self, target: int, n_frames: int) -> tuple[int, ...]:
        """Positions of the neighbours of one target, in the order of the offsets, mirrored at the ends."""
        return tuple(_mirror(target + offset, n_frames) for offset in self.neighbours)

    def indices(self, target: int, n_frames: int) -> frozenset[int]:
        """Every position that the step for `target` needs, its own included."""
        references = self.references.indices(target, n_frames) if self.references else ()
        return frozenset({target, *self.neighbour_indices(target, n_frames), *references})

    def bank(self, n_frames: int) -> range:
        """See `ReferenceSpec.bank`."""
        return range(0) if self.references is None else self.references.bank(n_frames)

    def oldest_needed(self, from_target: int, n_frames: int) -> int:
        """The lowest position outside the bank that any step from `from_target` on needs (n_frames for none)."""
        if from_target >= n_frames:
            return n_frames
        span = max((abs(offset) for offset in self.neighbours), default=0)
        if self.references is not None:
            span = max(span, self.references.near if self.references.reach is None else self.references.reach)
        last = min(n_frames, from_target + 2 * span + 1)
        bank = self.bank(n_frames)
        return min(
            (i for t in range(from_target, last) for i in self.indices(t, n_frames) if i not in bank), default=last
        )


def _mirror(index: int, n_frames: int) -> int:
    """Reflect a position at both ends (without repeating the end frame) until it lies in [0, n_frames)."""
    if n_frames == 1:
        return 0
    period = 2 * (n_frames - 1)
    index %= period
    return index if index < n_frames else period - index
