"""A folder of tiny clips in the layout that the protocol reads: cameras that pan over painted scenes."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tests.align.scenes import box_hole, painted, seen_through, shift

NAMES = ("ant", "bee", "cow", "dog")


def write_clips(folder: Path, *, n_frames: int, names: Sequence[str] = NAMES) -> Path:
    """Clips of `n_frames`, each with a box for an object that stands still in the picture."""
    for number, name in enumerate(names):
        for kind in ("frames", "masks"):
            (folder / name / kind).mkdir(parents=True)
        scene = painted(280, 520, seed=number)
        for i in range(n_frames):
            frame = seen_through(scene, shift(10 + 5 * i, 10), (432, 240))
            mask = box_hole(240, 432, (100 + 10 * number, 80, 150 + 10 * number, 120)).astype(np.uint8) * 255
            cv2.imwrite(str(folder / name / "frames" / f"{i:05d}.png"), frame[..., ::-1])
            cv2.imwrite(str(folder / name / "masks" / f"{i:05d}.png"), mask)
    return folder
