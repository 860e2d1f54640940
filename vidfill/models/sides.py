"""Any model on pictures that straight still borders part: each side is filled from itself, as a clip of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.align.membrane import membrane
from vidfill.align.sides import Sides, find_sides
from vidfill.models.base import Model, Previous, Step, View, composite
from vidfill.models.propagate.model import to_bytes
from vidfill.video.frame import Remembered

MIN_SIDE_PX = 16
MAX_FRAMES = 12  # in which borders are looked for


class Part(NamedTuple):
    """What the model gets of one side.

    Attributes:
        box: (x0, y0, x1, y1), half-open, of whole multiples of `WindowSpec.multiple`.
        own: (1, 1, h, w), 1 on the side itself; what else lies in the box is missing.
    """

    box: tuple[int, int, int, int]
    own: Tensor

    def cut(self, values: Tensor) -> Tensor:
        """(B, C, h, w) of (B, C, H, W)."""
        x0, y0, x1, y1 = self.box
        return values[..., y0:y1, x0:x1]


class Parted(NamedTuple):
    """How a segment is parted.

    Attributes:
        sides: None where the picture is one.
        parts: of the sides that the model fills, those of one colour left out; empty where the picture is one.
    """

    sides: Sides | None
    parts: tuple[Part, ...]


class State(NamedTuple):
    """Of a pass.

    Attributes:
        parted: None before the first step of a pass.
        states: the model's own for each part, or the one for the whole picture.
        outputs: the output before for each part, filled beyond its side as well; empty for a whole picture.
    """

    parted: Parted | None
    states: tuple[Any, ...]
    outputs: tuple[Previous, ...] = ()


class Record(NamedTuple):
    """What a pass leaves for the next one, with the model's own records for each part, or for the whole picture."""

    parted: Parted
    records: tuple[Any, ...]


class Features(NamedTuple):
    """What the model encoded of a frame: of the whole, and of each part that a step has asked for."""

    whole: Any
    parts: dict[int, Any]


class SideBySide(Model):
    """A model that fills each side of a straight still border from that side alone.

    Borders are looked for once a segment, in the frames of the first step's window. Without any, and for several
    clips at once, the model runs as it would by itself.

    Args:
        model: fills the sides.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.spec, self.sizes = model.spec, model.sizes

    def encode(self, frame: Tensor, hole: Tensor) -> Features:
        """See `Model.encode`."""
        return Features(self.model.encode(frame, hole), {})

    @property
    def remembers(self) -> bool:
        """As the model does."""
        return self.model.remembers

    def remember(self, state: State | None) -> tuple[Remembered, ...]:
        """See `Model.remember`; nothing of a picture that is parted."""
        if state is None or state.parted is None or state.parted.sides is not None:
            return ()
        return self.model.remember(state.states[0])

    def recall(self, pictures: Sequence[Remembered]) -> State | None:
        """See `Model.recall`."""
        inner = self.model.recall(pictures)
        return None if inner is None else State(None, (inner,))

    def step(
        self,
        target: View,
        neighbours: Sequence[View],
        references: Sequence[View],
        previous: Previous | None,
        state: State | None,
    ) -> Step:
        """See `Model.step`."""
        parted = None if state is None else state.parted
        if parted is None:
            window = {view.index: view for view in [*neighbours, *references, target]}
            record = target.record
            few = [window[i] for i in sorted(window)][:: -(-len(window) // MAX_FRAMES)]
            parted = self._part(few) if record is None else record.parted
        old = () if state is None or (state.parted is None and parted.sides is not None) else state.states
        views = (target, *neighbours, *references)
        n = 1 + len(neighbours)
        outputs: list[Previous] = []
        if parted.sides is None:
            whole = [_whole(view) for view in views]
            step = self.model.step(whole[0], whole[1:n], whole[n:], previous, old[0] if old else None)
            steps = [step]
        else:
            steps = []
            for k, part in enumerate(parted.parts):
                cut = [self._cut(view, k, part) for view in views]
                before = state.outputs[k] if state is not None and state.outputs and previous is not None else None
                steps.append(self.model.step(cut[0], cut[1:n], cut[n:], before, old[k] if old else None))
                output = composite(cut[0].frame, cut[0].hole, steps[k].fill)
                outputs.append(Previous(target.index, output, cut[0].hole))
            step = _joined(target, parted.sides, parted.parts, steps)
        has_record = any(s.record is not None for s in steps)
        return step._replace(
            state=State(parted, tuple(s.state for s in steps), tuple(outputs)),
            record=Record(parted, tuple(s.record for s in steps)) if has_record else None,
        )

    def _part(self, views: Sequence[View]) -> Parted:
        """Look for borders."""
        if len(views[0].frame) != 1:
            return Parted(None, ())
        known = [view.hole[0, 0].float().cpu().numpy() < 0.5 for view in views]
        sides = find_sides([to_bytes(view.frame)[0] for view in views], known)
        if sides is None:
            return Parted(None, ())
        chosen = [k for k in range(1, int(sides.labels.max()) + 1) if k not in sides.flat]
        return Parted(sides, tuple(self._part_of(sides.labels == k, views[0].frame) for k in chosen))

    def _part_of(self, own: NDArray[np.bool_], like: Tensor) -> Part:
        box = []
        for axis in (0, 1):
            at = np.flatnonzero(own.any(axis=axis))
            size, multiple = own.shape[1 - axis], self.spec.multiple
            start = max(0, min(int(at[0]), size - MIN_SIDE_PX)) // multiple * multiple
            stop = min(size, max(int(at[-1]) + 1, start + MIN_SIDE_PX))
            box.append((start, min(size, -(-stop // multiple) * multiple)))
        (x0, x1), (y0, y1) = box
        inside = np.ascontiguousarray(own[y0:y1, x0:x1])
        return Part((x0, y0, x1, y1), torch.from_numpy(inside).to(like)[None, None])

    def _cut(self, view: View, k: int, part: Part) -> View:
        frame = part.cut(view.frame) * part.own
        hole = torch.maximum(part.cut(view.hole), 1 - part.own)
        parts = view.features.parts
        if k not in parts:
            parts[k] = self.model.encode(frame, hole)
        record = None if view.record is None else view.record.records[k]
        return View(view.index, frame, hole, parts[k], record)


def _whole(view: View) -> View:
    record = None if view.record is None else view.record.records[0]
    return view._replace(features=view.features.whole, record=record)


def _joined(target: View, sides: Sides, parts: Sequence[Part], steps: Sequence[Step]) -> Step:
    """The sides' fills in one picture, with the sides of one colour and the blur of the borders."""
    fill = torch.zeros_like(target.frame)
    invented = torch.zeros_like(target.hole)
    for part, step in zip(parts, steps, strict=True):
        x0, y0, x1, y1 = part.box
        fill[..., y0:y1, x0:x1] = composite(part.cut(fill), part.own, step.fill)
        if step.invented is not None:
            invented[..., y0:y1, x0:x1] = composite(part.cut(invented), part.own, step.invented)
    picture = composite(target.frame, target.hole, fill)[0].permute(1, 2, 0).float().cpu().numpy().copy()
    hole = target.hole[0, 0].cpu().numpy() > 0.5
    for label in sorted(sides.flat):
        own = sides.labels == label
        if (own & hole).any():
            x, y, w, h = cv2.boundingRect(own.astype(np.uint8))
            inside = np.s_[y : y + h, x : x + w]
            filled = membrane(picture[inside], (hole | ~own)[inside])
            picture[inside] = np.where(own[inside][..., None], filled, picture[inside])
    picture = membrane(picture, hole & (sides.labels == 0))
    is_known = all(step.invented is not None for step in steps) and bool(steps)
    whole = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None].to(target.frame)
    return Step(whole, invented=invented if is_known else None)
