"""A still scene seen by a moving camera: what is behind every hole is known exactly."""

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]


def painted(height: int, width: int, *, seed: int = 0) -> Rgb:
    """A smooth random picture with corners for keypoints and nothing finer than bilinear sampling keeps."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (6, 14, 30):
        noise = rng.uniform(-1, 1, (cells, cells * width // height, 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = picture.min(), picture.max()
    return np.asarray((30 + 195 * (picture - low) / (high - low)).round(), np.uint8)


def seen_through(scene: Rgb, scene_from_frame: NDArray[np.float64], size_wh: tuple[int, int]) -> Rgb:
    """The frame in which each pixel shows the scene at `scene_from_frame` of it."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpPerspective(scene, scene_from_frame, size_wh, flags=flags), np.uint8)


def shift(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def box_hole(height: int, width: int, box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """A hole: True in the box (x0, y0, x1, y1)."""
    hole = np.zeros((height, width), np.bool_)
    hole[box[1] : box[3], box[0] : box[2]] = True
    return hole
