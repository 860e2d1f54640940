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

from vidfill.frame import Bool, Box
from vidfill.masks.files import MaskSpec, open_masks
from vidfill.preview import Picture, sheet, spread
from vidfill.video.color import rgb_crop
from vidfill.video.read import Reader

N_COLUMNS = 5
MIN_MATCHES = 12


def triples(source: Path, masks: Path, result: Path) -> Iterator[tuple[Picture, Bool, Picture]]:
    """Source, mask and result of each frame, as coded."""
    with (
        Reader(source) as before,
        Reader(result) as after,
        open_masks(MaskSpec(masks), before.info, rate=before.info.rate).cursor() as cursor,
    ):
        for frame, made in zip(before.frames(), after.frames(), strict=True):
            shown = [
                np.rint(rgb_crop(f, info, Box(0, 0, info.width, info.height)) * 255).astype(np.uint8)
                for f, info in ((frame, before.info), (made, after.info))
            ]
            yield shown[0], cursor.at(frame), shown[1]


def centre_crop(picture: Picture, size: tuple[int, int]) -> Picture:
    """The largest part in the middle that has the aspect of a (height, width), at that size."""
    height, width = picture.shape[:2]
    scale = min(height / size[0], width / size[1])
    rows, columns = round(size[0] * scale), round(size[1] * scale)
    y, x = (height - rows) // 2, (width - columns) // 2
    return resized(picture[y : y + rows, x : x + columns], size)


def resized(picture: Picture, size: tuple[int, int]) -> Picture:
    """The picture at a (height, width)."""
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def motion_of(source: Picture, mask: Bool, result: Picture) -> NDArray[np.float64] | None:
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


def main(source: Path, masks: Path, result: Path, output: Path) -> None:
    cv2.setRNGSeed(0)
    rows: list[list[tuple[str, Picture]]] = [[], [], [], []]
    aspects, centres, own = [], [], []
    frames = list(triples(source, masks, result))  # of a short clip
    for index, (before, mask, after) in enumerate(frames):
        if index in spread(len(frames), N_COLUMNS):
            size = after.shape[0], after.shape[1]
            rows[0].append((f"source {index}", before))
            rows[1].append(("resized", resized(before, size)))
            rows[2].append(("centre crop", centre_crop(before, size)))
            rows[3].append(("retargeted", after))
        affine = motion_of(before, mask, after) if mask.any() else None
        box = Box.around(mask)
        if affine is None or box is None:
            centres.append(np.full(2, np.nan))
            own.append(np.full(2, np.nan))
            continue
        aspects.append(np.hypot(*affine[:, 0]) / np.hypot(*affine[:, 1]))
        centre = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
        centres.append(affine @ [*centre, 1])
        own.append(centre * np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    height = max(picture.shape[0] for _, picture in rows[3])
    papers = [sheet([(label, padded(picture, height)) for label, picture in row], columns=N_COLUMNS) for row in rows]
    width = max(paper.shape[1] for paper in papers)
    whole = np.vstack([np.pad(paper, ((0, 0), (0, width - paper.shape[1]), (0, 0))) for paper in papers])
    cv2.imwrite(str(output), whole[..., ::-1])
    aspects_array, path, natural = np.array(aspects), np.array(centres), np.array(own)
    bends = [float(np.nanpercentile(np.linalg.norm(np.diff(p, 2, axis=0), axis=1), 95)) for p in (path, natural)]
    added = np.linalg.norm(np.diff(path, 2, axis=0) - np.diff(natural, 2, axis=0), axis=1)
    print(f"{output.name}: {len(aspects)} of {len(frames)} frames matched")
    farthest = aspects_array[worst(aspects_array)]
    print(f"  aspect of the object: median {np.median(aspects_array):.4f}, worst {farthest:.4f}")
    print(f"  second differences, px: {bends[0]:.2f} (95 %), {bends[1]:.2f} of the object itself, ", end="")
    print(f"added: median {np.nanmedian(added):.2f}, 95 % {np.nanpercentile(added, 95):.2f}")


def worst(ratios: NDArray[np.float64]) -> int:
    """The position of the ratio farthest from 1."""
    return int(np.argmax(np.abs(np.log(ratios))))


def padded(picture: Picture, height: int) -> Picture:
    """The picture scaled to a height, for sheets."""
    return resized(picture, (height, round(picture.shape[1] * height / picture.shape[0])))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("source", "masks", "result", "output"):
        parser.add_argument(name, type=Path)
    main(**vars(parser.parse_args()))
