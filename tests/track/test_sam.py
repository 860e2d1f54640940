import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.clips import Pictures
from tests.track.networks import save_sam, tiny_sam
from tests.track.scenes import crossing
from vidfill.errors import WeightsError
from vidfill.masks.prompt import FramePrompt
from vidfill.track.base import CONFIDENT, Picture
from vidfill.track.sam import AGREE, SamSelector, SamTracker, carried_points, find_sam
from vidfill.track.sam_network import Answers, SamNetwork, build_sam, import_segment_anything
from vidfill.track.select import iou
from vidfill.track.tools import open_tools
from vidfill.video.frame import Bool
from vidfill.weights import Card, register_file


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sam(tmp_path_factory.mktemp("sam") / "sam_vit_b_01ec64.pth")


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> SamNetwork:
    return SamNetwork(checkpoint)


def test_the_sizes_come_from_the_tensors(checkpoint: Path) -> None:
    tensors = torch.load(checkpoint, weights_only=True)
    built = build_sam(import_segment_anything(), tensors, name="x")
    original = tiny_sam()
    assert str(built) == str(original)
    assert [block.window_size for block in built.image_encoder.blocks] == [14, 0]


def test_the_real_sizes_are_recognised() -> None:
    package = import_segment_anything()
    with torch.device("meta"):
        real = package.sam_model_registry["vit_b"]()
        built = build_sam(package, real.state_dict(), name="x")
    assert [tuple(p.shape) for p in built.parameters()] == [tuple(p.shape) for p in real.parameters()]
    assert [b.window_size for b in built.image_encoder.blocks] == [b.window_size for b in real.image_encoder.blocks]


def test_what_is_no_sam_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="no checkpoint of Segment Anything"):
        SamNetwork(tmp_path / "x.pth")
    tensors = tiny_sam().state_dict()
    del tensors["mask_decoder.iou_token.weight"]
    torch.save(tensors, tmp_path / "y.pth")
    with pytest.raises(WeightsError, match="no checkpoint of Segment Anything"):
        SamNetwork(tmp_path / "y.pth")


def test_our_way_to_the_predictor_is_its_own(network: SamNetwork, checkpoint: Path) -> None:
    pictures, _ = crossing(2)
    package = import_segment_anything()
    model = tiny_sam()
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    predictor = package.SamPredictor(model.eval())
    points, labels = np.array([[33, 36], [5, 5]], np.float32), np.array([True, False])
    for picture in (pictures[0], pictures[1], pictures[0]):  # the last one from the cache
        predictor.set_image(picture)
        logits, scores, _ = predictor.predict(
            point_coords=points, point_labels=labels.astype(int), box=np.array([9, 9, 60, 60]), return_logits=True
        )
        answers = network.predict(picture, points=points, is_object=labels, box=(9, 9, 60, 60))
        assert np.allclose(answers.logits, logits, atol=1e-5)
        assert np.allclose(answers.scores, scores, atol=1e-6)
    assert answers.logits.shape == (3, *pictures[0].shape[:2])


def test_an_embedding_is_worked_out_once(network: SamNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, _ = crossing(7)
    looked: list[int] = []
    encode = network._predictor.set_image

    def look(picture: Picture) -> None:
        looked.append(1)
        encode(picture)

    monkeypatch.setattr(network._predictor, "set_image", look)
    point = np.array([[33, 36]], np.float32)
    for _ in range(3):
        network.predict(pictures[3].copy(), points=point, is_object=np.array([True]))
    assert len(looked) == 1
    for picture in pictures:
        network.predict(picture, points=point, is_object=np.array([True]))
    assert len(network._embeddings) == 4


def test_masks_are_chosen_by_score_and_stability_and_size() -> None:
    logits = np.full((3, 10, 10), -5, np.float32)
    logits[0, :2, :2] = 5  # small, sharp
    logits[1, :6, :6] = 0.5  # medium, hangs on the threshold
    logits[2, :9, :9] = 5  # large, sharp
    answers = Answers(logits, np.array([0.9, 0.99, 0.85], np.float32))
    assert answers.values() == pytest.approx([0.9, 0.0, 0.85])
    assert answers.choose(whole=None) == 0
    assert answers.choose(whole=True) == 2
    assert answers.choose(whole=False) == 0
    poor = Answers(logits, np.array([0.9, 0.99, 0.5], np.float32))
    assert poor.choose(whole=True) == 0


class _Oracle:
    """In the place of a network: knows a mask for each picture, and what it was asked."""

    def __init__(self, pictures: Pictures, masks: Bool, score: float = 0.95) -> None:
        self._known = {picture.tobytes(): mask for picture, mask in zip(pictures, masks, strict=True)}
        self._score = score
        self.asked: list[dict[str, object]] = []

    def predict(self, picture: Picture, **asked: object) -> Answers:
        self.asked.append(asked)
        mask = self._known[picture.tobytes()]
        return Answers(np.where(mask, 9, -9)[None].astype(np.float32), np.array([self._score], np.float32))


def test_the_tracker_asks_with_what_flow_carries_along() -> None:
    pictures, masks = crossing(10)
    oracle = _Oracle(pictures, masks)
    tracker = SamTracker(oracle)  # type: ignore[arg-type]
    tracker.start(pictures[0], masks[0])
    for picture, mask in zip(pictures[1:], masks[1:], strict=True):
        found = tracker.step(picture)
        assert found.confidence >= CONFIDENT
        assert np.array_equal(found.mask, mask)
    asked = oracle.asked[-1]
    points, is_object = np.asarray(asked["points"]), np.asarray(asked["is_object"])
    assert masks[9][points[is_object][:, 1].astype(int), points[is_object][:, 0].astype(int)].all()
    assert not masks[9][points[~is_object][:, 1].astype(int), points[~is_object][:, 0].astype(int)].any()
    assert np.asarray(asked["prior"]).shape == masks[0].shape


def test_an_answer_about_something_else_is_not_taken_and_ends_the_track_when_it_goes_on() -> None:
    pictures, masks = crossing(14)
    wrong = np.roll(masks, 40, axis=2)
    mixed = np.where((np.arange(14) % 7 == 3)[:, None, None], wrong, masks)
    tracker = SamTracker(_Oracle(pictures, mixed))  # type: ignore[arg-type]
    tracker.start(pictures[0], masks[0])
    found = [tracker.step(picture) for picture in pictures[1:]]
    assert all(step.confidence >= CONFIDENT for step in found)
    assert all(iou(step.mask, mask) > 0.8 for step, mask in zip(found, masks[1:], strict=True))
    tracker = SamTracker(_Oracle(pictures, wrong))  # type: ignore[arg-type]
    tracker.start(pictures[0], masks[0])
    last = [tracker.step(picture) for picture in pictures[1:]][-1]
    assert last.confidence < CONFIDENT
    assert "outline" in last.reason
    assert 0 < AGREE < 1


def test_a_random_sam_selects_and_tracks_without_falling_over(network: SamNetwork) -> None:
    pictures, masks = crossing(4)
    prompt = FramePrompt(np.array([[33, 36]], np.float32), np.array([True]))
    for whole in (None, True, False):
        found = SamSelector(network, whole=whole).select(pictures[0], prompt)
        assert found.mask.shape == pictures[0].shape[:2]
        assert 0 <= found.confidence <= 1
        assert found.reason or found.confidence >= CONFIDENT
    boxed = FramePrompt(prompt.points, prompt.is_object, (10.0, 10.0, 60.0, 60.0))
    assert 0 <= SamSelector(network).select(pictures[0], boxed, prior=masks[0]).confidence <= 1
    tracker = SamTracker(network)
    tracker.start(pictures[0], masks[0])
    assert all(0 <= tracker.step(picture).confidence <= 1 for picture in pictures[1:])


def test_points_that_stand_for_a_mask() -> None:
    _, masks = crossing(1)
    points, is_inside = carried_points(masks[0])
    assert is_inside.tolist() == [True, True, True, False, False]
    hits = masks[0][points[:, 1].astype(int), points[:, 0].astype(int)]
    assert np.array_equal(hits, is_inside)


def test_the_best_sam_that_is_here_is_taken(checkpoint: Path, tmp_path: Path) -> None:
    assert find_sam(tmp_path) is None
    with pytest.raises(WeightsError, match="weights fetch sam_vit_b"):
        open_tools("sam", model_dir=tmp_path)
    for name in ("sam_vit_b", "sam_vit_l"):
        (tmp_path / f"{name}.pth").write_bytes(checkpoint.read_bytes())
        register_file(Card(name, f"{name}.pth", "0" * 64, checkpoint.stat().st_size), tmp_path)
    assert find_sam(tmp_path) == tmp_path / "sam_vit_l.pth"
    assert open_tools("auto", model_dir=tmp_path).name == "sam"
    assert open_tools("flow", model_dir=tmp_path).name == "flow"


@pytest.mark.parametrize("state", ["missing", "broken", "working"])
def test_segment_anything_is_imported_whatever_torchvision_is(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "torchvision"
    for folder in (package, package / "transforms", package / "ops"):
        folder.mkdir()
        (folder / "__init__.py").write_text("")
    (package / "transforms" / "functional.py").write_text("def resize(): ...\ndef to_pil_image(): ...\n")
    (package / "ops" / "boxes.py").write_text("def batched_nms(): ...\ndef box_area(): ...\n")
    if state == "broken":
        (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    if state == "missing":
        monkeypatch.setattr(sys, "meta_path", [_NoTorchvision(), *sys.meta_path])
    monkeypatch.syspath_prepend(str(tmp_path))
    before = _taken_out()
    try:
        assert import_segment_anything().SamPredictor.__name__ == "SamPredictor"
        resize = sys.modules["segment_anything.utils.transforms"].resize
        assert (resize.__module__ == "torchvision.transforms.functional") == (state == "working")
        assert ("torchvision" in sys.modules) == (state == "working")
    finally:
        _taken_out()
        sys.modules.update(before)


def _taken_out() -> dict[str, ModuleType]:
    """Take both packages out of the imported modules."""
    names = [name for name in sys.modules if name.partition(".")[0] in ("segment_anything", "torchvision")]
    return {name: sys.modules.pop(name) for name in names}


class _NoTorchvision:
    """A finder that hides torchvision, installed or not."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == "torchvision":
            raise ModuleNotFoundError(f"No module named {name!r}")
