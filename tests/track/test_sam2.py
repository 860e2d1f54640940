from pathlib import Path

import numpy as np
import pytest

from tests.track.networks import save_sam2
from tests.track.scenes import crossing
from vidfill.errors import WeightsError
from vidfill.masks.prompt import FramePrompt
from vidfill.track.sam2 import FOLDER, Sam2Network, Sam2Tracker, find_sam2
from vidfill.track.tools import open_tools


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_sam2(folder / FOLDER)
    return folder


def test_it_is_found_in_the_folder_of_weights(model_dir: Path, tmp_path: Path) -> None:
    assert find_sam2(model_dir) == model_dir / FOLDER
    assert find_sam2(tmp_path) is None
    with pytest.raises(WeightsError, match="hf download"):
        open_tools("sam2", model_dir=tmp_path)
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="holds no SAM 2"):
        open_tools("sam2", model_dir=tmp_path)


def test_it_selects_and_follows_in_bounded_memory(model_dir: Path) -> None:
    tools = open_tools("auto", model_dir=model_dir)
    assert tools.name == "sam2"
    pictures, masks = crossing(6)
    prompt = FramePrompt(np.array([[33, 36], [3, 3]], np.float32), np.array([True, False]), (10.0, 10.0, 60.0, 60.0))
    found = tools.selector.select(pictures[0], prompt, prior=masks[0])
    assert found.mask.shape == masks[0].shape
    assert 0 <= found.confidence <= 1
    network = Sam2Network(model_dir / FOLDER)
    network.n_remembered = 3
    tracker = Sam2Tracker(network)
    tracker.start(pictures[0], masks[0])
    for picture in pictures[1:]:
        found = tracker.step(picture)
        assert found.mask.shape == masks[0].shape
        assert 0 <= found.confidence <= 1
    session = tracker._session
    assert list(session.processed_frames) == [5]
    outputs = session.output_dict_per_obj[0]
    assert list(outputs["cond_frame_outputs"]) == [0]
    assert list(outputs["non_cond_frame_outputs"]) == [3, 4, 5]


def test_what_is_forgotten_is_not_missed(model_dir: Path) -> None:
    """Frames beyond the network's own memory change nothing: dropping them gives the same masks."""
    pictures, masks = crossing(20)
    found = []
    for n_remembered in (None, 10**6):
        network = Sam2Network(model_dir / FOLDER)
        if n_remembered is not None:
            network.n_remembered = n_remembered
        tracker = Sam2Tracker(network)
        tracker.start(pictures[0], masks[0])
        found.append([tracker.step(picture).mask for picture in pictures[1:]])
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
