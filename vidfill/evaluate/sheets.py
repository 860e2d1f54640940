"""Contact sheets: one row for each of a few frames; what a model was given, what each made of it, the truth.

The cells lie as single pictures in a folder for each clip, so that a sheet can be drawn anew when a model is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.evaluate.protocol import HEIGHT, WIDTH, Clip
from vidfill.files.atomic import write_file
from vidfill.video.display import MASK_COLOR, contact_sheet, encode_picture, overlay, write_label

Picture = NDArray[np.uint8]

SOURCE, TRUTH = "source", "truth"


def picked(n_frames: int, n_rows: int = 4) -> list[int]:
    """Positions of the frames of a sheet, spread evenly: the middles of `n_rows` equal parts of the clip."""
    return sorted({(2 * row + 1) * n_frames // (2 * n_rows) for row in range(n_rows)})


def keep_cells(folder: Path, label: str, frames: Sequence[Picture]) -> None:
    """Write the picked ones of a column's frames, (H, W, 3) uint8 RGB, as PNG files.

    Raises:
        OutputError: the folder cannot be written.
    """
    for index in picked(len(frames)):
        write_file(folder / f"{index:05d}-{label}.png", encode_picture(frames[index]))


def keep_given(folder: Path, clip: Clip, *, has_truth: bool) -> None:
    """Write the first column, and the last one where there is a truth."""
    colour = np.array(MASK_COLOR, np.uint8)
    if has_truth:
        shown = [np.where(hole[..., None], colour, f) for f, hole in zip(clip.frames, clip.holes, strict=True)]
        keep_cells(folder, TRUTH, clip.frames)
    else:
        shown = [overlay(f, hole) for f, hole in zip(clip.frames, clip.holes, strict=True)]
    keep_cells(folder, SOURCE, shown)


def draw_sheet(folder: Path, path: Path, titles: Mapping[str, str], *, n_frames: int) -> None:
    """Draw the sheet of a clip from the cells in its folder.

    Args:
        folder: of the cells.
        path: of the sheet, a PNG file.
        titles: label -> heading of the models' columns, in their order; those without cells are left out.
        n_frames: of the clip.

    Raises:
        OutputError: the sheet cannot be written.
    """
    rows = picked(n_frames)
    headings = {SOURCE: "source, hole", **titles, TRUTH: TRUTH}
    columns = [label for label in headings if (folder / f"{rows[0]:05d}-{label}.png").is_file()]
    cells = [[_cell(folder / f"{index:05d}-{label}.png") for label in columns] for index in rows]
    for index, row in zip(rows, cells, strict=True):
        write_label(row[columns.index(SOURCE)], f"{path.stem} {index}")
    write_file(path, encode_picture(contact_sheet(cells, [headings[label] for label in columns])))


def _cell(path: Path) -> Picture:
    """A kept cell; black where there is none."""
    cell = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    return np.zeros((HEIGHT, WIDTH, 3), np.uint8) if cell is None else cell.astype(np.uint8, copy=False)
