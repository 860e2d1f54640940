"""Contact sheets: one row for each of a few frames; what a model was given, what each made of it, the truth.

The cells lie as single pictures in a folder for each clip, so that a sheet can be drawn anew when a model is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.evaluate.protocol import HEIGHT, WIDTH, EvaluationClip, Frames
from vidfill.files.atomic import write_file
from vidfill.video.display import MASK_COLOR, contact_sheet, encode_picture, overlay, write_label

SOURCE, TRUTH = "source", "truth"


def picked(n_frames: int, n_rows: int = 4) -> list[int]:
    """Positions of the frames of a sheet, spread evenly: the middles of `n_rows` equal parts of the clip."""
    return sorted({(2 * row + 1) * n_frames // (2 * n_rows) for row in range(n_rows)})


def draw_sheet(
    path: Path, clip: EvaluationClip, outputs: Mapping[str, Frames], titles: Mapping[str, str], *, has_truth: bool
) -> None:
    """Keep the cells of outputs, and draw the sheet of a clip anew from all the cells that are there.

    Args:
        path: of the sheet, a PNG file; the cells lie in a folder of its name under `frames`.
        clip: what the models were given.
        outputs: composited frames by label.
        titles: label -> heading of the models' columns, in their order; those without cells are left out.
        has_truth: whether the clip's own frames are the truth.
    """
    folder, rows = path.parent / "frames" / path.stem, picked(len(clip.frames))
    headings = {SOURCE: "source, hole", **titles, TRUTH: TRUTH}
    for index in rows:
        frame, hole = clip.frames[index], clip.holes[index]
        shown = np.where(hole[..., None], np.array(MASK_COLOR, np.uint8), frame) if has_truth else overlay(frame, hole)
        new = {SOURCE: shown, **{label: output[index] for label, output in outputs.items()}}
        for label, cell in (new | {TRUTH: frame} if has_truth else new).items():
            write_file(folder / f"{index:05d}-{label}.png", encode_picture(cell))
    columns = [label for label in headings if (folder / f"{rows[0]:05d}-{label}.png").is_file()]
    cells = [[_cell(folder / f"{index:05d}-{label}.png") for label in columns] for index in rows]
    for index, row in zip(rows, cells, strict=True):
        write_label(row[columns.index(SOURCE)], f"{path.stem} {index}")
    write_file(path, encode_picture(contact_sheet(cells, [headings[label] for label in columns])))


def _cell(path: Path) -> NDArray[np.uint8]:
    """A kept cell; black where there is none."""
    cell = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    return np.zeros((HEIGHT, WIDTH, 3), np.uint8) if cell is None else cell.astype(np.uint8, copy=False)
