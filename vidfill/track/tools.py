"""Selectors and trackers by name."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from vidfill.errors import UsageError, WeightsError
from vidfill.track.clip import Tools
from vidfill.track.flow import FlowTracker
from vidfill.track.sam import SamSelector, SamTracker, find_sam
from vidfill.track.sam2 import find_sam2, has_transformers, open_sam2
from vidfill.track.sam_network import SamNetwork
from vidfill.track.select import ColorMotionSelector

TRACKER_NAMES = ("auto", "sam2", "sam", "flow")
"""The best first; "auto" is the first one whose weights are installed."""


def open_tools(
    name: str = "auto", *, whole: bool | None = None, device: str = "cpu", model_dir: Path | None = None
) -> Tools:
    """The selector and tracker of a name. Nothing is downloaded.

    Args:
        name: one of `TRACKER_NAMES`.
        whole: of what a click may mean take the largest (True), the smallest (False), the most likely (None).
        device: of torch: "cpu", "cuda:0", "mps".
        model_dir: the user's folder of weights; None for the default one.

    Raises:
        UsageError: no such tracker, or one whose packages are not installed.
        WeightsError: its weights are not installed.
    """
    if name not in TRACKER_NAMES:
        raise UsageError(f"the tracker {name!r}", expected="one of " + ", ".join(TRACKER_NAMES))
    if name == "sam2" or (name == "auto" and find_sam2(model_dir) is not None and has_transformers()):
        return open_sam2(device=device, model_dir=model_dir)
    path = find_sam(model_dir) if name in ("auto", "sam") else None
    if path is not None:
        network = SamNetwork(path, device=device)
        return Tools(SamSelector(network, whole=whole), partial(SamTracker, network), "sam")
    if name == "sam":
        raise WeightsError(
            "no weights of Segment Anything are here",
            todo="fetch them with `vidfill weights fetch sam_vit_b`, or track without weights: --tracker flow",
        )
    return Tools(ColorMotionSelector(whole=whole), FlowTracker, "flow")
