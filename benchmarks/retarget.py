"""What retargeting does to the object of a clip: looked at beside plain resizing and cropping, and measured.

$ vidfill retarget clip.mp4 --mask masks/ --aspect 9:16 -o tall.mp4
$ python -m benchmarks.retarget clip.mp4 masks/ tall.mp4 sheet.png

Measured on the output itself, by matching features of the object in the source with those of the output: how much
wider the object has become for its height, and how smooth its path is. The second differences of the path in the
source, scaled as the object is, are the object's own motion; what the output has beyond them, the retargeting added.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.masks.files import open_masks
from vidfill.removal.preview import spread
from vidfill.settings import MaskSettings
from vidfill.video.display import contact_sheet, displayed, encode_picture, write_label
from vidfill.video.frame import Bool, Box, Rgb
from vidfill.video.read import Reader

MIN_MATCHES = 12


def triples(source: Path, masks: Path, result: Path) -> Iterator[tuple[Rgb, Bool, Rgb]]:
    """Source, mask and result of each frame, as a player shows them."""
    with (
        Reader(source) as before,
        Reader(result) as after,
        open_masks(MaskSettings(mask=masks), before.info, rate=before.info.rate).cursor() as cursor,
    ):
        for frame, made in zip(before.frames(), after.frames(), strict=True):
            mask = before.info.orientation.to_display(cursor.at(frame)).astype(np.bool_)
            yield displayed(frame, before.info), mask, displayed(made, after.info)


def centre_crop(picture: Rgb, size: tuple[int, int]) -> Rgb:
    """The largest part in the middle that has the aspect of a (height, width), at that size."""
    height, width = picture.shape[:2]
    scale = min(height / size[0], width / size[1])
    rows, columns = round(size[0] * scale), round(size[1] * scale)
    y, x = (height - rows) // 2, (width - columns) // 2
    return resized(picture[y : y + rows, x : x + columns], size)


def resized(picture: Rgb, size: tuple[int, int]) -> Rgb:
    """The picture at a (height, width)."""
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def motion_of(source: Rgb, mask: Bool, result: Rgb) -> NDArray[np.float64] | None:
    """(2, 3), the affine map from the object in the source to that in the result; None where too little matches."""
    finder = cv2.SIFT.create(nfeatures=3000, contrastThreshold=0.02)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    points, words = finder.detectAndCompute(cv2.cvtColor(source, cv2.COLOR_RGB2GRAY), inner)
    found, other_words = finder.detectAndCompute(cv2.cvtColor(result, cv2.COLOR_RGB2GRAY), None)
    if words is None or other_words is None:
        return None
    pairs = [p for p in cv2.BFMatcher().knnMatch(words, other_words, k=2) if len(p) == 2]
    good = [first for first, second in pairs if first.distance < 0.7 * second.distance]
    if len(good) < MIN_MATCHES:
        return None
    at = np.array([points[m.queryIdx].pt for m in good]), np.array([found[m.trainIdx].pt for m in good])
    affine, inliers = cv2.estimateAffine2D(*at, ransacReprojThreshold=1.0, maxIters=5000)
    return None if affine is None or inliers.sum() < MIN_MATCHES else np.asarray(affine, np.float64)


class Path2D:
    """The object's path through the result, and what of it is the object's own motion.

    Attributes:
        aspects: how much wider the object has become for its height, of each frame in which it was found.
    """

    def __init__(self) -> None:
        self.aspects: list[float] = []
        self._places: list[NDArray[np.float64]] = []
        self._own: list[NDArray[np.float64]] = []

    def add(self, source: Rgb, mask: Bool, result: Rgb) -> None:
        """Take the next frame."""
        box = Box.around(mask)
        affine = None if box is None else motion_of(source, mask, result)
        if affine is None or box is None:
            self._places.append(np.full(2, np.nan))
            self._own.append(np.full(2, np.nan))
            return
        self.aspects.append(float(np.hypot(*affine[:, 0]) / np.hypot(*affine[:, 1])))
        centre = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
        self._places.append(affine @ [*centre, 1])
        self._own.append(centre * np.sqrt(abs(np.linalg.det(affine[:, :2]))))

    def describe(self) -> str:
        """The measures, a line each."""
        farthest = max(self.aspects, key=lambda ratio: abs(np.log(ratio)))
        bends, own = (np.diff(np.array(places), 2, axis=0) for places in (self._places, self._own))
        added, total, natural = (np.linalg.norm(values, axis=1) for values in (bends - own, bends, own))
        return (
            f"  {len(self.aspects)} of {len(self._places)} frames matched\n"
            f"  aspect of the object: median {np.median(self.aspects):.4f}, worst {farthest:.4f}\n"
            f"  second differences, px: {np.nanpercentile(total, 95):.2f} (95 %), of the object itself "
            f"{np.nanpercentile(natural, 95):.2f}; added: median {np.nanmedian(added):.2f}, "
            f"95 % {np.nanpercentile(added, 95):.2f}"
        )


def main(source: Path, masks: Path, result: Path, output: Path, columns: int = 5) -> None:
    cv2.setRNGSeed(0)
    with Reader(source) as reader:
        shown = spread(reader.info.n_frames or sum(1 for _ in reader.frames()), columns)
    rows: list[list[tuple[str, Rgb]]] = [[], [], [], []]
    path = Path2D()
    for index, (before, mask, after) in enumerate(triples(source, masks, result)):
        path.add(before, mask, after)
        if index in shown:
            size = after.shape[0], after.shape[1]
            rows[0].append((f"source {index}", before))
            rows[1].append(("resized", resized(before, size)))
            rows[2].append(("centre crop", centre_crop(before, size)))
            rows[3].append(("retargeted", after))
    output.write_bytes(encode_picture(stacked(rows), output.suffix))
    print(output.name)
    print(path.describe())


def stacked(rows: list[list[tuple[str, Rgb]]]) -> Rgb:
    """A sheet of rows of labelled pictures, all brought to one height."""
    height = max(picture.shape[0] for row in rows for _, picture in row)
    cells = []
    for row in rows:
        cells.append([resized(p, (height, round(p.shape[1] * height / p.shape[0]))) for _, p in row])
        for picture, (label, _) in zip(cells[-1], row, strict=True):
            write_label(picture, label)
    return contact_sheet(cells)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("source", "masks", "result", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--columns", type=int, default=5, help="frames on the sheet")
    main(**vars(parser.parse_args()))
