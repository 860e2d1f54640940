"""The contract of all models, and the one time loop that runs them.

A model is a function of a frame and a window around it: it declares in `Model.spec` which neighbours, references and
feedback it needs, and `recur` provides them, in the engine (frames from a decoder) as in training (`unroll`, a clip in
memory).

Arrays: RGB float in [0, 1], (B, 3, H, W); holes float (B, 1, H, W), 1 = missing. Pixels inside a hole are zero. A model
whose spec says `takes_uint8` gets RGB as uint8 and holes as bool instead, on the CPU; fills are float for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vidfill.models.window import ReferenceSpec as ReferenceSpec
from vidfill.models.window import WindowSpec as WindowSpec
from vidfill.video.frame import Box, Float, Remembered


class Original(Protocol):
    """A frame at the source's own size."""

    @property
    def size(self) -> tuple[int, int]:
        """(H', W')."""
        ...

    def read(self) -> NDArray[np.uint8]:
        """(H', W', 3) RGB, decoded again, hole included, which must not be used."""
        ...


class View(NamedTuple):
    """One frame as a model sees it.

    Attributes:
        index: position in the segment.
        frame: (B, 3, H, W) float in [0, 1], or uint8 (see `WindowSpec.takes_uint8`); zero inside the hole.
        hole: (B, 1, H, W) float, 1 = missing, or bool.
        features: what `Model.encode` returned for it.
        record: `Step.record` of this frame in the previous pass, None in the first pass.
        original: the frame before it was downscaled, None where it was not.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which is not used
    frame: Tensor
    hole: Tensor
    features: Any
    record: Any = None
    original: Original | None = None


class Previous(NamedTuple):
    """The previous output in the direction of the pass: as in `View`, but `frame` is composited with the fill."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which is not used
    frame: Tensor
    hole: Tensor


class Window(NamedTuple):
    """What a step gets.

    Attributes:
        target: the frame to fill.
        neighbours: one view for each offset of `WindowSpec.neighbours`, in that order.
        references: the views that `WindowSpec.references` names, ascending by position.
        previous: the previous output, None at a segment's start or where `WindowSpec.previous` is false.
        prepared: what `Model.prepare` returned for the segment.
    """

    target: View
    neighbours: Sequence[View] = ()
    references: Sequence[View] = ()
    previous: Previous | None = None
    prepared: Any = None


class Detail(NamedTuple):
    """A part of a fill at the source's own size, where the model works on a smaller one.

    Attributes:
        frame_size: (H', W') of `View.original`.
        box: in its pixels.
        rgb: (h, w, 3) uint8.
        alpha: (h, w) float32 in [0, 1], opacity over the upscaled fill.
    """

    frame_size: tuple[int, int]
    box: Box
    rgb: NDArray[np.uint8]
    alpha: Float


class Step(NamedTuple):
    """The result of one step.

    Attributes:
        fill: (B, 3, H, W) float in [0, 1]; used inside the hole only.
        state: tensors for the next step of this pass, in a NamedTuple; None for a model without state.
        record: of this frame for the model's next pass, as `View.record`.
        invented: (B, 1, H, W) float in [0, 1], 1 where the fill shows what no frame of the clip shows; None if unknown.
        detail: for each clip of the batch; empty for a model without.
        further: results for later positions in the direction of the pass from the same computation; they get no step of
            their own, and their state is not used.
    """

    fill: Tensor
    state: Any = None
    record: Any = None
    invented: Tensor | None = None
    detail: tuple[Detail | None, ...] = ()
    further: Mapping[int, Step] = MappingProxyType({})


class SegmentViews(Protocol):
    """All frames of a segment, each read and encoded when it is first asked for."""

    n_frames: int

    def view(self, index: int) -> View:
        """The encoded frame at a position of the segment."""
        ...


class Model(nn.Module, ABC):
    """A video inpainting system.

    Attributes:
        spec: what the model needs around a target.
        sizes: plain data that builds this network again; saved in checkpoints.
        n_painted: pictures painted so far for what no frame shows.
    """

    spec: WindowSpec
    sizes: dict[str, Any]
    n_painted: int = 0

    @property
    def prepares(self) -> bool:
        """Whether the model overrides `prepare`."""
        return type(self).prepare is not Model.prepare

    @property
    def remembers(self) -> bool:
        """Whether a segment continues the one before it, so that those of one scene are filled in order."""
        return type(self).remember is not Model.remember

    def remember(self, state: Any) -> tuple[Remembered, ...]:
        """Pictures for the segment that continues this one, from the last state of a batch of one clip."""
        return ()

    def recall(self, pictures: Sequence[Remembered]) -> Any:
        """The initial state of the last pass, from what `remember` gave for the previous segment.

        Args:
            pictures: of another crop of the same scene; scales are relative to the new segment's working size.
        """
        return None

    def prepare(self, segment: SegmentViews) -> Any:
        """Compute once, before the first pass, what depends on the whole segment (such as optical flow).

        Returns:
            Given to each step as `Window.prepared`.
        """
        return None

    @abstractmethod
    def encode(self, frame: Tensor, hole: Tensor) -> Any:
        """Compute what depends on one frame alone; called once a frame and cached as long as a window needs it."""

    @abstractmethod
    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        """Fill one frame and, with `Step.further`, as many later ones as come out of the same computation.

        Args:
            window: the frame to fill and those around it.
            state: of the previous step of this pass, None at a segment's start.
            pass_index: of the pass in `WindowSpec.passes`.
        """


class ViewSource(SegmentViews, Protocol):
    """The views for `recur`: of a clip in memory, or of a decoder with a cache."""

    def keep_record(self, index: int, record: Any) -> None:
        """Keep a record for the next pass as `View.record`."""
        ...

    def drop_before(self, index: int, keep: range = range(0)) -> None:
        """Forget positions below `index` except those in `keep`."""
        ...


def composite(frame: Tensor, hole: Tensor, fill: Tensor) -> Tensor:
    """The fill inside the hole, the frame outside, in the frame's type; (B, C, H, W), float or uint8 as in `View`."""
    if frame.dtype == torch.uint8:
        return torch.where(hole, fill.mul(255).round_().clamp_(0, 255).byte(), frame)
    return torch.lerp(frame, fill.to(frame.dtype), hole.to(frame.dtype))


def to_uint8(frame: Tensor) -> NDArray[np.uint8]:
    """Frames of a view, (B, 3, H, W), as pictures, (B, H, W, 3), without a copy of those that are uint8 already."""
    pictures = frame.detach().permute(0, 2, 3, 1).cpu()
    if pictures.dtype == torch.uint8:
        return np.ascontiguousarray(pictures.numpy())
    # numpy, not torch: pictures of this size are too small for threads.
    levels: Float = np.rint(pictures.float().numpy() * 255)
    return levels.clip(0, 255).astype(np.uint8, order="C")


def recur(
    model: Model,
    source: ViewSource,
    *,
    detach_every: int = 0,
    targets: range | None = None,
    spec: WindowSpec | None = None,
    start: Any = None,
) -> Iterator[tuple[int, Step]]:
    """Run a model over a segment, pass by pass, feeding back its outputs and state.

    Args:
        model: any model.
        source: of the views.
        detach_every: truncate backpropagation through feedback and state after so many outputs; 0 for never.
        targets: the positions to fill, ascending by one; None for all. Training takes the middle of a clip, so that no
            window is mirrored.
        spec: in place of the model's own, with as many neighbours; training draws other windows.
        start: initial state of the last pass, from `Model.recall`.

    Yields:
        (position, step) of the last pass, in order, with the current state.
    """
    spec, n = spec or model.spec, source.n_frames
    wanted = range(n) if targets is None else targets
    prepared = model.prepare(source) if model.prepares else None
    for number, direction in enumerate(spec.passes):
        is_last = number == len(spec.passes) - 1
        previous: Previous | None = None
        state: Any = start if is_last else None
        ready: dict[int, Step] = {}
        n_attached = 0
        for t in wanted if direction == "forward" else wanted[::-1]:
            target = source.view(t)
            if t not in ready:
                if detach_every and n_attached >= detach_every:
                    state, n_attached = _detach(state), 0
                    previous = None if previous is None else previous._replace(frame=previous.frame.detach())
                neighbours = [source.view(i) for i in spec.neighbour_indices(t, n)]
                references = [source.view(i) for i in (spec.references.indices(t, n) if spec.references else ())]
                step = model.step(Window(target, neighbours, references, previous, prepared), state, number)
                state, ready = step.state, {**step.further, t: step}
            step = ready.pop(t)._replace(state=state)
            n_attached += 1
            if spec.previous:
                previous = Previous(t, composite(target.frame, target.hole, step.fill), target.hole)
            if is_last:
                yield t, step
                source.drop_before(spec.oldest_needed(t + 1, n), keep=spec.bank(n))
            elif step.record is not None:
                source.keep_record(t, step.record)


class CachedSource:
    """The part of a `ViewSource` that keeps features and records until they are dropped."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._features: dict[int, Any] = {}
        self._records: dict[int, Any] = {}
        self._tables: list[dict[int, Any]] = [self._features, self._records]

    def keep_record(self, index: int, record: Any) -> None:
        """See `ViewSource`."""
        self._records[index] = record

    def forget_features(self) -> None:
        """Encode again from here on: the weights have changed, or a backward pass has freed the graph."""
        self._features.clear()

    def drop_before(self, index: int, keep: range = range(0)) -> None:
        """See `ViewSource`."""
        for table in self._tables:
            for old in [i for i in table if i < index and i not in keep]:
                del table[old]

    def _view(self, index: int, frame: Tensor, hole: Tensor, original: Original | None = None) -> View:
        if index not in self._features:
            self._features[index] = self._model.encode(frame, hole)
        return View(index, frame, hole, self._features[index], self._records.get(index), original)


class ClipSource(CachedSource):
    """A clip in memory, each frame of which is masked and encoded once.

    Args:
        model: encodes the frames.
        clip: (B, T, 3, H, W), RGB in [0, 1]; pixels inside the holes are not used.
        holes: (B, T, 1, H, W), 1 = missing.
    """

    def __init__(self, model: Model, clip: Tensor, holes: Tensor) -> None:
        super().__init__(model)
        self.n_frames = clip.shape[1]
        self._clip, self._holes = clip, holes
        self._frames: dict[int, tuple[Tensor, Tensor]] = {}
        self._tables.append(self._frames)

    def view(self, index: int) -> View:
        """See `SegmentViews`."""
        if index not in self._frames:
            hole = self._holes[:, index]
            frame = self._clip[:, index] * (1 - hole)
            if self._model.spec.takes_uint8:
                frame, hole = torch.from_numpy(to_uint8(frame)).permute(0, 3, 1, 2), hole.cpu() > 0.5
            self._frames[index] = frame, hole
        return self._view(index, *self._frames[index])


def unroll(model: Model, clip: Tensor, holes: Tensor, *, detach_every: int = 0, targets: range | None = None) -> Tensor:
    """Fill a clip in memory; see `ClipSource` and `recur` for the arguments.

    Returns:
        (B, T, 3, H, W): the fills of the targets, not composited.
    """
    steps = recur(model, ClipSource(model, clip, holes), detach_every=detach_every, targets=targets)
    return torch.stack([step.fill for _, step in steps], dim=1)


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
