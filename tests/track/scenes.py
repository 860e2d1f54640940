"""Small scenes with an object whose place on every frame follows from the construction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.clips import Pictures, moving_texture, texture
from vidfill.video.frame import Bool

SIZE = (72, 112)


def disc(centre: tuple[float, float], radius: float, size: tuple[int, int] = SIZE) -> Bool:
    y, x = np.mgrid[: size[0], : size[1]]
    return np.asarray((x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2)


def painted(background: Pictures, centres: NDArray[np.float64], radius: float = 13) -> tuple[Pictures, Bool]:
    """A bright patterned disc that moves over a background: the pictures and where it is."""
    pattern = (texture((60, 60), seed=5) // 3 + np.array([150, 120, 0], np.uint8)).astype(np.uint8)
    pictures, masks = background.copy(), np.zeros(background.shape[:3], np.bool_)
    for i, (x, y) in enumerate(centres):
        masks[i] = disc((x, y), radius, background.shape[1:3])
        rows, columns = np.nonzero(masks[i])
        pictures[i][rows, columns] = pattern[(rows - round(y) + 30) % 60, (columns - round(x) + 30) % 60]
    return pictures, masks


def crossing(n: int = 20, *, step: float = 2.0) -> tuple[Pictures, Bool]:
    """From left to right, staying in the picture."""
    centres = np.stack([25 + step * np.arange(n), np.full(n, 36.0)], axis=1)
    return painted(moving_texture(n, SIZE, shift=(1, 0)) // 2, centres)


def leaving(n: int = 24) -> tuple[Pictures, Bool]:
    """Out of the picture at its right edge, gone by the end."""
    centres = np.stack([80 + 3.0 * np.arange(n), np.full(n, 36.0)], axis=1)
    return painted(moving_texture(n, SIZE, shift=(1, 0)) // 2, centres)


def hidden(n: int = 28) -> tuple[Pictures, Bool]:
    """Behind a pillar for good."""
    centres = np.stack([np.minimum(22 + 2.0 * np.arange(n), 65), np.full(n, 36.0)], axis=1)
    pictures, masks = painted(moving_texture(n, SIZE, shift=(1, 0)) // 2, centres)
    pictures[:, :, 45:85] = texture((SIZE[0], 40), seed=9)
    masks[:, :, 45:85] = False
    return pictures, masks
