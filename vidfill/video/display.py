"""Pictures for people: frames as a player shows them, outlined masks, contact sheets, PNG and JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import cv2
import numpy as np

from vidfill.errors import OutputError
from vidfill.video.color import rgb_crop
from vidfill.video.frame import Bool, Box, Frame, Rgb, VideoInfo

MASK_COLOR = (255, 0, 200)
GAP_PX = 6
"""Of a sheet: between its cells, and around all of them."""
HEADINGS_PX = 22
"""Of a sheet: height of the line with the headings."""
_PAPER, _INK = 24, (235, 235, 235)
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.4
_JPEG_QUALITY = 88


def displayed(frame: Frame, info: VideoInfo) -> Rgb:
    """A frame as a picture, turned as a player turns it."""
    rgb = rgb_crop(frame, info, Box(0, 0, info.width, info.height))
    return info.orientation.to_display(np.rint(rgb * 255).astype(np.uint8)).astype(np.uint8, copy=False)


def overlay(picture: Rgb, mask: Bool) -> Rgb:
    """The picture with the mask, (H, W), tinted and outlined; a new array."""
    shown = picture.copy()
    shown[mask] = (picture[mask] * 0.5 + np.array(MASK_COLOR, np.float32) * 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, contours, -1, MASK_COLOR, 1)
    return shown


def write_label(picture: Rgb, label: str) -> None:
    """Write a label into the lower left corner, in place, on a darkened ground so that it can be read."""
    (width, height), _ = cv2.getTextSize(label, _FONT, _FONT_SCALE, 1)
    bottom = picture.shape[0]
    picture[bottom - height - 8 :, : width + 8] //= 3
    cv2.putText(picture, label, (4, bottom - 5), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)


def contact_sheet(rows: Sequence[Sequence[Rgb]], headings: Sequence[str] = ()) -> Rgb:
    """Pictures on dark paper, `GAP_PX` apart; columns are as wide as the widest picture, rows as high as their own.

    Args:
        rows: of pictures; a row may be shorter than others.
        headings: of the columns.
    """
    step_x = GAP_PX + max(picture.shape[1] for row in rows for picture in row)
    start_y = GAP_PX if not headings else HEADINGS_PX
    tops = list(accumulate((GAP_PX + max(picture.shape[0] for picture in row) for row in rows), initial=start_y))
    n_columns = max(len(row) for row in rows)
    paper = np.full((tops[-1], GAP_PX + n_columns * step_x, 3), _PAPER, np.uint8)
    for column, heading in enumerate(headings):
        place = (GAP_PX + column * step_x + 2, HEADINGS_PX - 6)
        cv2.putText(paper, heading, place, _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
    for row, top in zip(rows, tops, strict=False):
        for column, picture in enumerate(row):
            left = GAP_PX + column * step_x
            paper[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return paper


def encode_picture(picture: Rgb, suffix: str = ".png") -> bytes:
    """A picture as a PNG or JPEG file.

    Raises:
        OutputError: it is too large for the format.
    """
    options = [] if suffix.lower() == ".png" else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    is_encoded, data = cv2.imencode(suffix, np.ascontiguousarray(picture[..., ::-1]), options)
    if not is_encoded:
        height, width = picture.shape[:2]
        raise OutputError(f"a picture of {width}x{height} cannot be encoded as {suffix}", todo="show fewer pictures")
    return data.tobytes()
