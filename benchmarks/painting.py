"""What the painter makes of single pictures: at once, small and enlarged, coarse to fine; and how long a call takes.

    python -m benchmarks.painting CLIPS/*/frames/00000.jpg [--hole 240x200] [--out sheets]

Each picture gets an ellipse as its hole, in the middle. For each way the mean over the pictures of PSNR and feature
distance in the hole, of texture (mean magnitude above a Gaussian of 1.5 px, as a ratio to the truth's: 1 is right, less
is blurred), and of CPU seconds on one thread. With --out a sheet for each picture: truth and hole, then the three ways.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vidfill.engine.device import choose_runtime
from vidfill.evaluate.appearance import feature_distance, feature_maps
from vidfill.evaluate.features import load_features
from vidfill.evaluate.quality import psnr
from vidfill.models import load_model
from vidfill.models.cleanplate.painter import Painter
from vidfill.models.cleanplate.painting import MAX_DEPTH_PX, paint
from vidfill.settings import EngineSettings
from vidfill.video.display import contact_sheet, encode_picture
from vidfill.video.frame import Rgb
from vidfill.video.read_images import read_image

Hole = NDArray[np.bool_]
WAYS = ("at once", "small, enlarged", "coarse to fine")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--hole", default="240x200", help="width and height of the ellipse, in pixels")
    parser.add_argument("--out", type=Path, help="folder for the sheets")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model("painter")
    assert isinstance(model, Painter)
    runtime = choose_runtime(model, EngineSettings(device="cpu"))
    runtime.place(model)
    hole_width, hole_height = map(int, options.hole.split("x"))
    with runtime.computing():
        _compare(model, options.pictures, (hole_width, hole_height), options.out)
        for width, height in ((432, 240), (854, 480)):
            _time_call(model, width, height)


def _compare(model: Painter, paths: list[Path], hole_wh: tuple[int, int], out: Path | None) -> None:
    features = load_features()
    rows: dict[str, list[tuple[float, ...]]] = {way: [] for way in WAYS}
    for number, path in enumerate(paths):
        truth = np.ascontiguousarray(read_image(path)[..., 2::-1])
        canvas = np.zeros(truth.shape[:2], np.uint8)
        middle = (truth.shape[1] // 2, truth.shape[0] // 2)
        hole = cv2.ellipse(canvas, middle, (hole_wh[0] // 2, hole_wh[1] // 2), 0, 0, 360, 1, -1) > 0
        maps = feature_maps(features, truth)
        fills = []
        for way in WAYS:
            begin = time.process_time()
            fill = _painted(model, truth, hole, way)
            seconds = time.process_time() - begin
            fills.append(fill)
            distance = feature_distance(feature_maps(features, fill), maps, hole)
            texture = _texture(fill, hole) / _texture(truth, hole)
            rows[way].append((psnr(fill, truth, hole), distance, texture, seconds))
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            shown = np.where(hole[..., None], np.uint8(255), truth)
            sheet = contact_sheet([[truth, shown], fills])
            (out / f"{number:02}.jpg").write_bytes(encode_picture(sheet, ".jpg"))
    print(f"{'':16} PSNR  features  texture  CPU s")
    for way, values in rows.items():
        means = np.mean(values, axis=0)
        print(f"{way:16} {means[0]:.2f}  {means[1]:.3f}  {means[2]:.2f}  {means[3]:.2f}")


def _painted(model: Painter, truth: Rgb, hole: Hole, way: str) -> Rgb:
    if way == "coarse to fine":
        return paint(model.network, truth, hole)
    if way == "at once":
        return paint(model.network, truth, hole, max_depth_px=10**6)
    depth = float(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max())
    size_wh = tuple(round(side * min(1.0, MAX_DEPTH_PX / depth)) for side in hole.shape[::-1])
    small = np.asarray(cv2.resize(truth, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    missing = cv2.resize(hole.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA) > 0
    enlarged = cv2.resize(
        paint(model.network, small, missing, max_depth_px=10**6), hole.shape[::-1], interpolation=cv2.INTER_CUBIC
    )
    return np.asarray(np.where(hole[..., None], enlarged, truth), np.uint8)


def _texture(picture: Rgb, hole: Hole) -> float:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 1.5))[hole].mean())


def _time_call(model: Painter, width: int, height: int) -> None:
    size = (height + -height % 16, width + -width % 16)
    rgb, hole = torch.rand(1, 3, *size), torch.zeros(1, 1, *size)
    hole[..., height // 3 : height // 2, width // 3 : width // 2] = 1
    seconds = []
    for _ in range(3):
        begin = time.process_time()
        model.network(rgb, hole)
        seconds.append(time.process_time() - begin)
    print(f"one call at {width}x{height}: {min(seconds):.2f} CPU s")


if __name__ == "__main__":
    main()
