"""Devices and number types are checked, and what running out of memory looks like is known."""

from types import ModuleType

import cv2
import pytest
import torch

from tests.engine.models import WINDOW, Recorder
from vidfill.engine import device
from vidfill.engine.device import (
    check_settings,
    choose_device,
    choose_runtime,
    fast_short_type,
    is_out_of_memory,
    limited_threads,
    multiplies_bf16,
)
from vidfill.errors import DeviceError, UsageError
from vidfill.models.base import Model
from vidfill.settings import EngineSettings


class _Network(Recorder):
    def __init__(self) -> None:
        super().__init__(WINDOW)
        self.conv = torch.nn.Conv2d(3, 4, 3)


@pytest.mark.parametrize("name", ["gpu", "cpu:0", "cuda:x", "cuda:-1", "mps:1", ""])
def test_what_is_no_device_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="expected auto, cpu, cuda"):
        choose_device(name)


def test_a_cuda_device_that_is_not_there_is_a_device_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cuda") == choose_device("auto") == torch.device("cuda:0")
    with pytest.raises(DeviceError, match="sees 2 CUDA devices"):
        choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="sees 0 CUDA devices.*--device auto"):
        choose_device("cuda")


def test_auto_prefers_cuda_then_mps_then_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="Apple"):
        choose_device("mps")


def test_a_model_without_weights_stays_on_the_cpu_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    runtime = choose_runtime(Recorder(WINDOW), EngineSettings())
    assert (runtime.device, runtime.short_type) == (torch.device("cpu"), None)


def test_precision_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "multiplies_bf16", lambda: False)
    assert choose_runtime(_Network(), EngineSettings(device="cpu")).short_type is None
    monkeypatch.setattr(device, "multiplies_bf16", lambda: True)
    assert choose_runtime(_Network(), EngineSettings(device="cpu")).short_type == torch.bfloat16
    assert choose_runtime(Recorder(WINDOW), EngineSettings(device="cpu")).short_type is None
    assert choose_runtime(_Network(), EngineSettings(device="cpu", precision="fp32")).short_type is None
    assert choose_runtime(_Network(), EngineSettings(device="cpu", precision="bf16")).short_type == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 0))
    assert choose_runtime(_Network(), EngineSettings(device="cuda")).short_type == torch.float16
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    assert choose_runtime(_Network(), EngineSettings(device="cuda")).short_type is None
    with pytest.raises(UsageError, match="precision 'half'"):
        check_settings(EngineSettings(device="cpu", precision="half"))


def test_training_takes_bfloat16_or_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    for is_fast, expected in ((False, None), (True, torch.bfloat16)):
        monkeypatch.setattr(device, "multiplies_bf16", lambda is_fast=is_fast: is_fast)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda is_fast=is_fast: is_fast)
        assert fast_short_type(cpu, for_training=True) == fast_short_type(cpu) == expected
        assert fast_short_type(cuda, for_training=True) == expected


@pytest.mark.parametrize(
    ("probes", "expected"),
    [
        ({"_is_amx_tile_supported": True, "_is_avx512_bf16_supported": False}, True),
        ({"_is_amx_tile_supported": False, "_is_avx512_bf16_supported": True}, True),
        ({"_is_amx_tile_supported": False, "_is_avx512_bf16_supported": False}, False),
        ({"_is_avx512_bf16_supported": True}, True),
        ({"_is_amx_tile_supported": False}, False),
        ({}, False),
    ],
)
def test_bfloat16_is_for_cpus_that_multiply_it(probes: dict[str, bool], expected: bool) -> None:
    cpu = ModuleType("cpu")
    for name, answer in probes.items():
        setattr(cpu, name, lambda answer=answer: answer)
    assert multiplies_bf16(cpu) is expected


def test_networks_are_placed_in_channels_last() -> None:
    model: Model = _Network()
    choose_runtime(model, EngineSettings(device="cpu", precision="fp32")).place(model.train())
    assert not model.training
    (weight,) = (p for p in model.parameters() if p.dim() == 4)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_threads_are_set_for_a_block_and_restored() -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    with limited_threads(3):
        assert torch.get_num_threads() == 3
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before


def test_out_of_memory_is_known_by_its_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("not enough memory"))
