"""Remove the walker from the example clip with the command line, and say how close the result is to the truth.

    python examples/demo.py [FOLDER]

Writes out.mp4 and a sheet with before and after, sheet.png, into FOLDER (demo/ unless told otherwise).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.metrics.quality import psnr

CLIP = Path(os.path.relpath(Path(__file__).parent / "clip"))
Picture = NDArray[np.uint8]


def vidfill(*arguments: str | Path) -> None:
    """Run one command as a user would, and show it."""
    words = [str(word) for word in arguments]
    print("$ vidfill", *words, flush=True)
    subprocess.run([sys.executable, "-m", "vidfill", *words], check=True)


def pictures(path: Path) -> Iterator[Picture]:
    """Every frame of a video as RGB."""
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def hole_psnr(result: Path) -> tuple[float, float, float]:
    """PSNR inside the masks in dB, mean over the frames: of the result, of per-frame Telea, of doing nothing."""
    scores = []
    masks = sorted((CLIP / "masks").iterdir())
    clips = pictures(result), pictures(CLIP / "scene.mp4"), pictures(CLIP / "truth.mp4")
    for file, filled, scene, truth in zip(masks, *clips, strict=True):
        mask = np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), np.uint8)
        telea = np.asarray(cv2.inpaint(scene, cv2.dilate(mask, np.ones((9, 9), np.uint8)), 5, cv2.INPAINT_TELEA))
        scores.append([psnr(picture, truth, mask > 127) for picture in (filled, telea.astype(np.uint8), scene)])
    ours, telea_db, nothing = np.mean(scores, axis=0)
    return float(ours), float(telea_db), float(nothing)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    scene, output = CLIP / "scene.mp4", folder / "out.mp4"
    vidfill("remove", scene, "--mask", CLIP / "masks", "-o", output, "-y")
    vidfill(
        "preview", scene, "--with", output, "--cells", "6", "--columns", "2", "-o", folder / "sheet.png", "-y", "-q"
    )
    ours, telea, nothing = hole_psnr(output)
    print("\nPSNR inside the hole against the clip without the walker, mean of all frames (higher is better):")
    for name, score in (("vidfill", ours), ("OpenCV Telea, frame by frame", telea), ("doing nothing", nothing)):
        print(f"  {name:<30}{score:6.2f} dB")
    print(f"\nLook at {output} and {folder / 'sheet.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo"))
