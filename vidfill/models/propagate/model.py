"""Filling without learned weights: known pixels of other frames, aligned with the target.

Candidates for each hole are frames registered by one homography, frames registered by the motion of a moving object,
chains of optical flow from earlier and later frames, and a spatial fill that is held steady over time. Each has an
expected error; the lowest errors win.

Source: the stages of flow- and homography-guided completion (Gao et al., ECCV 2020; Lee et al., ICCV 2019), with
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

from vidfill.align.homography import HomographyRefiner, Matrix
from vidfill.models.base import Detail, Model, ReferenceSpec, Step, View, Window, WindowSpec, to_uint8
from vidfill.models.propagate.candidates import Candidate, Region, weighted
from vidfill.models.propagate.chains import Carried, Chain, carry, go_on
from vidfill.models.propagate.objects import Moving, bring_moving, find_moving
from vidfill.models.propagate.poses import Pose, between, choose, place, register
from vidfill.models.propagate.seen import Seen, look_at
from vidfill.models.propagate.spatial import spatial_candidate
from vidfill.video.frame import Float, Rgb

N_REFERENCES = 12
N_COVER = 6
OUTPUT_ERROR = 2.0  # grey levels, added to the error of the previous output
FEEDBACK = 0.5  # largest weight of the previous output
FEEDBACK_LEVELS = 20.0
MIDDLE_GREY = 127


class FromLater(NamedTuple):
    """What the backward pass keeps of a frame, in few bytes."""

    pose: Pose
    rgb: Rgb | None  # (h, w, 3), what the chain from later frames brought into its region; None for nothing
    error: NDArray[np.uint8] | None  # (h, w), expected error in grey levels, 255 where it shows nothing


class Propagation(NamedTuple):
    """State of a pass for one clip."""

    poses: Mapping[int, Pose] = MappingProxyType({})  # of the window (backward) or of the previous frame (forward)
    chain: Chain | None = None  # at the previous frame
    refined: Mapping[int, Matrix] = MappingProxyType({})  # previous target from reference (forward)


class ClipWindow(NamedTuple):
    """The window of one clip of the batch in the forward pass."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which is not used
    seen: Mapping[int, Seen]  # by position
    records: Mapping[int, FromLater]  # by position
    views: Mapping[int, View]  # by position
    before: Rgb | None  # (H, W, 3), the previous output; None at the start

    @property
    def target(self) -> Seen:
        """The frame to fill."""
        return self.seen[self.index]

    def poses(self, state: Propagation) -> dict[int, Pose]:
        """Poses of the frames of the window and of the previous one."""
        return {i: record.pose for i, record in self.records.items()} | dict(state.poses)


StateT = TypeVar("StateT")


class ClipStep(NamedTuple, Generic[StateT]):
    """`Step` of one clip."""

    fill: Float  # (H, W, 3), 0 to 255
    state: StateT
    invented: Float | None = None  # (H, W)
    detail: Detail | None = None


class Propagating(Model, Generic[StateT]):
    """A model that gathers real pixels of other frames in two passes, one clip of the batch at a time.

    The backward pass finds the poses of the frames and carries pixels from later frames; `fill` is the forward pass.
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
        """See `Model.step`; the backward pass fills nothing."""
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
        """One step of the forward pass for one clip; the state is None at the start."""


class Propagate(Propagating[Propagation]):
    """Real pixels of other frames wherever there are any, weighted by how well they fit around the hole.

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
            fill[region.box.slices][pixels] = mixed(gathered, candidates, pixels)
        return ClipStep(fill, next_state(window, gathered))


def _step_back(index: int, seen: Mapping[int, Seen], state: Propagation) -> tuple[FromLater, Propagation]:
    """Find the poses of the window's frames, and carry pixels of later frames into the target's hole."""
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

    region: Region
    candidates: list[Candidate]  # real pixels of other frames
    from_earlier: Carried | None  # by the chain from earlier frames; one of the candidates, too
    brought: Candidate | None  # the previous output, aligned by `motion`
    motion: Matrix | None  # (3, 3), target from previous frame; None where unknown
    refined: dict[int, Matrix]  # target from reference


def gather(window: ClipWindow, state: Propagation, *, invented: Float | None = None) -> Gathered | None:
    """Collect the candidates for the target of a window; None for one that has no hole or is all hole.

    Where `invented`, (H, W), is above 0 the previous output shows what no frame shows, which is no evidence.
    """
    index, seen, before, poses = window.index, window.seen, window.before, window.poses(state)
    region = region_of(window.target)
    if region is None:
        return None
    guesses = _guesses(index, poses, state)
    candidates, refined = registered(index, seen, guesses, region)
    objects = find_moving(index, region, seen, guesses | refined)
    whole = None if before is None else np.dstack((before, np.full(before.shape[:2], 255, np.uint8)))
    evidence = whole
    if before is not None and invented is not None:
        evidence = np.dstack((before, np.where(invented > 0, 0, 255).astype(np.uint8)))
    candidates += _moved(objects, index, seen, evidence, region)
    from_earlier = _carry(state.chain, region, poses, index)
    if from_earlier is not None:
        candidates.append(from_earlier.candidate)
    candidates += from_later(window.records[index])
    motion = between(poses[index - 1], poses[index]) if index - 1 in poses else None
    brought = _brought_along(whole, motion, region)
    return Gathered(region, candidates, from_earlier, brought, motion, refined)


def from_later(record: FromLater) -> list[Candidate]:
    """What the backward pass brought to a frame, if anything, as a candidate."""
    if record.rgb is None or record.error is None:
        return []
    return [Candidate(record.rgb, np.asarray(record.error < 255), record.error.astype(np.float32), 1)]


def without_region(window: ClipWindow) -> Float:
    """(H, W, 3): the frame itself; for one that is all hole the previous output, or grey."""
    frame = window.target
    if not frame.known.any() and window.before is None:
        return np.full_like(frame.rgb, MIDDLE_GREY, np.float32)
    return (frame.rgb if window.before is None or frame.known.any() else window.before).astype(np.float32)


def next_state(window: ClipWindow, gathered: Gathered | None) -> Propagation:
    """State for the next frame."""
    poses = {window.index: window.records[window.index].pose}
    if gathered is None:
        return Propagation(poses, go_on(window.index, window.target, None, None))
    chain = go_on(window.index, window.target, gathered.region, gathered.from_earlier)
    return Propagation(poses, chain, gathered.refined)


def mixed(gathered: Gathered, candidates: list[Candidate], pixels: tuple[NDArray[np.intp], ...]) -> Float:
    """(P, 3): weighted mean of the candidates, moved towards the previous output where the two nearly agree.

    A small difference from the previous output is noise, a large one is a change of the scene.
    """
    mean, before = weighted(candidates, pixels), gathered.brought
    if before is None:
        return mean
    difference = before.rgb[pixels] - mean
    weight = FEEDBACK * np.exp(-np.abs(difference).mean(axis=1) / FEEDBACK_LEVELS) * before.valid[pixels]
    return np.asarray(mean + weight[:, None] * difference, np.float32)


def region_of(frame: Seen) -> Region | None:
    """None where there is no hole or nothing else."""
    known = frame.known
    return None if known.all() or not known.any() else Region(frame.rgb, known)


def _carry(chain: Chain | None, region: Region | None, poses: Mapping[int, Pose], index: int) -> Carried | None:
    if chain is None or region is None:
        return None
    matrix = between(poses[chain.position], poses[index])
    return carry(chain, region, np.eye(3) if matrix is None else matrix, chain.position - index)


def _guesses(index: int, poses: Mapping[int, Pose], state: Propagation) -> dict[int, Matrix]:
    """Target from frame: by the poses, or better by the matrices refined for the previous frame."""
    matrices = {i: between(pose, poses[index]) for i, pose in poses.items() if i != index}
    step = None if state.chain is None else matrices.get(state.chain.position)
    if step is not None:
        matrices |= {i: step @ matrix for i, matrix in state.refined.items() if matrices.get(i) is not None}
    return {i: matrix for i, matrix in matrices.items() if matrix is not None}


def registered(
    index: int, seen: Mapping[int, Seen], guesses: Mapping[int, Matrix], region: Region
) -> tuple[list[Candidate], dict[int, Matrix]]:
    """The references that uncover the hole, each registered to the target, with their refined matrices."""
    frame = seen[index]
    guesses = {i: matrix for i, matrix in guesses.items() if i in seen}
    chosen = choose(index, ~frame.known, seen, guesses, n_max=N_REFERENCES, n_cover=N_COVER)
    refiner = HomographyRefiner(frame.grey, frame.keypoints.points)
    candidates, refined = [], {}
    for i in chosen:
        matrix = refiner.refine(guesses[i], seen[i].grey, seen[i].known)
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
    """Moving objects, from the frames that show them and from the previous output."""
    candidates = []
    for moving in objects:
        candidates += bring_moving(moving, index, region, seen)
        along = _brought_along(before, moving.matrices.get(index - 1), region)
        if along is not None:
            error = along.error + np.float32(OUTPUT_ERROR)
            candidates.append(along._replace(error=np.asarray(error, np.float32)))
    return candidates


def _brought_along(before: Rgb | None, motion: Matrix | None, region: Region) -> Candidate | None:
    """The previous output, (H, W, 4), aligned by a homography from it."""
    return None if before is None or motion is None else region.bring(before, motion, -1)
