"""Plates: painted frames that are remembered and warped to the frames that need them.

A plate is a whole frame in which the painter has filled what no frame shows. For each later frame a map gives the point
of the plate that each point shows, and the plate is resampled once, by that map. Where the scene is rigid the map is a
homography, fitted to each frame, so that nothing drifts; elsewhere it follows the optical flow around the hole.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from vidfill.align.homography import HomographyRefiner, Matrix
from vidfill.models.propagate.candidates import Region
from vidfill.models.propagate.fields import extrapolate
from vidfill.models.propagate.poses import Pose, between, register
from vidfill.models.propagate.seen import Seen, look_at
from vidfill.video.frame import Bool, Float, Rgb

CELL_PX = 4
FLOW_SIGMAS_PX = (2.0, 6.0, 15.0)
RIGID_MARGIN = 1.0  # grey levels by which a homography may differ more at the rim than the flow
RIGID_PULL = 0.25  # of the way to the homography, in one frame
SAME_PX = 0.1  # a homography fitted to noise moves less; a still picture stays still
MAX_MATCH = 24.0  # grey levels
MATCH_SIGMAS_PX = (6.0, 15.0, 40.0)
MIN_BAND = 30
UNKNOWN_ERROR = 255.0


class Plate(NamedTuple):
    """A painted frame."""

    picture: Rgb  # (H', W', 3), at the source's own size where that is larger than the working size
    seen: Seen  # the picture at the working size, (H, W), known everywhere
    pose: Pose | None = None  # None where not known yet
    n_frames: int = 0  # for how many frames it has been used
    fade: float = 1.0  # in (0, 1], how far it has replaced the plates below it
    # (ceil(H / 4), ceil(W / 4), 2): for the centre of each cell of the previous frame its point (x, y) of the plate, in
    # pixels; None before the first frame.
    map: Float | None = None
    error: float = 0.0  # mean difference from the previous frame at its rim after colour matching, in grey levels


class Brought(NamedTuple):
    """A plate warped to a target's region."""

    plate: Plate  # with its map for the target
    rgb: Float  # (h, w, 3), 0 to 255, colours matched to the rim
    valid: Bool  # (h, w), where the plate shows something
    correction: Float  # (h, w, 3), grey levels added by colour matching


def make_plate(picture: Rgb, size: tuple[int, ...], pose: Pose | None) -> Plate:
    """A plate of a painted picture, (H', W', 3), for a model that works on (H, W)."""
    small = picture
    if picture.shape[:2] != size:
        small = np.asarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    return Plate(picture, look_at(small, np.ones(size, np.bool_)), pose)


class PlateTarget(NamedTuple):
    """A frame to which plates are warped."""

    seen: Seen
    pose: Pose
    region: Region
    motion: Matrix | None = None  # (3, 3), target from previous frame; None where unknown
    flow: Float | None = None  # (h, w, 2) on the region, pixels, residual of the motion; None where unknown

    @property
    def grid(self) -> Float:
        """(ceil(H / 4), ceil(W / 4), 2): centres of the cells, (x, y) in pixels."""
        rows, columns = (-(-side // CELL_PX) for side in self.seen.rgbk.shape[:2])
        y, x = np.mgrid[:rows, :columns].astype(np.float32) * CELL_PX + (CELL_PX - 1) / 2
        return np.dstack((x, y))


def bring(plate: Plate, target: PlateTarget, refiner: HomographyRefiner) -> Brought | None:
    """Warp a plate, with the map of the previous frame if there is one, to a target; None where they do not match."""
    grid = target.grid
    followed = None
    guess = None if plate.pose is None else between(plate.pose, target.pose)
    if plate.map is not None and target.motion is not None:
        followed = _advance(plate.map, grid, target)
        guess = _homography(followed, grid, target.region)
    matrix = None if guess is None else refiner.refine(guess, plate.seen.grey, plate.seen.known)
    if matrix is None and followed is not None:
        return _match(plate, followed, target.region)
    if matrix is None:
        matrix = register(plate.seen, target.seen)
    if matrix is None:
        matrix = guess
    if matrix is None:
        return None
    if plate.pose is None or plate.pose.origin != target.pose.origin:
        plate = plate._replace(pose=Pose(target.pose.origin, target.pose.matrix @ matrix))
    to_plate = _by_homography(matrix, grid)
    if followed is not None:
        is_rigid = _miss(plate, to_plate, target.region) <= _miss(plate, followed, target.region) + RIGID_MARGIN
        pull = RIGID_PULL if is_rigid and _difference(to_plate, followed, target) >= SAME_PX else 0.0
        to_plate = np.asarray(followed + pull * (to_plate - followed), np.float32)
    return _match(plate, to_plate, target.region)


def _miss(plate: Plate, to_plate: Float, region: Region) -> float:
    """Mean difference between the rim of the hole and a plate warped by a map, in grey levels, without exposure."""
    rows, columns = ((part[None] + 0.5).astype(np.float32) for part in region.band)
    at_x, at_y = (columns + region.box.x0) / CELL_PX + 0.5, (rows + region.box.y0) / CELL_PX + 0.5
    x, y = cv2.split(cv2.remap(_extended(to_plate), at_x, at_y, cv2.INTER_LINEAR))
    shown = cv2.remap(plate.seen.rgb, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
    difference = region.rgb[region.band].astype(np.float32) - shown
    return float(np.abs(difference - np.median(difference, axis=0)).mean())


def render(plate: Plate, to_plate: Float, scale: tuple[float, float], region: Region) -> Rgb:
    """A plate's picture resampled by a map to a region at `scale` (vertical, horizontal) times the working size."""
    x, y = _dense(to_plate, scale, region)
    picture, size = plate.picture, plate.seen.rgbk.shape
    factor = (picture.shape[0] / size[0], picture.shape[1] / size[1])
    x, y = (x + 0.5) * factor[1] - 0.5, (y + 0.5) * factor[0] - 0.5
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _match(plate: Plate, to_plate: Float, region: Region) -> Brought:
    """Warp a plate by a map and match its colours to the rim of the hole with a smooth field."""
    size = plate.seen.rgbk.shape[:2]
    x, y = _dense(to_plate, (1.0, 1.0), region)
    rgb = cv2.remap(plate.seen.rgb, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    valid = (x >= -0.5) & (y >= -0.5) & (x <= size[1] - 0.5) & (y <= size[0] - 0.5)
    band = region.rim & valid
    if int(band.sum()) < MIN_BAND:
        plate = plate._replace(map=to_plate, error=UNKNOWN_ERROR)
        return Brought(plate, rgb, valid, np.zeros_like(rgb))
    difference = np.clip(region.rgb - rgb, -MAX_MATCH, MAX_MATCH).astype(np.float32)
    correction = extrapolate(difference, band, sigmas_px=MATCH_SIGMAS_PX)
    error = float(np.abs(region.rgb[band] - rgb[band] - correction[band]).mean())
    matched = (rgb + correction).clip(0, 255)
    return Brought(plate._replace(map=to_plate, error=error), matched, valid, correction)


def _dense(to_plate: Float, scale: tuple[float, float], region: Region) -> tuple[Float, Float]:
    """A map's x and y for each pixel of a region at another scale, in pixels of the working size."""
    box = region.box
    width, height = round(box.width * scale[1]), round(box.height * scale[0])
    columns = (box.x0 + (np.arange(width, dtype=np.float32) + 0.5) / scale[1]) / CELL_PX - 0.5
    rows = (box.y0 + (np.arange(height, dtype=np.float32) + 0.5) / scale[0]) / CELL_PX - 0.5
    at_x, at_y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    dense = cv2.remap(_extended(to_plate), at_x + 1, at_y + 1, cv2.INTER_LINEAR)
    return np.ascontiguousarray(dense[..., 0]), np.ascontiguousarray(dense[..., 1])


def _extended(to_plate: Float) -> Float:
    """One more cell on each side, extrapolated: pixels at the edge lie beyond the centres of the last cells."""
    padded = np.pad(to_plate, ((1, 1), (1, 1), (0, 0)), mode="reflect", reflect_type="odd")
    return np.asarray(padded, np.float32)


def _difference(one: Float, other: Float, target: PlateTarget) -> float:
    """The largest distance between two maps in the box round the hole, in pixels."""
    x0, y0, x1, y1 = target.region.box
    part = np.s_[y0 // CELL_PX : -(-y1 // CELL_PX), x0 // CELL_PX : -(-x1 // CELL_PX)]
    return float(np.abs(one[part] - other[part]).max())


def _by_homography(matrix: Matrix, grid: Float) -> Float:
    """The map of a homography, target from plate."""
    points = cv2.perspectiveTransform(grid.reshape(1, -1, 2), np.linalg.inv(matrix))
    return np.asarray(points.reshape(grid.shape), np.float32)


def _advance(to_plate: Float, grid: Float, target: PlateTarget) -> Float:
    """The map of the previous frame, moved to the target by its motion and flow."""
    assert target.motion is not None
    points = grid + _cell_flow(grid, target)
    before = cv2.perspectiveTransform(points.reshape(1, -1, 2), np.linalg.inv(target.motion)).reshape(grid.shape)
    at = (before + 0.5) / CELL_PX - 0.5
    x, y = (np.ascontiguousarray(at[..., axis], np.float32) for axis in (0, 1))
    moved = cv2.remap(to_plate, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # Beyond the edge of the previous frame the map continues at a scale of 1.
    beyond = before - np.clip(before, grid[0, 0], grid[-1, -1])
    return np.asarray(moved + beyond, np.float32)


def _cell_flow(grid: Float, target: PlateTarget) -> Float:
    """The flow inside the hole, extrapolated a little beyond it, for each cell."""
    if target.flow is None:
        return np.zeros_like(grid)
    region = target.region
    field = extrapolate(target.flow, region.hole, sigmas_px=FLOW_SIGMAS_PX)
    whole = np.zeros((grid.shape[0] * CELL_PX, grid.shape[1] * CELL_PX, 2), np.float32)
    whole[region.box.slices] = field
    return np.asarray(cv2.resize(whole, grid.shape[1::-1], interpolation=cv2.INTER_AREA), np.float32)


def _homography(to_plate: Float, grid: Float, region: Region) -> Matrix | None:
    """The homography, target from plate, closest to a map around the hole."""
    x0, y0, x1, y1 = (side // CELL_PX for side in region.box)
    source, target = (part[y0 : y1 + 1, x0 : x1 + 1].reshape(-1, 2) for part in (to_plate, grid))
    step = max(1, len(source) // 200)
    if len(source[::step]) < 4:
        return None
    matrix, _ = cv2.findHomography(source[::step], target[::step])
    return None if matrix is None else np.asarray(matrix, np.float64)
