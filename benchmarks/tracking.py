"""How well a tracker follows annotated objects, and whether it notices when it no longer does.

    python -m benchmarks.tracking CLIPS [--tracker flow] [--at first,middle,last] [--out FOLDER]

CLIPS has a folder for each clip with frames/*.jpg and masks/*.png, as for `vidfill evaluate`. The prompts are made from
the annotation of one frame: the object's box, and the point deepest inside it. A frame is wrong without notice if the
track was confident there and its overlap (IoU) with the annotation is below 0.3. Frames are those that tracking works
on, at most about 512x288.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from vidfill.masks.boxes import Moment
from vidfill.masks.prompt import Click, ObjectBox, Prompts
from vidfill.removal.preview import sheet, spread
from vidfill.track.base import CONFIDENT
from vidfill.track.clip import track
from vidfill.track.draw import annotate
from vidfill.track.layer import full_size
from vidfill.track.result import Track
from vidfill.track.select import iou
from vidfill.track.timeline import working_picture
from vidfill.track.tools import open_tools
from vidfill.video.display import encode_picture, overlay
from vidfill.video.frame import Bool, Box, Float, Rgb
from vidfill.video.read import Reader

WRONG = 0.3


class Row(NamedTuple):
    """One track; `at` is the frame with the prompts.

    Overlaps are those on the `n_kept` frames on which the track was confident: `iou` their mean and `worst` their
    minimum (NaN for none), `n_wrong` how many are below `WRONG`. `seconds` are those of one frame.
    """

    clip: str
    at: int
    n_frames: int
    n_kept: int
    iou: float
    worst: float
    n_wrong: int
    seconds: float


def prompts_from(mask: Bool, at: int) -> Prompts:
    """The box of an annotated object and the point deepest inside it."""
    box = Box.around(mask)
    assert box is not None, "the annotation of the frame with the prompts is empty"
    depth = cv2.distanceTransform(np.pad(mask, 1).view(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    moment = Moment(frame=at)
    around = ObjectBox(float(box.x0), float(box.y0), float(box.x1), float(box.y1), at=moment)
    return Prompts((Click(float(x), float(y), at=moment),), (around,))


def run(clip: Path, at: int, tracker: str, model_dir: Path | None, out: Path | None) -> Row:
    """Track a clip's object from one frame and compare with its annotations."""
    annotations = sorted((clip / "masks").iterdir())
    tools = open_tools(tracker, model_dir=model_dir)
    with tempfile.TemporaryDirectory() as folder, Reader(clip / "frames", fps=Fraction(25)) as reader:
        n_frames = reader.info.n_frames
        at = at % n_frames
        start = time.perf_counter()
        store = Path(folder) / "track"
        with track(reader, prompts_from(_annotation(annotations[at]), at), tools, store)[0] as found:
            seconds = (time.perf_counter() - start) / n_frames
            confident = found.confidences() >= CONFIDENT
            truths = [_resized(_annotation(path), found.size) for path in annotations]
            overlaps = np.array([iou(found.mask(i), truth) for i, truth in enumerate(truths)], np.float32)
            if out is not None:
                out.mkdir(parents=True, exist_ok=True)
                picture = sheet(list(_cells(reader, found, truths, overlaps)))
                (out / f"{clip.name}-{at}.jpg").write_bytes(encode_picture(picture, ".jpg"))
    kept = overlaps[confident]
    mean, worst = (float(kept.mean()), float(kept.min())) if len(kept) else (float("nan"), float("nan"))
    return Row(clip.name, at, n_frames, len(kept), mean, worst, int((kept < WRONG).sum()), seconds)


def _annotation(path: Path) -> Bool:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, path
    return np.asarray((pixels if pixels.ndim == 2 else pixels[..., :3].max(axis=2)) > 0)


def _resized(mask: Bool, size: tuple[int, int]) -> Bool:
    return np.asarray(cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) > 0.5)


def _cells(reader: Reader, found: Track, truths: list[Bool], overlaps: Float) -> Iterator[tuple[str, Rgb]]:
    """Frames from all over the clip: the mask tinted, the annotation outlined in green."""
    chosen = frozenset(spread(found.n_frames, 12)) | frozenset(found.prompted)
    height, width = reader.info.display_size
    for frame in reader.frames():
        if frame.index in chosen:
            picture = cv2.resize(working_picture(frame, reader.info), (width, height)).astype(np.uint8)
            shown = overlay(picture, full_size(found.mask(frame.index), reader.info))
            truth = full_size(truths[frame.index], reader.info).view(np.uint8)
            outline, _ = cv2.findContours(truth, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(shown, outline, -1, (0, 255, 0), 1)
            yield f"{frame.index}  IoU {overlaps[frame.index]:.2f}", annotate(shown, found, frame.index)


def table(rows: list[Row]) -> str:
    """The rows in Markdown, with their sum."""
    lines = [
        "| clip | prompts at | frames until lost | mean IoU until lost | min IoU | wrong without notice | s a frame |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        shown = ("-", "-") if not row.n_kept else (f"{row.iou:.2f}", f"{row.worst:.2f}")
        lines.append(
            f"| {row.clip} | {row.at} | {row.n_kept} of {row.n_frames} | {shown[0]} | {shown[1]} | {row.n_wrong} | "
            f"{row.seconds:.2f} |"
        )
    n_frames, n_kept = sum(row.n_frames for row in rows), sum(row.n_kept for row in rows)
    mean = float(np.mean([row.iou for row in rows if row.n_kept])) if n_kept else float("nan")
    n_wrong = sum(row.n_wrong for row in rows)
    lines.append(f"| all | | {n_kept} of {n_frames} | {mean:.2f} | | {n_wrong} ({n_wrong / max(1, n_kept):.1%}) | |")
    return "\n".join(lines)


def main() -> None:
    """Run it over a folder of clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--tracker", default="flow")
    parser.add_argument("--model-dir", type=Path)
    parser.add_argument("--at", default="first", help="first, middle, last, or several of them with commas")
    parser.add_argument("--only", default="", help="names of clips with commas")
    parser.add_argument("--out", type=Path, help="a folder for the rows as JSON and for contact sheets")
    options = parser.parse_args()
    rows = []
    for clip in sorted(path for path in options.clips.iterdir() if (path / "masks").is_dir()):
        if options.only and clip.name not in options.only.split(","):
            continue
        n_frames = len(list((clip / "masks").iterdir()))
        for place in options.at.split(","):
            at = {"first": 0, "middle": n_frames // 2, "last": n_frames - 1}[place]
            rows.append(run(clip, at, options.tracker, options.model_dir, options.out))
            print(rows[-1], flush=True)
    print(table(rows))
    if options.out is not None:
        (options.out / "tracking.json").write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
