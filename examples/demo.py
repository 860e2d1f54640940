"""Remove a person from real footage, then a walker from a drawn street whose truth is known, to measure the result.

    python examples/demo.py [FOLDER]

Writes into FOLDER (demo/ unless told otherwise):
    before.mp4, after.mp4   the footage (examples/footage), and what `vidfill remove` makes of it
    before_after.jpg        two moments of both, with the mask between them: the picture on top of the README
    drawn.mp4               the drawn street (examples/clip) without the walker
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from vidfill.evaluate.quality import psnr
from vidfill.removal.preview import sheet
from vidfill.video.display import encode_picture, overlay
from vidfill.video.frame import Bool, Rgb

HERE = Path(os.path.relpath(Path(__file__).parent))
FOOTAGE, CLIP = HERE / "footage", HERE / "clip"
MOMENTS = 0.05, 0.9  # of the footage's length


def vidfill(*arguments: str | Path) -> None:
    """Run one command as a user would, and show it."""
    words = [str(word) for word in arguments]
    print("$ vidfill", *words, flush=True)
    subprocess.run([sys.executable, "-m", "vidfill", *words], check=True)


def pictures(path: Path) -> Iterator[Rgb]:
    """Every frame of a video as RGB."""
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def masks(folder: Path) -> Iterator[Bool]:
    """Every mask of a folder, in the order of the frames."""
    for path in sorted(folder.iterdir()):
        yield np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) > 127


def before_after(before: Path, mask_folder: Path, after: Path) -> Rgb:
    """Two moments as rows: the source, the mask over it, the result."""
    rows = list(zip(pictures(before), masks(mask_folder), pictures(after), strict=True))
    cells = []
    for moment in MOMENTS:
        source, mask, result = rows[int(moment * len(rows))]
        cells += [("before", source), ("mask", overlay(source, mask)), ("after", result)]
    return sheet(cells, columns=3)


def hole_psnr(result: Path) -> tuple[float, float, float]:
    """PSNR inside the masks in dB, mean over the frames: of the result, of per-frame Telea, of doing nothing."""
    scores = []
    clips = pictures(result), pictures(CLIP / "scene.mp4"), pictures(CLIP / "truth.mp4")
    for mask, filled, scene, truth in zip(masks(CLIP / "masks"), *clips, strict=True):
        grown = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8))
        telea = np.asarray(cv2.inpaint(scene, grown, 5, cv2.INPAINT_TELEA), np.uint8)
        scores.append([psnr(picture, truth, mask) for picture in (filled, telea, scene)])
    ours, telea_db, nothing = np.mean(scores, axis=0)
    return float(ours), float(telea_db), float(nothing)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    before, after, picture = folder / "before.mp4", folder / "after.mp4", folder / "before_after.jpg"
    shutil.copyfile(FOOTAGE / "in.mp4", before)

    print("Real footage: the woman is removed, the dog stays.")
    vidfill("remove", before, "--mask", FOOTAGE / "masks", "-o", after, "-y")
    shown = before_after(before, FOOTAGE / "masks", after)
    picture.write_bytes(encode_picture(shown, ".jpg"))

    print("\nA drawn street, where what is behind the walker is known:")
    vidfill("remove", CLIP / "scene.mp4", "--mask", CLIP / "masks", "-o", folder / "drawn.mp4", "-y")
    ours, telea, nothing = hole_psnr(folder / "drawn.mp4")
    print("PSNR inside the hole against the truth, mean of all frames (higher is better):")
    for name, score in (("vidfill", ours), ("OpenCV Telea, frame by frame", telea), ("doing nothing", nothing)):
        print(f"  {name:<30}{score:6.2f} dB")

    print(f"\nLook at {picture}, or play {after} beside {before}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo"))
