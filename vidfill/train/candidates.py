"""Candidates for training `fuse`, computed once by worker processes and kept in a ring of files.

`propagate` runs on short stretches of the training clips with holes cut into them, standing still and moving in equal
parts; what it brings and what it decides is kept for a square crop. The workers go on replacing the oldest files while
the network trains from all of them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.align.candidates import Region, mix
from vidfill.models.base import ClipSource, Previous, Step, View, recur
from vidfill.models.fuse_candidates import N_FACTS, NOTHING, Packed, pack
from vidfill.models.propagate import Decision, Propagate, State, spatial_candidates
from vidfill.train.data import TrainingData
from vidfill.train.holes import HoleKind, HoleRanges, draw_hole, render_holes
from vidfill.train.recipes import CandidateBudget

Rgb = NDArray[np.uint8]
Stretch = NDArray[np.void]  # (T,) of `frame_type`
Frames = dict[str, NDArray[np.generic]]  # the fields of `frame_type`, (T, ...) each

MAX_STRIDE = 4
# Where next to nothing but the spatial fills count there is little to decide: most of these stretches are left out.
NOTHING_FOUND = 0.7
KEPT_OF_THESE = 0.3
STILL_RANGES = HoleRanges(min_area=0.03, max_area=0.35)
N_SPATIAL = 2
NO_STATE = State({}, None, {})
NO_MOTION = np.zeros((3, 3))
STILL_KINDS: tuple[HoleKind, ...] = ("square", "strokes", "object")
MOVING_KINDS: tuple[HoleKind, ...] = ("flying square", "strokes", "object")


def frame_type(crop_px: int, n_candidates: int) -> np.dtype[np.void]:
    """One frame of a stretch, K candidates on a crop of S pixels, as numpy keeps it in a file.

    `truth` (S, S, 3) uint8; `hole` (S, S) uint8, 1 = missing; `composite` (S, S, 3) uint8, `propagate`'s output; `rgb`,
    `error` and `facts` as in `Packed`; `motion` (3, 3), from pixels of the crop before to pixels of this one.
    """
    square = (crop_px, crop_px)
    return np.dtype(
        [
            ("truth", np.uint8, (*square, 3)),
            ("hole", np.uint8, square),
            ("composite", np.uint8, (*square, 3)),
            ("rgb", np.uint8, (n_candidates, *square, 3)),
            ("error", np.uint8, (n_candidates, *square)),
            ("facts", np.float32, (n_candidates, N_FACTS)),
            ("motion", np.float64, (3, 3)),
        ]
    )


class Found(NamedTuple):
    """What `propagate` found for a clip.

    Attributes:
        stretch: of the crop.
        spatial_share: how much the spatial fills count in its mix, on average; 1 where there is no hole.
    """

    stretch: Stretch
    spatial_share: float


class _Recorder(Propagate):
    """Propagate that keeps what it decided from, cut to a crop."""

    def __init__(self, box: tuple[int, int, int, int], n_candidates: int, on_step: Callable[[], None]) -> None:
        super().__init__()
        self.box, self.n_candidates, self._on_step = box, n_candidates, on_step
        self.packed: list[Packed] = []
        self.fills: list[Rgb] = []
        self.spatial_shares: list[float] = []

    def step(
        self,
        target: View,
        neighbours: Sequence[View],
        references: Sequence[View],
        previous: Previous | None,
        state: tuple[object, ...] | None,
    ) -> Step:
        """As the model itself."""
        self._on_step()
        if target.record is None:
            return self.look_back(target, references, state)  # type: ignore[arg-type]
        (decision,) = self.decide(target, references, previous, state)  # type: ignore[arg-type]
        x0, y0, x1, y1 = self.box
        self.packed.append(pack(decision, self.box, self.n_candidates))
        self.fills.append(decision.fill[y0:y1, x0:x1].round().clip(0, 255).astype(np.uint8))
        if decision.weights is not None:
            self.spatial_shares.append(float(decision.weights[-N_SPATIAL:].sum(axis=0).mean()))
        fill = torch.from_numpy(decision.fill.transpose(2, 0, 1)[None] / np.float32(255))
        return Step(fill, (decision.state,))


def draw_stretch(
    rng: np.random.Generator, video: Path, silhouettes: Tensor, budget: CandidateBudget, short_side_px: int
) -> Stretch | None:
    """Cut a hole into a stretch of a video and see what `propagate` finds for it.

    Args:
        rng: draws everything.
        video: a clip without cuts.
        silhouettes: (N, S, S) uint8, for the holes.
        budget: sizes.
        short_side_px: of the frames.

    Returns:
        None where the video is too short, or where nothing was found and such stretches are many.
    """
    frames = _read_frames(rng, video, budget.n_frames, short_side_px)
    if len(frames) < 2 or min(frames[0].shape[:2]) < budget.crop_px:
        return None
    size = (frames[0].shape[0], frames[0].shape[1])
    moves = rng.random() < 0.5
    path = draw_hole(
        rng, len(frames), size, silhouettes,
        ranges=HoleRanges(max_area=0.22, speed_px=3.0, moving_share=float(moves)),
        kinds=MOVING_KINDS if moves else STILL_KINDS,
    )  # fmt: skip
    holes = render_holes([path], size, device=torch.device("cpu"))[0]
    box = crop_on_hole(rng, holes[:, 0].mean(dim=0).numpy(), budget.crop_px)
    if box is None:
        return None
    found = find_candidates(frames, holes[:, 0], box, budget.n_candidates)
    if found.spatial_share > NOTHING_FOUND and rng.random() > KEPT_OF_THESE:
        return None
    return found.stretch


def find_candidates(
    frames: Sequence[Rgb],
    holes: Tensor,
    box: tuple[int, int, int, int],
    n_candidates: int,
    *,
    n_kept: int | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Found:
    """See what `propagate` finds for a clip, and keep it for a square crop.

    Args:
        frames: (H, W, 3) uint8 each.
        holes: (T, H, W) float, 1 = missing.
        box: of the crop, (x0, y0, x1, y1), half-open.
        n_candidates: of a frame, beside the spatial fills.
        n_kept: the first so many frames; all where None.
        on_step: called before every step of either pass; what it raises ends the search.
    """
    recorder = _Recorder(box, n_candidates, on_step)
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
    kept = frames[:n_kept]
    with torch.inference_mode():
        for _ in islice(recur(recorder, ClipSource(recorder, clip[None], holes[None, :, None])), len(kept)):
            pass
    shares = recorder.spatial_shares
    return Found(_recorded(kept, holes[: len(kept)], recorder), float(np.mean(shares)) if shares else 1.0)


def draw_stills(rng: np.random.Generator, data: TrainingData, n_frames: int, crop_px: int) -> Frames:
    """Photos that have nothing to do with each other, with holes for which there is nothing but the spatial fills.

    Returns:
        The fields of `frame_type` for crops of `crop_px`, with those two candidates, and no motion.
    """
    size = (crop_px, crop_px)
    paths = [draw_hole(rng, 1, size, data.silhouettes, ranges=STILL_RANGES, kinds=STILL_KINDS) for _ in range(n_frames)]
    holes = render_holes(paths, size, device=torch.device("cpu"))[:, 0, 0].numpy() > 0
    frames = [_still(rng, data.photos, hole) for hole in holes]
    return {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}


def _still(rng: np.random.Generator, photos: Sequence[Tensor], hole: NDArray[np.bool_]) -> Frames:
    side = hole.shape[0]
    photo = photos[int(rng.integers(len(photos)))]
    top, left = (int(rng.integers(extent - side + 1)) for extent in photo.shape[:2])
    truth = np.ascontiguousarray(photo[top : top + side, left : left + side].cpu().numpy())
    if rng.random() < 0.5:
        truth = np.ascontiguousarray(truth[:, ::-1])
    hole[0, 0] = False  # a hole over everything has no rim
    fill = truth.copy()
    decision = Decision(fill.astype(np.float32), NO_STATE)
    if hole.any():
        region = Region(np.where(hole[..., None], np.uint8(0), truth), ~hole)
        candidates = spatial_candidates(region, None)
        pixels = np.nonzero(region.hole)
        weights = np.full((N_SPATIAL, len(pixels[0])), 1 / N_SPATIAL, np.float32)
        fill[region.rows, region.columns][pixels] = mix(candidates, weights, pixels).round().astype(np.uint8)
        decision = Decision(fill.astype(np.float32), NO_STATE, region, candidates, weights)
    packed = pack(decision, (0, 0, side, side), 0)
    if not hole.any():
        nothing = np.full((N_SPATIAL, side, side), NOTHING, np.uint8)
        same = np.stack([fill] * N_SPATIAL)
        packed = Packed(same, nothing, np.zeros((N_SPATIAL, N_FACTS), np.float32), NO_MOTION)
    return {"truth": truth, "hole": hole.astype(np.uint8), "composite": fill, **packed._asdict()}


def write_stretch(stretch: Stretch, path: Path) -> None:
    """Write a stretch; it appears under its name when complete, in the place of an older one."""
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".npy", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, stretch)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def stretches_of(folder: Path) -> list[Path]:
    """The files of a ring, sorted by name."""
    return sorted(folder.glob("[0-9]*.npy"))


def keep_computing(
    videos: Sequence[Path],
    silhouettes: Tensor,
    folder: Path,
    budget: CandidateBudget,
    short_side_px: int,
    *,
    seed: int,
    worker: int,
    should_stop: Callable[[], bool],
) -> None:
    """What a worker does: stretch after stretch, from the last one it finds of its own.

    Args:
        videos: to take stretches from.
        silhouettes: for the holes.
        folder: of the ring; made if it is not there.
        budget: sizes.
        short_side_px: of the frames.
        seed: of everything that is drawn.
        worker: its number, below `budget.n_workers`; it writes every so many-th file.
        should_stop: asked after every stretch.
    """
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    mine = range(worker, budget.n_kept, budget.n_workers)
    number = sum((folder / f"{slot:06d}.npy").exists() for slot in mine)
    attempt = int.from_bytes(os.urandom(4)) if number else 0  # not what an earlier sitting has drawn
    while not should_stop():
        rng = np.random.default_rng((seed, worker, attempt))
        attempt += 1
        stretch = draw_stretch(rng, videos[int(rng.integers(len(videos)))], silhouettes, budget, short_side_px)
        if stretch is not None:
            write_stretch(stretch, folder / f"{mine[number % len(mine)]:06d}.npy")
            number += 1


def _recorded(frames: Sequence[Rgb], holes: Tensor, recorder: _Recorder) -> Stretch:
    x0, y0, x1, y1 = recorder.box
    stretch = np.zeros(len(frames), frame_type(x1 - x0, recorder.n_candidates + N_SPATIAL))
    stretch["truth"] = [frame[y0:y1, x0:x1] for frame in frames]
    stretch["hole"] = holes[:, y0:y1, x0:x1].numpy()
    stretch["composite"] = recorder.fills
    stretch["error"] = NOTHING
    to_whole_frame = np.array([[1, 0, x0], [0, 1, y0], [0, 0, 1]], np.float64)
    for record, packed in zip(stretch, recorder.packed, strict=True):
        n = len(packed.rgb)
        record["rgb"][:n], record["error"][:n], record["facts"][:n] = packed.rgb, packed.error, packed.facts
        record["motion"] = packed.motion @ to_whole_frame
    return stretch


def _read_frames(rng: np.random.Generator, video: Path, n_frames: int, short_side_px: int) -> list[Rgb]:
    """Frames from a random place on, every one to fourth, perhaps backwards."""
    capture = cv2.VideoCapture(str(video))
    try:
        n_all = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        most = max(1, min(MAX_STRIDE, n_all // n_frames))
        stride = int(rng.integers(1, most + 1))
        first = int(rng.integers(max(1, n_all - (n_frames - 1) * stride)))
        frames: list[Rgb] = []
        for number in range(first + (n_frames - 1) * stride + 1):
            if not capture.grab():
                break
            if number >= first and (number - first) % stride == 0:
                is_read, picture = capture.retrieve()
                if is_read:
                    frames.append(_resized(np.asarray(picture[..., ::-1], np.uint8), short_side_px))
    finally:
        capture.release()
    return frames[::-1] if rng.random() < 0.5 else frames


def _resized(picture: Rgb, short_side_px: int) -> Rgb:
    scale = short_side_px / min(picture.shape[:2])
    size_wh = tuple(max(short_side_px, round(side * scale)) for side in picture.shape[1::-1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(picture), size_wh, interpolation=how), np.uint8)


def crop_on_hole(
    rng: np.random.Generator, share: NDArray[np.float32], crop_px: int
) -> tuple[int, int, int, int] | None:
    """A square that holds much of the hole.

    Args:
        rng: draws it.
        share: (H, W), how often a pixel is in the hole.
        crop_px: side of the square, at most that of the frame.

    Returns:
        (x0, y0, x1, y1), half-open; None where there is no hole.
    """
    if not share.any():
        return None
    odds = share.astype(np.float64).ravel()
    y, x = divmod(int(rng.choice(share.size, p=odds / odds.sum())), share.shape[1])
    jitter = rng.integers(-crop_px // 6, crop_px // 6 + 1, 2)
    x0 = int(np.clip(x + jitter[0] - crop_px // 2, 0, share.shape[1] - crop_px))
    y0 = int(np.clip(y + jitter[1] - crop_px // 2, 0, share.shape[0] - crop_px))
    return x0, y0, x0 + crop_px, y0 + crop_px
