"""The contract that every model keeps, and the one time loop that runs it.

A model is a per-frame function with a declared window: it says in `Model.spec` which neighbours, references and
feedback it needs, and `recur` feeds it, in the engine (frames arriving one by one from a decoder) as in training
(`unroll`, a clip in memory). There is no second loop.

Arrays: RGB float in [0, 1], (B, 3, H, W); holes float (B, 1, H, W), 1 = missing. Pixels inside a hole are zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vidfill.video.frame import Remembered

Direction = Literal["forward", "backward"]


@dataclass(frozen=True, slots=True)
class ReferenceSpec:
    """Which frames of the segment a model wants beside its neighbours.

    Attributes:
        stride: every `stride`-th frame, counted from the segment's first, so that all targets share one bank.
        near: every frame within this distance of the target as well.
        reach: no frame farther than this from the target; None for the whole segment.
        most: at most so many frames in the bank of a whole segment: where there would be more, the stride is raised.
            None for no limit.
    """

    stride: int
    near: int = 0
    reach: int | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        if self.most is not None and (self.most < 1 or self.reach is not None):
            raise ValueError("`most` limits the bank of a whole segment, to 1 or more")

    def indices(self, target: int, n_frames: int) -> tuple[int, ...]:
        """The reference positions for one target, ascending, the target itself left out."""
        low = 0 if self.reach is None else max(0, target - self.reach)
        high = n_frames if self.reach is None else min(n_frames, target + self.reach + 1)
        stride = self._stride(n_frames)
        return tuple(i for i in range(low, high) if i != target and (i % stride == 0 or abs(i - target) <= self.near))

    def bank(self, n_frames: int) -> range:
        """The positions that targets anywhere in the segment refer to; none where references have a reach."""
        return range(0) if self.reach is not None else range(0, n_frames, self._stride(n_frames))

    def _stride(self, n_frames: int) -> int:
        return self.stride if self.most is None else max(self.stride, -(-n_frames // self.most))


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """What a model needs around a target frame.

    Attributes:
        neighbours: offsets of the neighbour frames; positions outside the segment are mirrored at its ends.
        references: which frames of the segment serve as references, None for none.
        previous: whether the previous output (composited) is fed back.
        multiple: height and width are padded to a multiple of this.
        passes: directions of the passes over the segment; the last one is forward and gives the output.
    """

    neighbours: tuple[int, ...] = ()
    references: ReferenceSpec | None = None
    previous: bool = False
    multiple: int = 1
    passes: tuple[Direction, ...] = ("forward",)

    def __post_init__(self) -> None:
        if not self.passes or self.passes[-1] != "forward":
            raise ValueError(f"the last pass must be forward, found {self.passes}")

    def with_most_references(self, most: int) -> WindowSpec:
        """The same window with a bank of at most so many references for a segment, and of no more than its own."""
        if self.references is None or self.references.reach is not None:
            return self
        own = self.references.most
        return replace(self, references=replace(self.references, most=most if own is None else min(most, own)))

    def neighbour_indices(self, target: int, n_frames: int) -> tuple[int, ...]:
        """Positions of the neighbours of one target, in the order of the offsets, mirrored at the ends."""
        return tuple(_mirror(target + offset, n_frames) for offset in self.neighbours)

    def indices(self, target: int, n_frames: int) -> frozenset[int]:
        """Every position that the step for `target` looks at, its own included."""
        references = self.references.indices(target, n_frames) if self.references else ()
        return frozenset({target, *self.neighbour_indices(target, n_frames), *references})

    def bank(self, n_frames: int) -> range:
        """The positions that targets anywhere in the segment refer to."""
        return range(0) if self.references is None else self.references.bank(n_frames)

    def oldest_needed(self, from_target: int, n_frames: int) -> int:
        """The lowest position outside the bank that any step from `from_target` on looks at (n_frames for none)."""
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


class Original(Protocol):
    """A frame at the source's own size."""

    @property
    def size(self) -> tuple[int, int]:
        """(H', W')."""
        ...

    def read(self) -> NDArray[np.uint8]:
        """(H', W', 3) RGB, decoded again; what lies inside the hole is there, and must not be looked at."""
        ...


class View(NamedTuple):
    """One frame as a model sees it.

    Attributes:
        index: position in the segment.
        frame: (B, 3, H, W), zero inside the hole.
        hole: (B, 1, H, W), 1 = missing.
        features: what `Model.encode` returned for it.
        record: what the model's earlier pass left for this frame, None in the first pass.
        original: the frame before it was made smaller, None where it was not.
    """

    index: int  # type: ignore[assignment]  # a position; nobody asks these tuples where a value lies
    frame: Tensor
    hole: Tensor
    features: Any
    record: Any = None
    original: Original | None = None


class Previous(NamedTuple):
    """The output before this one, in the direction of the pass.

    Attributes:
        index: its position in the segment.
        frame: (B, 3, H, W), composited: the fill inside the hole, the source outside.
        hole: (B, 1, H, W), where `frame` is filled rather than seen.
    """

    index: int  # type: ignore[assignment]  # a position; nobody asks these tuples where a value lies
    frame: Tensor
    hole: Tensor


class Detail(NamedTuple):
    """A part of a fill at the source's own size, where the model works on a smaller one.

    Attributes:
        frame_size: (H', W') of `View.original`.
        box: (x0, y0, x1, y1), half-open, in its pixels.
        rgb: (h, w, 3) uint8.
        alpha: (h, w) float32 in [0, 1], how far it replaces the enlarged fill.
    """

    frame_size: tuple[int, int]
    box: tuple[int, int, int, int]
    rgb: NDArray[np.uint8]
    alpha: NDArray[np.float32]


class Step(NamedTuple):
    """What one step gives back.

    Attributes:
        fill: (B, 3, H, W) in [0, 1]; only its part inside the hole is used.
        state: NamedTuple of tensors carried to the next step of this pass, None if the model has none.
        record: anything about this frame that the model's next pass wants to see again, None if nothing.
        invented: (B, 1, H, W) in [0, 1], 1 where the fill shows what no frame of the clip shows; None if unknown.
        detail: for each clip of the batch; empty for a model that has none.
    """

    fill: Tensor
    state: Any = None
    record: Any = None
    invented: Tensor | None = None
    detail: tuple[Detail | None, ...] = ()


class Model(nn.Module, ABC):
    """A video inpainting system under the one contract.

    Attributes:
        spec: what the model needs around a target.
        sizes: the JSON-able arguments that build this network again; a checkpoint carries them.
        n_painted: pictures in which the model has painted what no frame shows, so far.
    """

    spec: WindowSpec
    sizes: dict[str, Any]
    n_painted: int = 0

    @property
    def remembers(self) -> bool:
        """Whether a segment goes on from the one before it, so that those of one scene are filled in order."""
        return type(self).remember is not Model.remember

    def remember(self, state: Any) -> tuple[Remembered, ...]:
        """What a segment that goes on from this one must know: pictures, at the source's own size where possible.

        Args:
            state: of the last step, of a batch of one clip.
        """
        return ()

    def recall(self, pictures: Sequence[Remembered]) -> Any:
        """The state in which the last pass over a segment begins, from what `remember` gave for the one before.

        Args:
            pictures: of another crop of the same scene; their scales are relative to the size at which the model works
                on the new segment.
        """
        return None

    @abstractmethod
    def encode(self, frame: Tensor, hole: Tensor) -> Any:
        """What depends on one frame alone; called once a frame and cached for as long as a window needs it.

        Args:
            frame: (B, 3, H, W), RGB in [0, 1], zero inside the hole.
            hole: (B, 1, H, W), 1 = missing.
        """

    @abstractmethod
    def step(
        self,
        target: View,
        neighbours: Sequence[View],
        references: Sequence[View],
        previous: Previous | None,
        state: Any,
    ) -> Step:
        """Fill one frame.

        Args:
            target: the frame to fill.
            neighbours: one view for each offset of `spec.neighbours`, in that order.
            references: the views that `spec.references` names, ascending by position.
            previous: the previous output, None at a segment's start or where `spec.previous` is false.
            state: what the previous step of this pass returned, None at a segment's start.
        """


class ViewSource(Protocol):
    """Where `recur` gets its views: a clip in memory, or a decoder behind a cache."""

    n_frames: int

    def view(self, index: int) -> View:
        """The encoded frame at a position of the segment."""
        ...

    def keep_record(self, index: int, record: Any) -> None:
        """Hold a record for the next pass; it comes back as `View.record`."""
        ...

    def drop_before(self, index: int, keep: range = range(0)) -> None:
        """Positions below `index` will not be asked for again, those in `keep` apart."""
        ...


def composite(frame: Tensor, hole: Tensor, fill: Tensor) -> Tensor:
    """The fill inside the hole, the source outside: `hole * fill + (1 - hole) * frame`; all (B, C, H, W)."""
    return torch.lerp(frame, fill.to(frame.dtype), hole.to(frame.dtype))


def recur(
    model: Model,
    source: ViewSource,
    *,
    detach_every: int = 0,
    targets: range | None = None,
    spec: WindowSpec | None = None,
    start: Any = None,
) -> Iterator[tuple[int, Step]]:
    """Run a model over a segment, pass by pass, feeding back its own outputs and state.

    Args:
        model: any model of the contract.
        source: gives the views; told through `drop_before` what is no longer needed.
        detach_every: cut the gradient through feedback and state every so many steps; 0 for never.
        targets: the positions that get a step, ascending by one; None for all. Training takes the middle of a clip,
            so that no window has to be mirrored.
        spec: the window in the place of the model's own, of as many neighbours; training draws smaller ones.
        start: the state in which the last pass begins, from `Model.recall`.

    Yields:
        (position, step) of the last pass, in order.
    """
    spec, n = spec or model.spec, source.n_frames
    wanted = range(n) if targets is None else targets
    for number, direction in enumerate(spec.passes):
        is_last = number == len(spec.passes) - 1
        previous: Previous | None = None
        state: Any = start if is_last else None
        order = wanted if direction == "forward" else wanted[::-1]
        for count, t in enumerate(order):
            target = source.view(t)
            if detach_every and count and count % detach_every == 0:
                state = _detach(state)
                previous = None if previous is None else previous._replace(frame=previous.frame.detach())
            step = model.step(
                target,
                [source.view(i) for i in spec.neighbour_indices(t, n)],
                [source.view(i) for i in (spec.references.indices(t, n) if spec.references else ())],
                previous if spec.previous else None,
                state,
            )
            state = step.state
            if spec.previous:
                previous = Previous(t, composite(target.frame, target.hole, step.fill), target.hole)
            if is_last:
                yield t, step
                source.drop_before(spec.oldest_needed(t + 1, n), keep=spec.bank(n))
            elif step.record is not None:
                source.keep_record(t, step.record)


class ClipSource:
    """A clip in memory, encoded on first use.

    Args:
        model: encodes the frames.
        clip: (B, T, 3, H, W), RGB in [0, 1]; what lies inside the holes is not looked at.
        holes: (B, T, 1, H, W), 1 = missing.
    """

    def __init__(self, model: Model, clip: Tensor, holes: Tensor) -> None:
        self.n_frames = clip.shape[1]
        self._model, self._clip, self._holes = model, clip, holes
        self._features: dict[int, Any] = {}
        self._records: dict[int, Any] = {}

    def view(self, index: int) -> View:
        """The encoded frame at a position."""
        hole = self._holes[:, index]
        frame = self._clip[:, index] * (1 - hole)
        if index not in self._features:
            self._features[index] = self._model.encode(frame, hole)
        return View(index, frame, hole, self._features[index], self._records.get(index))

    def keep_record(self, index: int, record: Any) -> None:
        """Hold a record for the next pass."""
        self._records[index] = record

    def forget_features(self) -> None:
        """Encode again from here on: the weights have changed, or a backward pass has used up the old graph."""
        self._features.clear()

    def drop_before(self, index: int, keep: range = range(0)) -> None:
        """Give up what lies before a position, but for what lies in `keep`."""
        for table in (self._features, self._records):
            for old in [i for i in table if i < index and i not in keep]:
                del table[old]


def unroll(model: Model, clip: Tensor, holes: Tensor, *, detach_every: int = 0, targets: range | None = None) -> Tensor:
    """The training loop's time loop: fill a clip that lies in memory.

    Args:
        model: any model of the contract.
        clip: (B, T, 3, H, W), RGB in [0, 1]; what lies inside the holes is not looked at.
        holes: (B, T, 1, H, W), 1 = missing.
        detach_every: cut the gradient through feedback and state every so many steps; 0 for never.
        targets: the positions that get a step, ascending by one; None for all.

    Returns:
        (B, T, 3, H, W): the fills as the model gave them, not composited; T counts the targets alone.
    """
    steps = recur(model, ClipSource(model, clip, holes), detach_every=detach_every, targets=targets)
    return torch.stack([step.fill for _, step in steps], dim=1)


def _mirror(index: int, n_frames: int) -> int:
    """Reflect a position at both ends (without repeating the end frame) until it lies in [0, n_frames)."""
    if n_frames == 1:
        return 0
    period = 2 * (n_frames - 1)
    index %= period
    return index if index < n_frames else period - index


def _detach(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*(_detach(value) for value in state))
    if isinstance(state, (tuple, list)):
        return type(state)(_detach(value) for value in state)
    if isinstance(state, dict):
        return {key: _detach(value) for key, value in state.items()}
    return state
