"""Names to selectors and trackers."""

from __future__ import annotations

from pathlib import Path

from vidfill.errors import UsageError
from vidfill.track.clip import Tools
from vidfill.track.flow import FlowTracker
from vidfill.track.select import ColorMotionSelector

TRACKER_NAMES = ("auto", "sam", "flow", "sam2")


def open_tools(
    name: str = "auto", *, whole: bool | None = None, device: str = "auto", model_dir: Path | None = None
) -> Tools:
    """What `--tracker` stands for; "auto" is the best whose weights are here. Nothing is ever fetched.

    Args:
        name: one of `TRACKER_NAMES`.
        whole: what a click may mean: the largest thing (True), the smallest (False), the most likely (None).
        device: as `vidfill.engine.device.choose_device` takes it.
        model_dir: the user's folder of weights; None for the default one.

    Raises:
        UsageError: no such tracker.
    """
    if name not in TRACKER_NAMES:
        raise UsageError(f"the tracker {name!r}", expected="one of " + ", ".join(TRACKER_NAMES))
    return Tools(ColorMotionSelector(whole=whole), FlowTracker, "flow")
