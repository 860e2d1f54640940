"""From names to fillers: baselines, weights by name, parts that are switched off, processes."""

import multiprocessing
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tests.engine.models import WINDOW, Recorder
from vidfill.errors import DeviceError, UsageError, VidfillError, WeightsError
from vidfill.evaluate.ablation import Ablated
from vidfill.evaluate.contenders import Contender, make_filler, parse_contenders
from vidfill.evaluate.worker import FillerProcess
from vidfill.models.base import unroll
from vidfill.models.vinet.model import VINet, VINetSizes
from vidfill.settings import EngineSettings
from vidfill.weights import Checkpoint, save_weights

SLIM = VINetSizes(encoder=(4, 4, 4, 4), head=4, estimator=((4, 4),) * 4, context=((4,) * 6,) * 4, double_size=False)


@pytest.fixture
def machine(tmp_path: Path) -> EngineSettings:
    return EngineSettings(device="cpu", precision="fp32", threads=1, model_dir=tmp_path / "none")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "slim.safetensors"
    network = VINet(SLIM)
    save_weights(path, Checkpoint("vinet", network.sizes, network.state_dict()))
    return path


@pytest.mark.parametrize(("name", "method"), [("telea", cv2.INPAINT_TELEA), ("ns", cv2.INPAINT_NS)])
def test_baselines_are_opencvs(name: str, method: int, machine: EngineSettings) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    hole = np.zeros((24, 32), np.bool_)
    hole[8:14, 10:20] = True
    (filled,) = make_filler(Contender(name, name), machine)([frame], [hole])
    assert (filled == cv2.inpaint(frame, hole.astype(np.uint8), 3, method)).all()


def test_a_checkpoint_goes_by_any_name_and_may_lose_a_part(weights: Path, machine: EngineSettings) -> None:
    labels = ["telea", "mine", "mine-without-memory", "mine-without-flow", "propagate"]
    rows = parse_contenders(labels, {"mine": weights}, machine)
    assert [(row.label, row.model, row.without) for row in rows] == [
        ("telea", "telea", ""),
        ("mine", "vinet", ""),
        ("mine-without-memory", "vinet", "memory"),
        ("mine-without-flow", "vinet", "flow"),
        ("propagate", "propagate", ""),
    ]
    assert rows[1].sha256 == rows[2].sha256 != ""
    frames = [np.full((16, 24, 3), 90, np.uint8)] * 2
    holes = [np.ones((16, 24), np.bool_)] * 2
    assert [fill.shape for fill in make_filler(rows[3], machine)(frames, holes)] == [(16, 24, 3)] * 2


@pytest.mark.parametrize(
    ("labels", "checkpoints", "message"),
    [
        ([], [], "no model named"),
        (["nonsense"], [], "no model 'nonsense'; expected telea, ns, "),
        (["telea", "ns", "telea"], [], "telea is named twice"),
        (["telea"], ["mine"], "checkpoint mine is not among --models"),
        (["telea"], ["telea"], "neither weights nor parts"),
        (["ns-without-memory"], [], "neither weights nor parts"),
        (["propagate"], ["propagate"], "holds weights for vinet"),
        (["propagate-without-flow"], [], "no flow networks"),
        (["propagate-without-sense"], [], "no part 'sense'"),
    ],
)
def test_names_that_are_nothing(
    labels: list[str], checkpoints: list[str], message: str, weights: Path, machine: EngineSettings
) -> None:
    with pytest.raises(UsageError, match=message):
        parse_contenders(labels, dict.fromkeys(checkpoints, weights), machine)


def test_weights_and_devices_are_looked_for_at_once(tmp_path: Path, weights: Path, machine: EngineSettings) -> None:
    with pytest.raises(WeightsError, match="no weight file"):
        parse_contenders(["mine"], {"mine": tmp_path / "missing.safetensors"}, machine)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        parse_contenders(["mine"], {"mine": cut}, machine)
    with pytest.raises(UsageError, match="abacus"):
        parse_contenders(["telea", "propagate"], {}, EngineSettings(device="abacus"))


def test_a_model_without_a_part() -> None:
    clip, holes = torch.rand(1, 4, 3, 8, 8), torch.ones(1, 4, 1, 8, 8)
    whole, forgetful, deaf = Recorder(WINDOW), Recorder(WINDOW), Recorder(WINDOW)
    unroll(whole, clip, holes)
    unroll(Ablated(forgetful, without="memory"), clip, holes)
    unroll(Ablated(deaf, without="feedback"), clip, holes)
    assert [window[3:] for window in whole.windows] == [(None, None), (0, 1), (1, 2), (2, 3)]
    assert [window[3:] for window in forgetful.windows] == [(None, None), (0, None), (1, None), (2, None)]
    assert [window[3:] for window in deaf.windows] == [(None, None), (None, 1), (None, 2), (None, 3)]
    assert [window[:3] for window in deaf.windows] == [window[:3] for window in whole.windows]


def test_without_flow_nothing_moves() -> None:
    model = Recorder(WINDOW)
    model.flow = nn.ModuleDict({"at8": nn.Conv2d(1, 2, 1)})
    moved = torch.ones(1, 1, 4, 4)
    assert model.flow["at8"](moved).abs().sum() > 0
    Ablated(model, without="flow")
    assert model.flow["at8"](moved).abs().sum() == 0


def test_a_process_fills_as_this_one_does(machine: EngineSettings) -> None:
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 256, (3, 24, 32, 3), np.uint8))
    holes = [np.zeros((24, 32), np.bool_) for _ in frames]
    for i, hole in enumerate(holes):
        hole[4 + i : 12, 5:20] = True
    contender = Contender("telea", "telea")
    n_seen = []
    with FillerProcess(contender, machine) as worker:
        filled, usage = worker.fill(frames, holes, on_frame=lambda: n_seen.append(1))
        again, _ = worker.fill(frames[:1], holes[:1])
        assert len(multiprocessing.active_children()) == 1
    assert multiprocessing.active_children() == []
    here = list(make_filler(contender, machine)(frames, holes))
    assert all((a == b).all() for a, b in zip(filled, here, strict=True))
    assert len(n_seen) == 3 and (again[0] == here[0]).all()
    assert 0 < usage.seconds < 10
    assert usage.peak_memory_mb is None or 20 < usage.peak_memory_mb < 250, "no torch in it, nothing of this process"


def test_errors_of_the_process_arrive(machine: EngineSettings, tmp_path: Path) -> None:
    pictures, holes = [np.zeros((8, 8, 3), np.uint8)], [np.ones((8, 8), np.bool_)]
    damaged = tmp_path / "opn.safetensors"
    damaged.write_text("no weights")
    with FillerProcess(Contender("mine", "opn", damaged), machine) as worker:
        with pytest.raises(WeightsError, match="opn.safetensors is not a whole") as caught:
            worker.fill(pictures, holes)
        assert caught.value.todo
    with FillerProcess(Contender("telea", "telea"), machine) as worker:
        with pytest.raises(VidfillError, match=r"telea failed: .*error"):
            worker.fill([np.zeros((8, 8), np.float64)], holes)
        multiprocessing.active_children()[0].kill()
        with pytest.raises(DeviceError, match=f"telea ended with code {-signal.SIGKILL}"):
            worker.fill(pictures, holes)
