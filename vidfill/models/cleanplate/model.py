"""The default model: real pixels where any frame shows them, a painting where none does.

The candidates of `propagate` come first. What none of them shows is painted once, in the best frame for it; this frame,
a plate, is remembered and warped to the other frames. A new plate is painted only for what no plate covers, or where
a plate no longer fits.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from vidfill.align.homography import HomographyRefiner
from vidfill.models.cleanplate.choice import choose_frames
from vidfill.models.cleanplate.completion import complete
from vidfill.models.cleanplate.layer import MIN_PLATE_ERROR, TRANSITION, PaintedLayer, lowest_error
from vidfill.models.cleanplate.painter import WithPainter
from vidfill.models.cleanplate.plates import Plate, PlateTarget, bring, make_plate
from vidfill.models.propagate import model as propagate
from vidfill.models.propagate.candidates import weighted
from vidfill.models.propagate.model import ClipStep, ClipWindow, Propagating, Propagation
from vidfill.models.propagate.poses import Pose, between
from vidfill.models.propagate.spatial import fill_smoothly, spatial_candidate
from vidfill.video.frame import Bool, Float, Remembered, Rgb

_log = logging.getLogger("vidfill")

MAX_PLATES = 4
MIN_INTERVAL = 4  # frames between two paintings: where plates are lost at once, more of them only flicker
SETTLED_FRAMES = 24  # without a painting: the next one is likely to last, and made at the source's own size
MAX_NEW_ERROR = 25.0  # grey levels at the target's rim: a worse plate of another frame is not used


class PlateState(NamedTuple):
    """State of the forward pass for one clip."""

    propagation: Propagation = Propagation()
    plates: tuple[Plate, ...] = ()  # those in use, the oldest first, then those that could not be aligned
    opacity: Float | None = None  # (H, W) in [0, 1], of the painting in the previous output; None where unknown
    n_frames: int = SETTLED_FRAMES  # since the last painting


class CleanPlate(Propagating[PlateState], WithPainter):
    """Propagation, and a painter for what no frame shows.

    The backward pass is that of `propagate`. Parameters: those of `PainterNetwork`. Deterministic.
    """

    def remember(self, state: Any) -> tuple[Remembered, ...]:
        """The plates, as pictures; see `Model.remember`."""
        plates: Sequence[Plate] = () if state is None else state[0].plates
        shapes = [(plate.picture.shape, plate.seen.rgbk.shape) for plate in plates]
        scales = [(large[0] / small[0], large[1] / small[1]) for large, small in shapes]
        return tuple(Remembered(plate.picture, scale) for plate, scale in zip(plates, scales, strict=True))

    def recall(self, pictures: Sequence[Remembered]) -> Any:
        """The state that begins with these plates; see `Model.recall`."""
        plates = []
        for picture, scale in pictures:
            height, width = (max(1, round(side / s)) for side, s in zip(picture.shape[:2], scale, strict=True))
            plates.append(make_plate(picture, (height, width), None))
        return (PlateState(plates=tuple(plates)),) if plates else None

    def fill(self, window: ClipWindow, state: PlateState | None) -> ClipStep[PlateState]:
        """See `Propagating.fill`."""
        old = state or PlateState()
        gathered = propagate.gather(window, old.propagation, invented=old.opacity)
        fill = propagate.without_region(window)
        propagation = propagate.next_state(window, gathered)
        painted = np.zeros(fill.shape[:2], np.float32)
        after = PlateState(propagation, tuple(plate._replace(map=None) for plate in old.plates), None, old.n_frames + 1)
        if gathered is None:
            if not window.target.known.any():  # the previous output again, or grey
                after = after._replace(opacity=np.ones_like(painted) if window.before is None else old.opacity)
            return ClipStep(fill, after, painted if after.opacity is None else after.opacity)
        region = gathered.region
        real_error = lowest_error(gathered.candidates, region.hole.shape)
        spatial = spatial_candidate(region, gathered.candidates, gathered.brought)
        inside = np.nonzero(region.hole)
        real = region.rgb.astype(np.float32)
        real[inside] = propagate.mixed(gathered, [*gathered.candidates, spatial], inside)
        layer = PaintedLayer(region, real_error, spatial.error, _brought(old.opacity, gathered))
        if layer.left.any():
            poses = window.poses(old.propagation)
            after = self._paint_layer(layer, window, gathered, after._replace(plates=old.plates), poses)
        opacity = layer.opacity()
        blend = real + opacity[..., None] * (layer.rgb - real)
        fill[region.box.slices][inside] = blend[inside]
        painted[region.box.slices] = opacity
        original = window.views[window.index].original
        detail = layer.detail(opacity, painted.shape, None if original is None else original.size)
        return ClipStep(fill, after._replace(opacity=painted), painted, detail)

    def _paint_layer(
        self,
        layer: PaintedLayer,
        window: ClipWindow,
        gathered: propagate.Gathered,
        state: PlateState,
        poses: Mapping[int, Pose],
    ) -> PlateState:
        """Align the plates, paint new ones for what they leave, and choose which to remember."""
        here, frame = window.index, window.target
        refiner = HomographyRefiner(frame.grey, frame.keypoints.points)
        flow = None if gathered.from_earlier is None else gathered.from_earlier.flow
        target = PlateTarget(frame, poses[here], gathered.region, gathered.motion, flow)
        lost = []
        for plate in state.plates:
            brought = bring(plate, target, refiner)
            if brought is None:
                lost.append(plate._replace(map=None))
            else:
                layer.add(brought)
        is_aged, is_settled = layer.is_aged, state.n_frames >= SETTLED_FRAMES
        if (layer.is_open or is_aged) and state.n_frames >= MIN_INTERVAL:
            chosen = [here] if is_aged else choose_frames(layer.left, target, here, window.seen, poses)
            for i in chosen:
                known = [] if is_aged else [part.plate for part in layer.parts]
                new = self._paint_plate(i, window, poses, known, at_own_size=is_settled)
                brought = None if new is None else bring(new, target, refiner)
                if brought is None or (i != here and brought.plate.error > MAX_NEW_ERROR):
                    continue
                if is_aged:
                    brought = brought._replace(plate=brought.plate._replace(fade=0.0))
                layer.add(brought)
                state = state._replace(n_frames=0)
                if not layer.is_open:
                    break
        plates = layer.plates(MAX_PLATES)
        return state._replace(plates=(plates + tuple(reversed(lost)))[:MAX_PLATES])

    def _paint_plate(
        self, i: int, window: ClipWindow, poses: Mapping[int, Pose], plates: Sequence[Plate], *, at_own_size: bool
    ) -> Plate | None:
        """Complete a frame of the window by real pixels, plates and the painter; None if there is nothing to paint."""
        frame, pose = window.seen[i], poses[i]
        region = propagate.region_of(frame)
        if region is None:
            return None
        guesses = {j: between(poses[j], pose) for j in window.seen if j != i}
        known = {j: matrix for j, matrix in guesses.items() if matrix is not None}
        candidates, _ = propagate.registered(i, window.seen, known, region)
        candidates += propagate.from_later(window.records[i])
        missing = region.hole & (lowest_error(candidates, region.hole.shape) > MIN_PLATE_ERROR + TRANSITION / 2)
        picture = region.rgb.copy()
        is_real = np.nonzero(region.hole & ~missing)
        if len(is_real[0]):
            picture[is_real] = weighted(candidates, is_real).round().clip(0, 255)
        refiner = HomographyRefiner(frame.grey, frame.keypoints.points)
        for plate in plates:
            brought = bring(plate._replace(map=None), PlateTarget(frame, pose, region), refiner)
            if brought is not None:
                covered = brought.valid & missing
                picture[covered] = brought.rgb[covered].round()
                missing &= ~covered
        if not missing.any():
            return None
        whole = frame.rgb
        whole[region.box.slices] = picture
        size = frame.known.shape
        hole = np.zeros(size, np.bool_)
        hole[region.box.slices] = missing
        original = window.views[i].original
        if original is not None and at_own_size:
            # Enlarging would otherwise mix the black of the missing pixels into their rim.
            whole[region.box.slices] = fill_smoothly(whole[region.box.slices], ~missing)
            whole, hole = _enlarged(whole, frame.known, hole, original.read())
        self.n_painted += 1
        _log.info("painted %d pixels for frame %d, in frame %d of the segment", int(hole.sum()), window.index, i)
        return make_plate(complete(self.network, whole, hole), size, pose)


def _brought(opacity: Float | None, gathered: propagate.Gathered) -> Float:
    """(h, w): the opacity of the previous output on the target's region; -1 where unknown."""
    region = gathered.region
    if opacity is None or gathered.motion is None:
        return np.full(region.hole.shape, -1, np.float32)
    matrix = region.from_frame(gathered.motion)
    return np.asarray(cv2.warpPerspective(opacity, matrix, region.size_wh, borderValue=(-1.0,)), np.float32)


def _enlarged(small: Rgb, known: Bool, hole: Bool, original: Rgb) -> tuple[Rgb, Bool]:
    """A frame at the source's own size and its hole: known pixels of the original, the others enlarged."""
    height, width = original.shape[:2]
    size_wh = (width, height)
    filled = cv2.resize(small, size_wh, interpolation=cv2.INTER_CUBIC)
    unknown = cv2.resize((~known).astype(np.float32), size_wh, interpolation=cv2.INTER_LINEAR) > 0
    missing = cv2.resize(hole.astype(np.float32), size_wh, interpolation=cv2.INTER_LINEAR) > 0.5
    return np.where(unknown[..., None], filled, original).astype(np.uint8), np.asarray(missing)
