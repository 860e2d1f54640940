"""The contract that every model keeps, and the one time loop that runs it.

A model is a per-frame function with a declared window: it says in `Model.spec` which neighbours, references and
feedback it needs, and `recur` feeds it, in the engine (frames arriving one by one from a decoder) as in training
(`unroll`, a clip in memory). There is no second loop.

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
from vidfill.video.frame import Float, Remembered


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
        frame: (B, 3, H, W) float in [0, 1], or uint8 (see `WindowSpec.takes_uint8`); zero inside the hole.
        hole: (B, 1, H, W) float, 1 = missing, or bool.
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
        frame: as in `View`, composited: the fill inside the hole, the source outside.
        hole: where `frame` is filled rather than seen.
    """

    index: int  # type: ignore[assignment]  # a position; nobody asks these tuples where a value lies
    frame: Tensor
    hole: Tensor


class Window(NamedTuple):
    """What a step may look at.

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
        box: (x0, y0, x1, y1), half-open, in its pixels.
        rgb: (h, w, 3) uint8.
        alpha: (h, w) float32 in [0, 1], how far it replaces the enlarged fill.
    """

    frame_size: tuple[int, int]
    box: tuple[int, int, int, int]
    rgb: NDArray[np.uint8]
    alpha: Float


class Step(NamedTuple):
    """What one step gives back.

    Attributes:
        fill: (B, 3, H, W) float in [0, 1]; only its part inside the hole is used.
        state: NamedTuple of tensors carried to the next step of this pass, None if the model has none.
        record: anything about this frame that the model's next pass wants to see again, None if nothing.
        invented: (B, 1, H, W) float in [0, 1], 1 where the fill shows what no frame of the clip shows; None if unknown.
        detail: for each clip of the batch; empty for a model that has none.
        further: the same, state apart, for positions after the target in the direction of the pass that the same
            computation has filled. They get no step of their own.
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
    def prepares(self) -> bool:
        """Whether the model looks at a segment as a whole before its first step."""
        return type(self).prepare is not Model.prepare

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

    def prepare(self, segment: SegmentViews) -> Any:
        """What depends on the segment as a whole (flow between its frames, say); called once, before the first pass.

        Returns:
            Given to each step as `Window.prepared`. By default None, and nothing is read.
        """
        return None

    @abstractmethod
    def encode(self, frame: Tensor, hole: Tensor) -> Any:
        """What depends on one frame alone; called once a frame and cached for as long as a window needs it.

        Args:
            frame: as in `View`.
            hole: as in `View`.
        """

    @abstractmethod
    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        """Fill one frame, and with it as many of the next ones as come out of the same computation.

        Args:
            window: the frame to fill and those around it.
            state: what the previous step of this pass returned, None at a segment's start.
            pass_index: position in `WindowSpec.passes` of the pass that this step belongs to.
        """


class ViewSource(SegmentViews, Protocol):
    """Where `recur` gets its views: a clip in memory, or a decoder behind a cache."""

    def keep_record(self, index: int, record: Any) -> None:
        """Hold a record for the next pass; it comes back as `View.record`."""
        ...

    def drop_before(self, index: int, keep: range = range(0)) -> None:
        """Positions below `index` will not be asked for again, those in `keep` apart."""
        ...


def composite(frame: Tensor, hole: Tensor, fill: Tensor) -> Tensor:
    """The fill inside the hole, the frame outside, in the frame's type; (B, C, H, W), float or uint8 as in `View`."""
    if frame.dtype == torch.uint8:
        return torch.where(hole, fill.mul(255).round_().clamp_(0, 255).byte(), frame)
    return torch.lerp(frame, fill.to(frame.dtype), hole.to(frame.dtype))


def to_uint8(frame: Tensor) -> NDArray[np.uint8]:
    """The frames of a view, (B, 3, H, W), as pictures, (B, H, W, 3); those that are uint8 already are not copied."""
    pictures = frame.detach().permute(0, 2, 3, 1).cpu()
    if pictures.dtype == torch.uint8:
        return np.ascontiguousarray(pictures.numpy())
    # numpy, not torch: pictures of this size are too small to share out over threads.
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
    """Run a model over a segment, pass by pass, feeding back its own outputs and state.

    Args:
        model: any model of the contract.
        source: gives the views; told through `drop_before` what is no longer needed.
        detach_every: cut the gradient through feedback and state every so many outputs; 0 for never.
        targets: the positions to fill, ascending by one; None for all. Training takes the middle of a clip, so that no
            window has to be mirrored.
        spec: the window in the place of the model's own, of as many neighbours; training draws smaller ones.
        start: the state in which the last pass begins, from `Model.recall`.

    Yields:
        (position, step) of the last pass, in order; the state is that of the last step.
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


class ClipSource:
    """A clip in memory; each frame is cut from it and encoded once, when it is first asked for.

    Args:
        model: encodes the frames.
        clip: (B, T, 3, H, W), RGB in [0, 1]; what lies inside the holes is not looked at.
        holes: (B, T, 1, H, W), 1 = missing.
    """

    def __init__(self, model: Model, clip: Tensor, holes: Tensor) -> None:
        self.n_frames = clip.shape[1]
        self._model, self._clip, self._holes = model, clip, holes
        self._frames: dict[int, tuple[Tensor, Tensor]] = {}
        self._features: dict[int, Any] = {}
        self._records: dict[int, Any] = {}

    def view(self, index: int) -> View:
        """The encoded frame at a position."""
        if index not in self._frames:
            hole = self._holes[:, index]
            frame = self._clip[:, index] * (1 - hole)
            if self._model.spec.takes_uint8:
                frame, hole = torch.from_numpy(to_uint8(frame)).permute(0, 3, 1, 2), hole.cpu() > 0.5
            self._frames[index] = frame, hole
        frame, hole = self._frames[index]
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
        for table in (self._frames, self._features, self._records):
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
