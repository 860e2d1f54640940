"""Draw the result of tracking: prompts, confidence over time, where an object is lost."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from vidfill.masks.prompt import FramePrompt
from vidfill.track.base import CONFIDENT
from vidfill.track.result import Track
from vidfill.video.frame import Rgb

STRIP_PX = 16
_ON_OBJECT, _BESIDE, _OUTLINE = (60, 220, 60), (240, 60, 60), (255, 255, 255)
_SURE, _DOUBTFUL, _LOST, _UNTRACKED, _MARK = (60, 170, 60), (230, 190, 40), (200, 40, 40), (70, 70, 70), _OUTLINE


def annotate(picture: Rgb, track: Track, index: int) -> Rgb:
    """(H + `STRIP_PX`, W, 3) frame `index`, with its prompts, a red border where an object is lost, and the `strip`.

    The (H, W, 3) picture is as a player shows it; it is not changed.
    """
    drawn = picture.copy()
    draw_prompts(drawn, track.prompted.get(index, {}))
    if lost := next((lost for lost in track.lost if lost.start <= index < lost.stop), None):
        thickness = max(2, picture.shape[1] // 200)
        cv2.rectangle(drawn, (0, 0), (picture.shape[1] - 1, picture.shape[0] - 1), _LOST, 2 * thickness - 1)
        _write(drawn, f"object {lost.object_id} is lost: {lost.reason}")
    return np.vstack([drawn, strip(track, index, picture.shape[1])])


def draw_prompts(picture: Rgb, prompts: Mapping[int, FramePrompt]) -> None:
    """Draw the prompts of a frame in place: green on the object, red beside it, with the object's number."""
    radius = max(3, picture.shape[1] // 150)
    for object_id, prompt in prompts.items():
        if prompt.box is not None:
            x0, y0, x1, y1 = (round(edge) for edge in prompt.box)
            cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), _ON_OBJECT, max(1, radius // 3))
            _label(picture, str(object_id), (x0 + 3, y0 + 14))
        for (x, y), is_object in zip(prompt.points, prompt.is_object, strict=True):
            center = round(float(x)), round(float(y))
            cv2.circle(picture, center, radius + 1, _OUTLINE, -1, cv2.LINE_AA)
            cv2.circle(picture, center, radius, _ON_OBJECT if is_object else _BESIDE, -1, cv2.LINE_AA)
            _label(picture, str(object_id), (center[0] + radius + 2, center[1] - radius))


def strip(track: Track, index: int, width: int) -> Rgb:
    """(`STRIP_PX`, width, 3) minimum confidence over time, green to yellow, red where lost; a line marks `index`."""
    columns = np.minimum(np.arange(width) * track.n_frames // width, track.n_frames - 1)
    confidence = track.confidences()[columns]
    sure = np.clip((confidence - CONFIDENT) / (1 - CONFIDENT), 0, 1)[:, None]
    colors = sure * np.array(_SURE) + (1 - sure) * np.array(_DOUBTFUL)
    colors[confidence < CONFIDENT] = _UNTRACKED  # outside --start and --end
    for lost in track.lost:
        colors[(columns >= lost.start) & (columns < lost.stop)] = _LOST
    drawn = np.repeat(colors[None].astype(np.uint8), STRIP_PX, axis=0)
    for marked, n_rows in (*((prompted, STRIP_PX // 3) for prompted in track.prompted), (index, STRIP_PX)):
        x = round((marked + 0.5) * width / track.n_frames)
        drawn[:n_rows, max(0, x - 1) : x + 1] = _MARK
    return drawn


def _label(picture: Rgb, text: str, origin: tuple[int, int]) -> None:
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _OUTLINE, 1, cv2.LINE_AA)


def _write(picture: Rgb, text: str) -> None:
    """A line of text at the top of the picture, on a dark background."""
    scale = max(0.4, picture.shape[1] / 1000)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    picture[: height + 14, : width + 16] //= 4
    cv2.putText(picture, text, (8, height + 7), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 210, 210), 1, cv2.LINE_AA)
