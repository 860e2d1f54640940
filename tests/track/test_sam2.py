from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.track.networks import save_sam2
from tests.track.scenes import crossing
from vidfill.errors import WeightsError
from vidfill.masks.prompt import FramePrompt
from vidfill.track.sam2 import Sam2Network, Sam2Tracker
from vidfill.track.tools import SAM2_FOLDER, open_tools
from vidfill.video.frame import Rgb


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_sam2(folder / SAM2_FOLDER)
    return folder


class Watched(Sam2Network):
    """Shows its last session."""

    def begin(self, picture: Rgb) -> Any:
        self.session = super().begin(picture)
        return self.session


def test_weights_of_sam2(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="hf download"):
        open_tools("sam2", model_dir=tmp_path)
    (tmp_path / SAM2_FOLDER).mkdir()
    (tmp_path / SAM2_FOLDER / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="holds no SAM 2"):
        open_tools("sam2", model_dir=tmp_path)


def test_selection_and_tracking_in_bounded_memory(model_dir: Path) -> None:
    tools = open_tools("auto", model_dir=model_dir)
    assert tools.name == "sam2"
    pictures, masks = crossing(6)
    prompt = FramePrompt(np.array([[33, 36], [3, 3]], np.float32), np.array([True, False]), (10.0, 10.0, 60.0, 60.0))
    found = tools.selector.select(pictures[0], prompt, prior=masks[0])
    assert found.mask.shape == masks[0].shape
    assert 0 <= found.confidence <= 1
    network = Watched(model_dir / SAM2_FOLDER)
    network.n_remembered = 3
    tracker = Sam2Tracker(network)
    tracker.start(pictures[0], masks[0])
    for picture in pictures[1:]:
        found = tracker.step(picture)
        assert found.mask.shape == masks[0].shape
        assert 0 <= found.confidence <= 1
    assert list(network.session.processed_frames) == [5]
    outputs = network.session.output_dict_per_obj[0]
    assert list(outputs["cond_frame_outputs"]) == [0]
    assert list(outputs["non_cond_frame_outputs"]) == [3, 4, 5]


def test_dropping_memory_changes_nothing(model_dir: Path) -> None:
    """The network does not use frames beyond its own memory."""
    pictures, masks = crossing(20)
    found = []
    for n_remembered in (None, 10**6):
        network = Sam2Network(model_dir / SAM2_FOLDER)
        if n_remembered is not None:
            network.n_remembered = n_remembered
        tracker = Sam2Tracker(network)
        tracker.start(pictures[0], masks[0])
        found.append([tracker.step(picture).mask for picture in pictures[1:]])
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
