"""Contact sheets: one row for each of a few frames; what a model was given, what each made of it, the truth.

The cells lie as single pictures in a folder for each clip, so that a sheet can be drawn anew when a model is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import OutputError
from vidfill.evaluate.protocol import HEIGHT, WIDTH, Clip
from vidfill.files.atomic import write_file

Picture = NDArray[np.uint8]

SOURCE, TRUTH = "source", "truth"
HOLE_COLOUR = (255, 0, 255)
_GAP_PX, _TITLE_PX = 4, 22
_PAPER, _INK = 24, (235, 235, 235)
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


def picked(n_frames: int, n_rows: int = 4) -> list[int]:
    """Positions of the frames of a sheet, spread evenly: the middles of `n_rows` equal parts of the clip."""
    return sorted({(2 * row + 1) * n_frames // (2 * n_rows) for row in range(n_rows)})


def keep_cells(folder: Path, label: str, frames: Sequence[Picture]) -> None:
    """Write the picked ones of a column's frames, (H, W, 3) uint8 RGB, as PNG files.

    Raises:
        OutputError: the folder cannot be written.
    """
    for index in picked(len(frames)):
        write_file(folder / f"{index:05d}-{label}.png", encode_png(frames[index]))


def keep_given(folder: Path, clip: Clip, *, has_truth: bool) -> None:
    """Write the first column, and the last one where there is a truth."""
    colour = np.array(HOLE_COLOUR, np.uint8)
    if has_truth:
        shown = [np.where(hole[..., None], colour, f) for f, hole in zip(clip.frames, clip.holes, strict=True)]
        keep_cells(folder, TRUTH, clip.frames)
    else:
        shown = [outlined(f, hole) for f, hole in zip(clip.frames, clip.holes, strict=True)]
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
    step_x, step_y = WIDTH + _GAP_PX, HEIGHT + _GAP_PX
    size = (_TITLE_PX + len(rows) * step_y + _GAP_PX, len(columns) * step_x + _GAP_PX, 3)
    paper = np.full(size, _PAPER, np.uint8)
    for number, label in enumerate(columns):
        x = _GAP_PX + number * step_x
        cv2.putText(paper, headings[label], (x + 2, _TITLE_PX - 6), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
        for row, index in enumerate(rows):
            cell = cv2.imread(str(folder / f"{index:05d}-{label}.png"), cv2.IMREAD_COLOR_RGB)
            if cell is None:
                continue
            shown = cell.astype(np.uint8, copy=False)
            if label == SOURCE:
                write_label(shown, f"{path.stem} {index}")
            y = _TITLE_PX + row * step_y
            paper[y : y + HEIGHT, x : x + WIDTH] = shown
    write_file(path, encode_png(paper))


def outlined(frame: Picture, hole: NDArray[np.bool_]) -> Picture:
    """The frame with the hole tinted and its outline drawn; a new array."""
    tinted = np.where(hole[..., None], frame // 2 + np.array(HOLE_COLOUR, np.uint8) // 2, frame)
    contours, _ = cv2.findContours(hole.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tinted, contours, -1, HOLE_COLOUR, 1)
    return np.asarray(tinted, np.uint8)


def write_label(picture: Picture, label: str) -> None:
    """Write a label into the lower left corner, in place, on a dark ground so that it can be read."""
    (width, height), _ = cv2.getTextSize(label, _FONT, _FONT_SCALE, 1)
    bottom = picture.shape[0]
    picture[bottom - height - 8 :, : width + 8] //= 3
    cv2.putText(picture, label, (4, bottom - 5), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)


def encode_png(picture: Picture) -> bytes:
    """An RGB picture as the bytes of a PNG file."""
    is_coded, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    if not is_coded:
        raise OutputError("a picture cannot be encoded", todo="name fewer models")
    return data.tobytes()
