"""Filling without learned weights: known pixels of other frames, brought to the place they have in this one.

Candidates for each hole are frames registered directly by one homography, frames registered by the motion of something
that moves by itself, chains of flow from before and from after, and a spatial fill that is held steady in time. Each
carries the error to expect of it, and the least errors win.

Sources: the stages of flow- and homography-guided completion (Gao et al., ECCV 2020; Lee et al., ICCV 2019), with
hand-made decisions in place of networks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.align.homography import Matrix, Tracker
from vidfill.models.base import Detail, Model, ReferenceSpec, Step, View, Window, WindowSpec, to_uint8
from vidfill.models.propagate.candidates import Candidate, Region, weighted
from vidfill.models.propagate.chains import Carried, Chain, carry, go_on
from vidfill.models.propagate.objects import Moving, bring_moving, find_moving
from vidfill.models.propagate.poses import Pose, between, choose, place, register
from vidfill.models.propagate.seen import Seen, look_at
from vidfill.models.propagate.spatial import spatial_candidate

Rgb = NDArray[np.uint8]
Float = NDArray[np.float32]

N_REFERENCES = 12
N_COVER = 6
OUTPUT_ERROR = 2.0  # grey levels: what the output before adds to its own misses
FEEDBACK = 0.5
FEEDBACK_LEVELS = 20.0
MIDDLE_GREY = 127


class FromLater(NamedTuple):
    """What the backward pass leaves of a frame, in few bytes."""

    pose: Pose  # its place
    rgb: Rgb | None  # (h, w, 3) uint8, what the chain from the later frames brought into its region; None if nothing
    error: NDArray[np.uint8] | None  # (h, w) uint8, its expected error in grey levels, 255 where it shows nothing


class Propagation(NamedTuple):
    """What a pass carries along for one clip."""

    # Of the frames in the window (backward), of the frame before (forward).
    poses: Mapping[int, Pose] = MappingProxyType({})
    chain: Chain | None = None  # the frame before, filled as far as the chain goes
    refined: Mapping[int, Matrix] = MappingProxyType({})  # target from reference for the frame before (forward)


class ClipWindow(NamedTuple):
    """What one clip of the batch offers at one step of the forward pass."""

    # Position of the target.
    index: int  # type: ignore[assignment]  # a position; nobody asks these tuples where a value lies
    seen: Mapping[int, Seen]  # the frames by position
    records: Mapping[int, FromLater]  # what the backward pass left for them
    views: Mapping[int, View]  # the frames as they were given
    before: Rgb | None  # (H, W, 3) uint8, the output before; None at the start

    @property
    def target(self) -> Seen:
        """The frame to fill."""
        return self.seen[self.index]

    def poses(self, state: Propagation) -> dict[int, Pose]:
        """The places of the frames, and of the one before."""
        return {i: record.pose for i, record in self.records.items()} | dict(state.poses)


StateT = TypeVar("StateT")


class ClipStep(NamedTuple, Generic[StateT]):
    """The step of one clip."""

    fill: Float  # (H, W, 3) float32, 0 to 255
    state: StateT  # for the next frame
    # (H, W) float32 in [0, 1], 1 where the fill shows what no frame shows; None if that is not known.
    invented: Float | None = None
    detail: Detail | None = None  # a part of the fill at the source's own size, None where there is none


class Propagating(Model, Generic[StateT]):
    """A model that gathers real pixels of other frames in two passes, clip by clip of the batch.

    The backward pass places the frames relative to each other and carries pixels from the later frames; `fill` is the
    forward pass.
    """

    spec = WindowSpec(
        references=ReferenceSpec(stride=3, near=4, reach=48),
        previous=True,
        passes=("backward", "forward"),
        takes_uint8=True,
    )

    def encode(self, frame: Tensor, hole: Tensor) -> list[Seen]:
        """What alignment needs of a frame, for each clip of the batch."""
        return [look_at(rgb, ~missing) for rgb, missing in zip(to_uint8(frame), hole[:, 0].numpy(), strict=True)]

    def step(self, window: Window, state: tuple[Any, ...] | None, pass_index: int) -> Step:
        """Fill the frames of a batch one by one (see `Model.step`); the backward pass fills nothing."""
        target = window.target
        views = {view.index: view for view in [*window.references, target]}
        states = state or (None,) * len(target.features)
        seen = [{i: view.features[b] for i, view in views.items()} for b in range(len(states))]
        if self.spec.passes[pass_index] == "backward":
            pairs = [_step_back(target.index, seen[b], old or Propagation()) for b, old in enumerate(states)]
            records, after = zip(*pairs, strict=True)
            return Step(torch.zeros(target.frame.shape), after, records)
        before = [None] * len(states) if window.previous is None else to_uint8(window.previous.frame)
        done = []
        for b, old in enumerate(states):
            later = {i: view.record[b] for i, view in views.items()}
            done.append(self.fill(ClipWindow(target.index, seen[b], later, views, before[b]), old))
        invented = [d.invented for d in done if d.invented is not None]
        return Step(
            torch.from_numpy(np.stack([d.fill for d in done]) / np.float32(255)).permute(0, 3, 1, 2),
            tuple(d.state for d in done),
            invented=torch.from_numpy(np.stack(invented)[:, None]) if invented else None,
            detail=tuple(d.detail for d in done),
        )

    @abstractmethod
    def fill(self, window: ClipWindow, state: StateT | None) -> ClipStep[StateT]:
        """One step of the forward pass for one clip.

        Args:
            window: the frames.
            state: what the step before returned, None at the start.
        """


class Propagate(Propagating[Propagation]):
    """Real pixels of other frames wherever there are any, held together by how well they fit round the hole.

    No parameters. Deterministic.
    """

    sizes: dict[str, Any] = {}

    def fill(self, window: ClipWindow, state: Propagation | None) -> ClipStep[Propagation]:
        """See `Propagating.fill`."""
        gathered = gather(window, state or Propagation())
        fill = without_region(window)
        if gathered is not None:
            region = gathered.region
            candidates = [*gathered.candidates, spatial_candidate(region, gathered.candidates, gathered.brought)]
            pixels = np.nonzero(region.hole)
            fill[region.rows, region.columns][pixels] = mixed(gathered, candidates, pixels)
        return ClipStep(fill, next_state(window, gathered))


def _step_back(index: int, seen: Mapping[int, Seen], state: Propagation) -> tuple[FromLater, Propagation]:
    """Place the window's frames, and carry the later frames' pixels into the target's hole."""
    frame = seen[index]
    poses = place(seen, state.poses, index)
    region = region_of(frame)
    carried = _carry(state.chain, region, poses, index)
    record = FromLater(poses[index], None, None)
    if carried is not None:
        rgb, valid, error = carried.candidate[:3]
        record = FromLater(poses[index], rgb, np.where(valid, error.round().clip(0, 254), 255).astype(np.uint8))
    return record, Propagation(poses, go_on(index, frame, region, carried))


class Gathered(NamedTuple):
    """What other frames offer for the hole of one frame."""

    region: Region  # where the candidates live
    candidates: list[Candidate]  # real pixels of other frames, each with its expected error
    from_earlier: Carried | None  # what the chain from the earlier frames brought; one of the candidates too
    brought: Candidate | None  # the output before this one by the homography of the two frames
    motion: Matrix | None  # (3, 3), target from the frame before; None where unknown
    refined: dict[int, Matrix]  # target from reference, for the next frame


def gather(window: ClipWindow, state: Propagation, *, invented: Float | None = None) -> Gathered | None:
    """Collect the candidates for the target of a window.

    Args:
        window: the frames.
        state: of the pass.
        invented: (H, W), above 0 where the output before shows what no frame shows, which is no evidence.

    Returns:
        None for a frame without a hole, or with nothing but hole.
    """
    index, seen, before, poses = window.index, window.seen, window.before, window.poses(state)
    region = region_of(window.target)
    if region is None:
        return None
    guesses = _guesses(index, poses, state)
    candidates, refined = registered(index, seen, guesses, region)
    objects = find_moving(index, region, seen, guesses | refined)
    evidence = None if before is None else np.dstack((before, _opaque(before, invented)))
    candidates += _moved(objects, index, seen, evidence, region)
    from_earlier = _carry(state.chain, region, poses, index)
    if from_earlier is not None:
        candidates.append(from_earlier.candidate)
    candidates += from_later(window.records[index])
    motion = between(poses[index - 1], poses[index]) if index - 1 in poses else None
    whole = None if before is None else np.dstack((before, _opaque(before, None)))
    brought = _brought_along(whole, motion, region)
    return Gathered(region, candidates, from_earlier, brought, motion, refined)


def from_later(record: FromLater) -> list[Candidate]:
    """What the backward pass left for a frame, as a candidate, if anything."""
    if record.rgb is None or record.error is None:
        return []
    return [Candidate(record.rgb, np.asarray(record.error < 255), record.error.astype(np.float32), 1, "later")]


def without_region(window: ClipWindow) -> Float:
    """(H, W, 3): a frame without a hole as it is; for one that is all hole the output before it, or grey."""
    frame = window.target
    if frame.known.any():
        return frame.rgb.astype(np.float32)
    return (
        np.full_like(frame.rgb, MIDDLE_GREY, np.float32) if window.before is None else window.before.astype(np.float32)
    )


def next_state(window: ClipWindow, gathered: Gathered | None) -> Propagation:
    """What the next frame's step needs of this one's."""
    poses = {window.index: window.records[window.index].pose}
    if gathered is None:
        return Propagation(poses, go_on(window.index, window.target, None, None))
    chain = go_on(window.index, window.target, gathered.region, gathered.from_earlier)
    return Propagation(poses, chain, gathered.refined)


def mixed(gathered: Gathered, candidates: list[Candidate], pixels: tuple[NDArray[np.intp], ...]) -> Float:
    """(P, 3): the candidates weighted by their errors, and drawn towards the output before where they nearly agree."""
    return _steadied(weighted(candidates, pixels), gathered.brought, pixels)


def region_of(frame: Seen) -> Region | None:
    """None where there is no hole, or nothing but hole."""
    known = frame.known
    return None if known.all() or not known.any() else Region(frame.rgb, known)


def _carry(chain: Chain | None, region: Region | None, poses: Mapping[int, Pose], index: int) -> Carried | None:
    if chain is None or region is None:
        return None
    matrix = between(poses[chain.position], poses[index])
    return carry(chain, region, np.eye(3) if matrix is None else matrix, chain.position - index)


def _guesses(index: int, poses: Mapping[int, Pose], state: Propagation) -> dict[int, Matrix]:
    """Target from frame: by the poses, or better by what was refined for the frame before."""
    matrices = {i: between(pose, poses[index]) for i, pose in poses.items() if i != index}
    step = None if state.chain is None else matrices.get(state.chain.position)
    if step is not None:
        matrices |= {i: step @ matrix for i, matrix in state.refined.items() if matrices.get(i) is not None}
    return {i: matrix for i, matrix in matrices.items() if matrix is not None}


def registered(
    index: int, seen: Mapping[int, Seen], guesses: Mapping[int, Matrix], region: Region
) -> tuple[list[Candidate], dict[int, Matrix]]:
    """The references that uncover the hole, each registered directly to the target."""
    frame = seen[index]
    known = frame.known
    guesses = {i: matrix for i, matrix in guesses.items() if i in seen}
    chosen = choose(index, ~known, seen, guesses, n_most=N_REFERENCES, n_cover=N_COVER)
    tracker = Tracker(frame.grey, known, frame.keypoints.points)
    candidates = []
    refined = {}
    for i in chosen:
        matrix = tracker.refine(guesses[i], seen[i].grey, seen[i].known)
        if matrix is None:
            matrix = register(seen[i], frame)
        if matrix is None:
            continue
        refined[i] = matrix / np.linalg.norm(matrix)
        candidate = region.bring(seen[i].rgbk, matrix, i - index)
        if candidate is not None:
            candidates.append(candidate)
    return candidates, refined


def _moved(
    objects: Sequence[Moving], index: int, seen: Mapping[int, Seen], before: Rgb | None, region: Region
) -> list[Candidate]:
    """What moves by itself, from the frames that show it and from the output before this one."""
    candidates = []
    for moving in objects:
        candidates += bring_moving(moving, index, region, seen)
        along = _brought_along(before, moving.matrices.get(index - 1), region)
        if along is not None:
            error = along.error + np.float32(OUTPUT_ERROR)
            candidates.append(along._replace(error=np.asarray(error, np.float32), kind="earlier"))
    return candidates


def _opaque(rgb: Rgb, invented: Float | None) -> Rgb:
    """(H, W) uint8: 255 where a picture counts."""
    if invented is None:
        return np.full(rgb.shape[:2], 255, np.uint8)
    return np.where(invented > 0, 0, 255).astype(np.uint8)


def _brought_along(before: Rgb | None, motion: Matrix | None, region: Region) -> Candidate | None:
    """The output before this one, (H, W, 4) with 255 where it counts, brought here by the homography of the two."""
    if before is None or motion is None:
        return None
    return region.bring(before, motion, -1)


def _steadied(mixed: Float, before: Candidate | None, pixels: tuple[NDArray[np.intp], ...]) -> Float:
    """Drawn towards the output before where they nearly agree: a small difference is noise, a large one is news."""
    if before is None:
        return mixed
    difference = before.rgb[pixels] - mixed
    share = FEEDBACK * np.exp(-np.abs(difference).mean(axis=1) / FEEDBACK_LEVELS) * before.valid[pixels]
    return np.asarray(mixed + share[:, None] * difference, np.float32)
