"""What is known about the objects on one frame: a mask to draw, and a confidence for each object."""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from vidfill.errors import UsageError
from vidfill.masks.prompt import Prompts
from vidfill.track.base import CONFIDENT, Selector
from vidfill.track.result import NOT_TRACKED, Track
from vidfill.video.display import MASK_COLOR
from vidfill.video.frame import Bool, Rgb, VideoInfo

N_KEPT = 16
_TINT_ALPHA = 115


@dataclass(frozen=True, slots=True)
class ObjectView:
    """One object on one frame.

    Attributes:
        confidence: in [0, 1], `NOT_TRACKED` if nothing is known.
        reason: what speaks against the mask, "" for nothing.
    """

    object_id: int
    confidence: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FrameMask:
    """All objects on one frame.

    Attributes:
        origin: "selection" (of this frame's prompts), "track", or "none".
        is_stale: whether the prompts have changed since that track.
        mask: (H, W), at the size of tracking, as a player shows it.
        objects: those about which something is known.
    """

    origin: str
    is_stale: bool
    mask: Bool
    objects: tuple[ObjectView, ...] = ()

    @classmethod
    def empty(cls, picture: Rgb) -> FrameMask:
        """No mask."""
        return cls("none", False, np.zeros(picture.shape[:2], np.bool_))

    @classmethod
    def of_track(cls, track: Track, index: int, *, is_stale: bool) -> FrameMask:
        """What a track has on a frame."""
        reasons = {lost.object_id: lost.reason for lost in track.lost if lost.start <= index < lost.stop}
        left = {left.object_id: "has left the picture" for left in track.left if left.start <= index < left.stop}
        objects = tuple(
            ObjectView(object_id, round(float(values[index]), 2), reasons.get(object_id, left.get(object_id, "")))
            for object_id, values in track.confidence.items()
        )
        return cls("track", is_stale, track.mask(index), objects)

    def data_url(self) -> str:
        """The mask as a PNG overlay for the frame: tinted, outlined, transparent elsewhere."""
        bgra = np.zeros((*self.mask.shape, 4), np.uint8)
        bgra[..., :3] = MASK_COLOR[::-1]
        bgra[self.mask, 3] = _TINT_ALPHA
        contours, _ = cv2.findContours(self.mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        alpha = np.ascontiguousarray(bgra[..., 3])
        cv2.drawContours(alpha, contours, -1, 255, 1)
        bgra[..., 3] = alpha
        _, data = cv2.imencode(".png", bgra)
        return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()


class Selections:
    """Selects objects from the prompts of a frame; one call at a time, keeping the last results.

    Args:
        selector: what selects.
        near: gives the frames around a frame, see `vidfill.track.base.Selector.select`.
    """

    def __init__(self, selector: Selector, near: Callable[[int], Mapping[int, Rgb]]) -> None:
        self._selector = selector
        self._near = near
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], FrameMask] = OrderedDict()

    def select(
        self, index: int, picture: Rgb, prompts: Prompts, info: VideoInfo, *, prior: FrameMask | None
    ) -> FrameMask:
        """What the prompts of a frame select.

        Args:
            index: of the frame.
            picture: the frame, as selectors see it.
            prompts: of all frames.
            info: of the source.
            prior: the frame's mask in a track from earlier prompts; used if there is only one object.
        """
        here = Prompts(
            tuple(click for click in prompts.clicks if click.at.frame == index),
            tuple(box for box in prompts.boxes if box.at.frame == index),
        )
        known = _known(prior) if len(prompts.object_ids) == 1 else None
        key = (index, here, None if known is None else known.tobytes())
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._select(index, picture, here, info, known)
                if len(self._kept) > N_KEPT:
                    self._kept.popitem(last=False)
            return self._kept[key]

    def _select(self, index: int, picture: Rgb, here: Prompts, info: VideoInfo, prior: Bool | None) -> FrameMask:
        height, width = info.display_size
        scale = picture.shape[1] / width, picture.shape[0] / height
        near = self._near(index)
        union = np.zeros(picture.shape[:2], np.bool_)
        objects = []
        for object_id, prompt in here.on_frames(lambda at: index)[index].items():
            try:
                found = self._selector.select(picture, prompt.scaled(*scale), prior=prior, near=near)
            except UsageError as error:  # only points that are not on the object
                objects.append(ObjectView(object_id, NOT_TRACKED, error.found))
                continue
            union |= found.mask
            objects.append(ObjectView(object_id, round(found.confidence, 2), found.reason))
        return FrameMask("selection", False, union, tuple(objects))


def _known(prior: FrameMask | None) -> Bool | None:
    """A track's mask, if the track is sure of it."""
    if prior is None or not prior.mask.any() or any(view.confidence < CONFIDENT for view in prior.objects):
        return None
    return prior.mask
