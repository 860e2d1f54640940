"""Where a model runs: device, number type and threads; which errors mean out of memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import cv2
import torch
from torch import Tensor

from vidfill.errors import DeviceError, UsageError
from vidfill.models.base import Model
from vidfill.settings import EngineSettings

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_SHORT = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Runtime:
    """An available device, and the number type that networks use on it."""

    device: torch.device
    short_type: torch.dtype | None  # of autocast, None for float32
    is_network: bool  # whether the model has weights; one without keeps float32 and its own memory layout

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Inference mode, and autocast where chosen; never held across a `yield` to other code."""
        kind, short = self.device.type, self.short_type
        with torch.inference_mode(), contextlib.nullcontext() if short is None else torch.autocast(kind, short):
            yield

    def place(self, model: Model) -> Model:
        """Move a model to the device for inference, with convolutions in channels-last; in place."""
        model = model.to(self.device).eval()
        if self.is_network:
            for parameter in model.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return model

    def tensor(self, value: Tensor) -> Tensor:
        """Move a (B, C, H, W) tensor to the device, in the memory layout of the network."""
        layout = torch.channels_last if self.is_network else torch.contiguous_format
        return value.to(self.device, memory_format=layout)

    def forget_cached_memory(self) -> None:
        """Return freed blocks, so that a smaller attempt does not fail because of fragmentation."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()


def check_settings(settings: EngineSettings) -> None:
    """Check settings before a model is loaded; raises as `choose_runtime` does."""
    _short_type(settings.precision, choose_device(settings.device), is_network=True)


def choose_runtime(model: Model, settings: EngineSettings) -> Runtime:
    """Choose device and number type; for a model without weights "auto" is the CPU and float32.

    Raises:
        DeviceError: the device is not there.
        UsageError: a name that is no device or no precision.
    """
    is_network = next(model.parameters(), None) is not None
    device = choose_device(settings.device) if settings.device != "auto" or is_network else torch.device("cpu")
    return Runtime(device, _short_type(settings.precision, device, is_network=is_network), is_network)


def choose_device(name: str) -> torch.device:
    """The device of a name: "auto" prefers CUDA, then MPS, then the CPU.

    Raises:
        DeviceError: the device is not there.
        UsageError: a name that is no device.
    """
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (number and (kind != "cuda" or not number.isdecimal())):
        raise UsageError(f"device {name!r}", expected="auto, cpu, cuda, cuda:N or mps")
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps = torch.backends.mps.is_available()
    if kind == "auto":
        kind = "cuda" if n_cuda else "mps" if has_mps else "cpu"
    if kind == "cuda" and int(number or 0) >= n_cuda:
        raise DeviceError(
            f"device {name!r}, but torch {torch.__version__} sees {n_cuda} CUDA devices",
            todo="pass --device auto, or install a CUDA build of torch and a driver",
        )
    if kind == "mps" and not has_mps:
        raise DeviceError("device 'mps', but torch sees no Apple GPU", todo="pass --device auto")
    return torch.device(f"cuda:{int(number or 0)}" if kind == "cuda" else kind)


def _short_type(precision: str, device: torch.device, *, is_network: bool) -> torch.dtype | None:
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}", expected=", ".join(PRECISIONS))
    if precision != "auto" or not is_network:
        return _SHORT.get(precision)
    return fast_short_type(device)


def fast_short_type(device: torch.device, *, for_training: bool = False) -> torch.dtype | None:
    """The 16-bit type of autocast with which networks are faster on a device than in float32; None where none is.

    The one place where "auto" precision is decided. Training takes bfloat16 only: gradients leave the range of float16.
    """
    if device.type == "cuda":
        if for_training:
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
        # float16 keeps 11 bits of a value where bfloat16 keeps 8: a third of a grey level instead of two.
        return torch.float16 if torch.cuda.get_device_capability(device) >= (7, 0) else None
    return torch.bfloat16 if device.type == "cpu" and multiplies_bf16() else None


def multiplies_bf16(cpu: ModuleType = torch.cpu) -> bool:
    """Whether this CPU multiplies bfloat16 (AMX or AVX-512 BF16): at least about twice as fast as float32, else slower.

    Versions of torch may lack the probes, which are looked up in the module `cpu`.
    """
    probes = (getattr(cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(probe() for probe in probes if probe is not None)


@contextlib.contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Run a block with so many CPU threads in torch and OpenCV; 0 for no change."""
    if threads <= 0:
        yield
        return
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch, OpenCV or Python means that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, cv2.error):
        return getattr(error, "code", None) == cv2.Error.StsNoMem or "Insufficient memory" in str(error)
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        phrase in text for phrase in ("not enough memory", "can't allocate memory", "out of memory")
    )
