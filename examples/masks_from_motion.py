"""Make masks without drawing: whatever differs from the median of a video of a camera that stands still.

    python examples/masks_from_motion.py IN MASKS_FOLDER

A starting point for footage from a tripod. Look at the masks before using them: vidfill preview IN --mask MASKS_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from vidfill.video.display import displayed
from vidfill.video.read import Reader

N_SAMPLES, DIFFERENCE = 25, 30


def main(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with Reader(source) as reader:
        every = max(1, reader.info.n_frames // N_SAMPLES)
        samples = [displayed(frame, reader.info) for frame in reader.frames() if frame.index % every == 0]
        background = np.median(samples, axis=0)
        for frame in reader.frames():
            differs = np.abs(displayed(frame, reader.info) - background).max(axis=2) > DIFFERENCE
            solid = cv2.morphologyEx(differs.astype(np.uint8) * 255, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
            cv2.imwrite(str(folder / f"{frame.index:05}.png"), cv2.dilate(solid, np.ones((7, 7), np.uint8)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
