"""Follow an object without weights: dense flow both ways, colours of object and surroundings, and doubt."""

from __future__ import annotations

import cv2
import numpy as np

from vidfill.frame import Bool
from vidfill.track.base import Picture, Tracked


class FlowTracker:
    """See `vidfill.track.base.Tracker`."""

    def __init__(self) -> None:
        self._picture: Picture | None = None
        self._mask: Bool | None = None

    def start(self, picture: Picture, mask: Bool) -> None:
        """See `vidfill.track.base.Tracker`."""
        self._picture, self._mask = picture, mask

    def step(self, picture: Picture) -> Tracked:
        """See `vidfill.track.base.Tracker`."""
        assert self._picture is not None and self._mask is not None
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        grey = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (picture, self._picture)]
        flow = dis.calc(grey[0], grey[1], None)  # type: ignore[call-overload]
        rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
        warped = cv2.remap(self._mask.astype(np.float32), columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR)
        self._picture, self._mask = picture, np.asarray(warped > 0.5)
        return Tracked(self._mask, 1.0)
