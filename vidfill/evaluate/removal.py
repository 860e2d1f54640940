"""Remove the clips' own objects, for which no truth is known: sheets and slow videos to look at, and measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import OutputError, UsageError
from vidfill.evaluate.appearance import Network
from vidfill.evaluate.contenders import Contender
from vidfill.evaluate.no_reference import judge_removal
from vidfill.evaluate.protocol import HEIGHT, WIDTH, EvaluationClip, load_removal
from vidfill.evaluate.results import Results, title
from vidfill.evaluate.run import Counter, Task, cost, sampled
from vidfill.evaluate.sheets import draw_sheet
from vidfill.evaluate.worker import FillerProcess
from vidfill.progress import OnProgress
from vidfill.settings import EncodeSettings
from vidfill.video.display import overlay, write_label
from vidfill.video.frame import ColorTags, Frame, PixelFormat, VideoInfo
from vidfill.video.write import open_writer

SCORES = "removal.json"
REMOVAL = "removal"  # stands where scores against a truth have their protocol
RATE = Fraction(6)  # frames a second: a quarter of the usual speed, at which flicker and smears are seen
_YUV420P = PixelFormat("yuv420p", 8, (1, 1), "yuv", False)  # what every player shows
_BT601 = ColorTags(matrix=6, primaries=1, transfer=13, range=1)


def remove_objects(
    task: Task,
    contenders: Sequence[Contender],
    results: Results,
    *,
    network: Network | None,
    overwrite: bool = False,
    progress: OnProgress | None = None,
) -> list[Path]:
    """Fill every clip's own object with every contender, clip by clip.

    Args:
        task: clips and how to run; `task.out` must be a folder.
        contenders: from `parse_contenders`, all alive at once.
        results: measures go here.
        network: whose features are compared; None to leave out the measures that need one.
        overwrite: replace sheets and videos that are there.
        progress: called after each frame; the stage is the contender's label.

    Returns:
        What was written: `removal.json` and `removal.md`, and for each clip `removal-CLIP.png` and `removal-CLIP.mp4`.

    Raises:
        UsageError: no folder.
        OutputError: a folder that cannot be written, or files that are there.
        InputError, MaskError: a clip that cannot be read, or without a mask.
        DeviceError: memory ran out.
    """
    out = task.out
    if out is None:
        raise UsageError("no folder for the pictures of a removal", todo="name one with --out")
    sheets = {name: out / f"removal-{name}.png" for name in task.clips}
    written = [out / SCORES, (out / SCORES).with_suffix(".md")]
    written += [path for sheet in sheets.values() for path in (sheet, sheet.with_suffix(".mp4"))]
    there = [path for path in written if path.exists()]
    if there and not overwrite:
        raise OutputError(f"{there[0]} exists", todo="give -y to replace it, or another folder")
    for contender in contenders:
        results.add_model(contender)
    counters = {contender.label: Counter(contender.label, len(sheets), progress) for contender in contenders}
    with ExitStack() as stack:
        workers = [stack.enter_context(FillerProcess(contender, task.machine)) for contender in contenders]
        for name, sheet in sheets.items():
            clip = load_removal(task.root, name, n_frames=task.n_frames)
            outputs = {}
            for worker in workers:
                label = worker.contender.label
                counters[label].start_clip(len(clip.frames))
                filled, usage = worker.fill(clip.given(), clip.holes, on_frame=counters[label])
                outputs[label] = clip.composited(filled)
                measures = judge_removal(outputs[label], clip, sampled(clip), network)
                results.add(REMOVAL, label, name, measures | cost(usage, len(clip.frames)))
            titles = {label: title(label, results.scores[REMOVAL][label][name]) for label in outputs}
            draw_sheet(sheet, clip, outputs, titles, has_truth=False)
            write_side_by_side(sheet.with_suffix(".mp4"), clip, outputs)
            results.save(out, name=SCORES)
    return written


def write_side_by_side(path: Path, clip: EvaluationClip, outputs: dict[str, list[NDArray[np.uint8]]]) -> None:
    """Write source (its object tinted) and outputs beside each other, slowly, as H.264; replaces the file."""
    n_columns = math.ceil(math.sqrt(len(outputs) + 1))
    n_rows = -(-(len(outputs) + 1) // n_columns)
    info = VideoInfo(
        path=path.parent,
        is_folder=True,
        container="images",
        codec="png",
        height=n_rows * HEIGHT,
        width=n_columns * WIDTH,
        pixel_format=_YUV420P,
        color=_BT601,
        time_base=1 / RATE,
        rate=RATE,
        n_frames=len(clip.frames),
        duration_s=float(len(clip.frames) / RATE),
    )
    with open_writer(path, info, EncodeSettings(codec="h264"), overwrite=True) as writer:
        for index, (frame, hole) in enumerate(zip(clip.frames, clip.holes, strict=True)):
            cells = {"source": overlay(frame, hole), **{label: frames[index] for label, frames in outputs.items()}}
            picture = np.zeros((info.height, info.width, 3), np.uint8)
            for number, (label, cell) in enumerate(cells.items()):
                y, x = number // n_columns * HEIGHT, number % n_columns * WIDTH
                place = picture[y : y + HEIGHT, x : x + WIDTH]
                place[:] = cell
                write_label(place, label)
            writer.write(Frame(index, index, info.time_base, _yuv420p(picture)))


def _yuv420p(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """Planes Y, U, V of an RGB picture with even sides: BT.601, limited range."""
    height, width = picture.shape[:2]
    flat = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).astype(np.uint8, copy=False).ravel()
    y, u, v = np.split(flat, [height * width, height * width * 5 // 4])
    half = (height // 2, width // 2)
    return y.reshape(height, width), u.reshape(half), v.reshape(half)
