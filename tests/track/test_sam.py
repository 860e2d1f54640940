import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tests.clips import Pictures
from tests.track.networks import save_sam, tiny_sam
from tests.track.scenes import crossing
from vidfill.errors import WeightsError
from vidfill.masks.prompt import FramePrompt
from vidfill.track.base import CONFIDENT
from vidfill.track.sam import SamSelector, SamTracker, representative_points
from vidfill.track.sam_network import Answers, SamNetwork, build_sam
from vidfill.track.select import iou
from vidfill.track.tools import open_tools
from vidfill.video.frame import Bool, Rgb
from vidfill.weights import Card, register_file


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sam(tmp_path_factory.mktemp("sam") / "sam_vit_b_01ec64.pth")


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> SamNetwork:
    return SamNetwork(checkpoint)


def _resize(picture: Rgb, size: tuple[int, int]) -> Rgb:
    """In the place of torchvision's."""
    image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(image, size, mode="bilinear", antialias=True)
    return np.asarray(resized[0].permute(1, 2, 0).numpy(), np.uint8)


@pytest.fixture(scope="module")
def package() -> Iterator[Any]:
    """The whole of segment_anything, which needs four functions of torchvision."""
    names = ["torchvision", "torchvision.transforms.functional", "torchvision.ops.boxes"]
    stand_ins: list[Any] = [ModuleType(name) for name in names]
    stand_ins[1].resize, stand_ins[1].to_pil_image = _resize, lambda picture: picture
    stand_ins[2].batched_nms = stand_ins[2].box_area = None
    with pytest.MonkeyPatch.context() as patch:
        for name, module in zip(names, stand_ins, strict=True):
            patch.setitem(sys.modules, name, module)
        yield importlib.import_module("segment_anything")
        for name in [name for name in sys.modules if name.partition(".")[0] == "segment_anything"]:
            del sys.modules[name]


def test_sizes_come_from_the_tensors(checkpoint: Path) -> None:
    built = build_sam(torch.load(checkpoint, weights_only=True), name="x")
    assert str(built) == str(tiny_sam())
    assert [block.window_size for block in built.image_encoder.blocks] == [14, 0]


def test_sizes_of_vit_b(package: Any) -> None:
    with torch.device("meta"):
        real = package.sam_model_registry["vit_b"]()
        built = build_sam(real.state_dict(), name="x")
    assert [tuple(p.shape) for p in built.parameters()] == [tuple(p.shape) for p in real.parameters()]
    assert [b.window_size for b in built.image_encoder.blocks] == [b.window_size for b in real.image_encoder.blocks]


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="no checkpoint of Segment Anything"):
        SamNetwork(tmp_path / "x.pth")
    tensors = tiny_sam().state_dict()
    del tensors["mask_decoder.iou_token.weight"]
    torch.save(tensors, tmp_path / "y.pth")
    with pytest.raises(WeightsError, match="no checkpoint of Segment Anything"):
        SamNetwork(tmp_path / "y.pth")


def test_same_answers_as_sam_predictor(network: SamNetwork, checkpoint: Path, package: Any) -> None:
    pictures, _ = crossing(2)
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
        assert np.array_equal(answers.logits, logits)
        assert np.array_equal(answers.scores, scores)
    assert answers.logits.shape == (3, *pictures[0].shape[:2])


def test_embeddings_are_cached(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, _ = crossing(7)
    built = build_sam(torch.load(checkpoint, weights_only=True), name="x")
    n_encoded = 0

    def count(*_: object) -> None:
        nonlocal n_encoded
        n_encoded += 1

    built.image_encoder.register_forward_hook(count)
    monkeypatch.setattr("vidfill.track.sam_network.build_sam", lambda *_, name: built)
    network = SamNetwork(checkpoint)
    point = np.array([[33, 36]], np.float32)

    def ask(picture: Rgb) -> int:
        network.predict(picture, points=point, is_object=np.array([True]))
        return n_encoded

    assert [ask(pictures[3].copy()) for _ in range(3)] == [1, 1, 1]
    assert [ask(picture) for picture in pictures] == [2, 3, 4, 4, 5, 6, 7]
    assert [ask(picture) for picture in pictures[3:]] == [7, 7, 7, 7]  # the last four
    assert ask(pictures[2]) == 8


def test_choice_of_answers() -> None:
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

    def predict(self, picture: Rgb, **asked: object) -> Answers:
        self.asked.append(asked)
        mask = self._known[picture.tobytes()]
        return Answers(np.where(mask, 9, -9)[None].astype(np.float32), np.array([self._score], np.float32))


def test_prompts_of_the_tracker() -> None:
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


def test_answers_about_something_else() -> None:
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


def test_random_sam(network: SamNetwork) -> None:
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


def test_representative_points() -> None:
    _, masks = crossing(1)
    points, is_inside = representative_points(masks[0])
    assert is_inside.tolist() == [True, True, True, False, False]
    hits = masks[0][points[:, 1].astype(int), points[:, 0].astype(int)]
    assert np.array_equal(hits, is_inside)


def test_best_installed_sam(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="weights fetch sam_vit_b"):
        open_tools("sam", model_dir=tmp_path)
    for name in ("sam_vit_b", "sam_vit_l"):
        (tmp_path / f"{name}.pth").write_bytes(checkpoint.read_bytes())
        register_file(Card(name, f"{name}.pth", "0" * 64, checkpoint.stat().st_size), tmp_path)
    assert open_tools("auto", model_dir=tmp_path).name == "sam"
    assert open_tools("flow", model_dir=tmp_path).name == "flow"
    (tmp_path / "sam_vit_l.pth").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="sam_vit_l"):
        open_tools("sam", model_dir=tmp_path)
