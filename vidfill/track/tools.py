"""Selectors and trackers by name."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from vidfill.errors import UsageError, WeightsError
from vidfill.track.clip import Tools
from vidfill.track.flow import FlowTracker
from vidfill.track.select import ColorMotionSelector
from vidfill.weights import default_model_dir, find_weights

TRACKER_NAMES = ("auto", "sam2", "sam", "flow")
"""The best first; "auto" is the first one whose weights are installed."""
SAM_NAMES = ("sam_vit_h", "sam_vit_l", "sam_vit_b")
"""As `vidfill weights fetch` knows them, the best first."""
SAM2_FOLDER = "sam2"
"""SAM 2's weights, as transformers saves them, in the user's folder of weights."""


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
        WeightsError: its weights are not installed, or damaged.
    """
    if name not in TRACKER_NAMES:
        raise UsageError(f"the tracker {name!r}", expected="one of " + ", ".join(TRACKER_NAMES))
    folder = (model_dir or default_model_dir()) / SAM2_FOLDER
    if name == "sam2" or (name == "auto" and _is_installed(folder)):
        try:
            from vidfill.track.sam2 import Sam2Network, Sam2Tracker
        except ImportError as error:
            if name == "sam2":
                todo = "install it with pip install 'vidfill[sam2]'"
                raise UsageError("--tracker sam2 without transformers", todo=todo) from error
        else:
            if not _is_installed(folder):
                raise WeightsError(
                    f"no weights of SAM 2 in {folder}",
                    todo=f"fetch them with `hf download facebook/sam2.1-hiera-small --local-dir {folder}`",
                )
            sam2 = Sam2Network(folder, device=device)
            return Tools(sam2, partial(Sam2Tracker, sam2), "sam2")
    if name in ("auto", "sam"):
        installed = (find_weights(sam, model_dir=model_dir) for sam in SAM_NAMES)
        path = next((found.path for found in installed if found is not None), None)
        if path is not None:
            from vidfill.track.sam import SamSelector, SamTracker
            from vidfill.track.sam_network import SamNetwork

            network = SamNetwork(path, device=device)
            return Tools(SamSelector(network, whole=whole), partial(SamTracker, network), "sam")
    if name == "sam":
        raise WeightsError(
            "no weights of Segment Anything are here",
            todo="fetch them with `vidfill weights fetch sam_vit_b`, or track without weights: --tracker flow",
        )
    return Tools(ColorMotionSelector(whole=whole), FlowTracker, "flow")


def _is_installed(folder: Path) -> bool:
    return (folder / "config.json").is_file()
