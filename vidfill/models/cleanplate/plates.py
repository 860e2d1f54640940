"""Plates: painted pictures that are remembered, and brought to the frames that need them.

A plate is a whole frame in which the painter has filled what no frame shows. For each later frame a map says which
point of the plate each of its points shows; the plate is resampled once, by that map. Where the scene is rigid the map
is a homography, fitted anew for each frame, so that nothing drifts; elsewhere it follows the flow round the hole.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.align.candidates import BAND_PX, Region
from vidfill.align.fields import carry_inwards
from vidfill.align.homography import Matrix, Tracker
from vidfill.align.poses import Pose, between, register
from vidfill.align.seen import Seen

Rgb = NDArray[np.uint8]
Bool = NDArray[np.bool_]
Float = NDArray[np.float32]

CELL_PX = 4
RIGID_MARGIN = 1.0
PULL = 0.25
MAX_MATCH = 24.0
MATCH_SIGMAS_PX = (6.0, 15.0, 40.0)
MIN_BAND = 30


class Plate(NamedTuple):
    """A painted frame.

    Attributes:
        index: position of the frame in the segment.
        pose: its place.
        seen: its picture, known everywhere, with keypoints.
        coords: (ceil(H / 4), ceil(W / 4), 2) float32: the point (x, y) of the plate, in pixels, that the centre of each
            cell of the last frame shows; None where that is not known yet.
        error: mean difference from the last frame round its hole, in grey levels, once the colours are matched.
    """

    index: int  # type: ignore[assignment]
    pose: Pose
    seen: Seen
    coords: Float | None = None
    error: float = 0.0


class Brought(NamedTuple):
    """A plate on a target's region.

    Attributes:
        plate: with its new map.
        rgb: (h, w, 3) float32, 0 to 255, its colours matched to the rim.
        valid: (h, w) bool, where it lies inside the plate.
    """

    plate: Plate
    rgb: Float
    valid: Bool


def bring(
    plate: Plate, index: int, frame: Seen, pose: Pose, tracker: Tracker, region: Region, motion: Matrix | None, flow: Float | None
) -> Brought | None:
    """A plate as the target shows it; None where the two cannot be brought together.

    Args:
        plate: with the map of the frame before.
        index: position of the target.
        frame: the target.
        pose: of the target.
        tracker: of the target.
        region: of the target's hole.
        motion: (3, 3), target from the frame before, None where unknown.
        flow: (h, w, 2) on the region, pixels: what the motion leaves over, None where unknown.
    """
    shape = frame.rgbk.shape[:2]
    grid = _grid(shape)
    followed = None
    if plate.coords is not None and motion is not None:
        followed = _advance(plate.coords, grid, motion, region, flow)
    guess = between(plate.pose, pose) if followed is None else _homography(followed, grid, region)
    matrix = None
    if plate.index == index:
        matrix = np.eye(3)
    elif guess is not None:
        matrix = tracker.refine(guess, plate.seen.grey, plate.seen.known)
    if matrix is None and followed is None:
        matrix = register(plate.seen, frame)
        if matrix is None:
            matrix = guess
    if matrix is None and followed is None:
        return None
    if matrix is None:
        return _rendered(plate, followed, region)
    rigid = _rendered(plate, _by_homography(matrix, grid), region)
    if followed is None:
        return rigid
    other = _rendered(plate, followed, region)
    if rigid.plate.error <= other.plate.error + RIGID_MARGIN:
        pulled = followed + PULL * (rigid.plate.coords - followed)
        return _rendered(plate, np.asarray(pulled, np.float32), region)
    return other


def _rendered(plate: Plate, coords: Float, region: Region) -> Brought:
    """Resample a plate by a map and match its colours to the rim of the hole."""
    height, width = plate.seen.rgbk.shape[:2]
    rows, columns = coords.shape[:2]
    dense = cv2.resize(coords, (columns * CELL_PX, rows * CELL_PX), interpolation=cv2.INTER_LINEAR)
    dense = dense[region.rows, region.columns]
    x, y = np.ascontiguousarray(dense[..., 0]), np.ascontiguousarray(dense[..., 1])
    rgb = cv2.remap(plate.seen.rgb, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    valid = (x >= -0.5) & (y >= -0.5) & (x <= width - 0.5) & (y <= height - 0.5)
    size = 2 * BAND_PX + 1
    near = cv2.dilate(region.hole.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    band = near & region.known & valid
    if int(band.sum()) < MIN_BAND:
        return Brought(plate._replace(coords=coords, error=255.0), rgb, valid)
    difference = np.clip(region.rgb - rgb, -MAX_MATCH, MAX_MATCH).astype(np.float32)
    field = carry_inwards(difference, band, sigmas_px=MATCH_SIGMAS_PX)
    error = float(np.abs(region.rgb[band] - rgb[band] - field[band]).mean())
    return Brought(plate._replace(coords=coords, error=error), (rgb + field).clip(0, 255), valid)


def _grid(shape: tuple[int, int]) -> Float:
    """(ceil(H / 4), ceil(W / 4), 2): centres of the cells, (x, y) in pixels."""
    rows, columns = (-(-side // CELL_PX) for side in shape)
    y, x = np.mgrid[:rows, :columns].astype(np.float32) * CELL_PX + (CELL_PX - 1) / 2
    return np.dstack((x, y))


def _by_homography(matrix: Matrix, grid: Float) -> Float:
    """The map of a homography that leads from the plate to the target."""
    points = cv2.perspectiveTransform(grid.reshape(1, -1, 2), np.linalg.inv(matrix))
    return np.asarray(points.reshape(grid.shape), np.float32)


def _advance(coords: Float, grid: Float, motion: Matrix, region: Region, flow: Float | None) -> Float:
    """The map of the frame before, followed to the target."""
    points = grid.copy()
    if flow is not None:
        x0, y0, x1, y1 = region.box
        whole = np.zeros((grid.shape[0] * CELL_PX, grid.shape[1] * CELL_PX, 2), np.float32)
        whole[y0:y1, x0:x1] = np.where(region.hole[..., None], flow, 0)
        share = np.zeros(whole.shape[:2], np.float32)
        share[y0:y1, x0:x1] = region.hole
        # Only the hole's own flow counts: outside nothing of the plate is used.
        field = carry_inwards(whole, share > 0, sigmas_px=(2.0, 6.0, 15.0))
        points += cv2.resize(field, grid.shape[1::-1], interpolation=cv2.INTER_AREA)
    before = cv2.perspectiveTransform(points.reshape(1, -1, 2), np.linalg.inv(motion)).reshape(grid.shape)
    at = (before + 0.5) / CELL_PX - 0.5
    inside = ((at >= 0) & (at <= np.array(grid.shape[1::-1]) - 1)).all(axis=2)
    moved = cv2.remap(coords, at.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # Beyond the edge of the frame before, the map goes on at the scale of one.
    beyond = (before - np.clip(before, grid[0, 0], grid[-1, -1])).astype(np.float32)
    return np.asarray(np.where(inside[..., None], moved, moved + beyond), np.float32)


def _homography(coords: Float, grid: Float, region: Region) -> Matrix | None:
    """Roughly the homography, target from plate, of a map near the hole."""
    x0, y0, x1, y1 = (side // CELL_PX for side in region.box)
    source, target = coords[y0 : y1 + 1, x0 : x1 + 1].reshape(-1, 2), grid[y0 : y1 + 1, x0 : x1 + 1].reshape(-1, 2)
    if len(source) < 4:
        return None
    step = max(1, len(source) // 200)
    matrix, _ = cv2.findHomography(source[::step], target[::step])
    return None if matrix is None else np.asarray(matrix, np.float64)
