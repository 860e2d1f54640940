"""Any model on pictures divided by straight still borders: each side is filled as a clip of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from vidfill.align.membrane import membrane
from vidfill.align.sides import Sides, find_sides
from vidfill.models.base import Model, Previous, SegmentViews, Step, View, Window, composite, to_uint8
from vidfill.video.frame import Bool, Box, Remembered

MIN_SIDE_PX = 16
MAX_FRAMES = 12  # in which borders are looked for


class Side(NamedTuple):
    """What the model gets of one side."""

    number: int  # among the sides that the model fills
    box: Box  # of whole multiples of `WindowSpec.multiple`
    own: Tensor  # (1, 1, h, w) bool, the side itself; what else lies in the box is missing

    def cut(self, values: Tensor) -> Tensor:
        """(B, C, h, w) of (B, C, H, W)."""
        return values[..., *self.box.slices]


class Division(NamedTuple):
    """How the pictures of a segment are divided."""

    sides: Sides | None = None  # None where the picture is not divided
    # The sides that the model fills, those of one colour left out; a single None for the whole picture.
    parts: tuple[Side | None, ...] = (None,)


class SidesState(NamedTuple):
    """State of a pass."""

    division: Division | None = None  # None before the first step of a pass
    states: tuple[Any, ...] = ()  # the model's own, for each part
    # The output before for each side, filled beyond its side as well; empty for a whole picture.
    outputs: tuple[Previous, ...] = ()


class SidesRecord(NamedTuple):
    """The model's own records of a frame, or what it prepared of a segment, for each part."""

    division: Division
    parts: tuple[Any, ...]


class SidesFeatures(NamedTuple):
    """The model's features of a whole frame, and of each side that a step has used."""

    whole: Any
    sides: dict[int, Any]


class SideBySide(Model):
    """A model that fills each side of a straight still border from that side alone.

    Borders are looked for once a segment, in the first window. Without any, and for batches of several clips, the model
    runs as it would by itself.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.spec, self.sizes = model.spec, model.sizes

    def encode(self, frame: Tensor, hole: Tensor) -> SidesFeatures:
        """See `Model.encode`."""
        return SidesFeatures(self.model.encode(frame, hole), {})

    @property
    def remembers(self) -> bool:
        """As the model does."""
        return self.model.remembers

    def remember(self, state: SidesState | None) -> tuple[Remembered, ...]:
        """See `Model.remember`; nothing of a divided picture."""
        if state is None or state.division is None or state.division.sides is not None:
            return ()
        return self.model.remember(state.states[0])

    def recall(self, pictures: Sequence[Remembered]) -> SidesState | None:
        """See `Model.recall`."""
        inner = self.model.recall(pictures)
        return None if inner is None else SidesState(None, (inner,))

    @property
    def prepares(self) -> bool:
        """As the model does."""
        return self.model.prepares

    def prepare(self, segment: SegmentViews) -> SidesRecord:
        """See `Model.prepare`."""
        n = segment.n_frames
        division = self._divide([segment.view(i) for i in range(0, n, -(-n // MAX_FRAMES))])
        return SidesRecord(division, tuple(self.model.prepare(_Part(self, segment, side)) for side in division.parts))

    def step(self, window: Window, state: SidesState | None, pass_index: int) -> Step:
        """See `Model.step`."""
        target, state = window.target, state or SidesState()
        division = state.division or self._division(window)
        states = () if state.division is None and division.sides is not None else state.states
        steps: list[Step] = []
        outputs: list[Previous] = []
        for k, side in enumerate(division.parts):
            before = window.previous
            if side is not None:
                before = state.outputs[k] if state.outputs and before is not None else None
            part = Window(
                self.part(target, side),
                [self.part(view, side) for view in window.neighbours],
                [self.part(view, side) for view in window.references],
                before,
                None if window.prepared is None else window.prepared.parts[k],
            )
            steps.append(self.model.step(part, states[k] if states else None, pass_index))
        views = {view.index: view for view in (*window.neighbours, *window.references, target)}
        # Sides of a frame that the window does not hold cannot be joined: it gets a step of its own.
        shared = [i for i in (steps[0].further if steps else ()) if all(i in s.further for s in steps)]
        further = [i for i in shared if i in views or division.sides is None]
        if division.sides is not None:
            last = views[max([target.index, *further], key=lambda i: abs(i - target.index))]
            for side, step in zip(division.parts, steps, strict=True):
                frame, hole = self.part(last, side)[1:3]
                fill = step.further.get(last.index, step).fill
                outputs.append(Previous(last.index, composite(frame, hole, fill), hole))
        after = SidesState(division, tuple(step.state for step in steps), tuple(outputs))
        others = {i: _joined(views.get(i, target), division, [s.further[i] for s in steps]) for i in further}
        return _joined(target, division, steps)._replace(state=after, further=others)

    def part(self, view: View, side: Side | None) -> View:
        """What the model gets of a frame: one side, or the whole for None."""
        features, record = view.features, view.record
        if side is None:
            return view._replace(features=features.whole, record=None if record is None else record.parts[0])
        frame = side.cut(view.frame) * side.own
        hole = torch.where(side.own, side.cut(view.hole), view.hole.new_ones(()))
        if side.number not in features.sides:
            features.sides[side.number] = self.model.encode(frame, hole)
        own = None if record is None else record.parts[side.number]
        return View(view.index, frame, hole, features.sides[side.number], own)

    def _division(self, window: Window) -> Division:
        """That of an earlier pass or of `prepare`, else from the frames of the window."""
        earlier: SidesRecord | None = window.target.record or window.prepared
        if earlier is not None:
            return earlier.division
        views = {view.index: view for view in (*window.neighbours, *window.references, window.target)}
        return self._divide([views[i] for i in sorted(views)][:: -(-len(views) // MAX_FRAMES)])

    def _divide(self, views: Sequence[View]) -> Division:
        if len(views[0].frame) != 1:
            return Division()
        known = [view.hole[0, 0].float().cpu().numpy() < 0.5 for view in views]
        sides = find_sides([to_uint8(view.frame)[0] for view in views], known)
        if sides is None:
            return Division()
        chosen = [label for label in range(1, int(sides.labels.max()) + 1) if label not in sides.flat]
        device = views[0].frame.device
        return Division(sides, tuple(self._side(k, sides.labels == label, device) for k, label in enumerate(chosen)))

    def _side(self, number: int, own: Bool, device: torch.device) -> Side:
        box = []
        for axis in (0, 1):
            at = np.flatnonzero(own.any(axis=axis))
            size, multiple = own.shape[1 - axis], self.spec.multiple
            start = max(0, min(int(at[0]), size - MIN_SIDE_PX)) // multiple * multiple
            stop = min(size, max(int(at[-1]) + 1, start + MIN_SIDE_PX))
            box.append((start, min(size, -(-stop // multiple) * multiple)))
        (x0, x1), (y0, y1) = box
        inside = np.ascontiguousarray(own[y0:y1, x0:x1])
        return Side(number, Box(x0, y0, x1, y1), torch.from_numpy(inside).to(device)[None, None])


class _Part:
    """`SegmentViews` of one part."""

    def __init__(self, sides: SideBySide, segment: SegmentViews, side: Side | None) -> None:
        self.n_frames = segment.n_frames
        self._sides, self._segment, self._side = sides, segment, side

    def view(self, index: int) -> View:
        return self._sides.part(self._segment.view(index), self._side)


def _joined(target: View, division: Division, steps: Sequence[Step]) -> Step:
    """The fills of all parts in one picture; membranes fill sides of one colour and the blur of borders."""
    sides = division.sides
    records = tuple(step.record for step in steps)
    record = None if all(own is None for own in records) else SidesRecord(division, records)
    if sides is None:
        return steps[0]._replace(record=record)
    fill = torch.zeros_like(target.frame, dtype=torch.float32)
    invented = torch.zeros_like(target.hole, dtype=torch.float32)
    for side, step in zip(division.parts, steps, strict=True):
        assert side is not None
        side.cut(fill)[:] = torch.where(side.own, step.fill, side.cut(fill))
        if step.invented is not None:
            side.cut(invented)[:] = torch.where(side.own, step.invented, side.cut(invented))
    frame = target.frame if target.frame.is_floating_point() else target.frame.float() / 255
    picture = composite(frame, target.hole, fill)[0].permute(1, 2, 0).float().cpu().numpy().copy()
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
    whole = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None].to(target.frame.device)
    return Step(whole, record=record, invented=invented if is_known else None)
