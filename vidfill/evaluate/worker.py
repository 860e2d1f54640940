"""A contender in a process of its own, so that its memory is its own and the truth is out of its reach.

The process imports what its contender needs and nothing else, gets frames that are black in their holes, and gives
back fills. Scores are computed elsewhere: neither their time nor their memory counts.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vidfill.errors import DeviceError, VidfillError
from vidfill.evaluate.contenders import Contender, Filler, make_filler
from vidfill.evaluate.protocol import Frames
from vidfill.files.processes import no_interrupts
from vidfill.settings import EngineSettings
from vidfill.video.frame import Bool

_N_WARM_UP = 2
_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # of clear_refs, see proc(5)


@dataclass(frozen=True, slots=True)
class Usage:
    """What filling one clip took."""

    seconds: float  # spent in the model, with the conversion of its frames
    # Most resident memory of the process while it filled, in 10^6 bytes: interpreter, libraries, weights and the clip
    # itself included; None where the system does not tell. Where the system cannot start the count anew (all but Linux)
    # it is the most since the process started.
    peak_memory_mb: float | None
    device_memory_mb: float | None  # most memory of CUDA tensors, in 10^6 bytes; None where CUDA is not used


class FillerProcess:
    """A process that fills clips as a contender does, one after another; a context manager."""

    def __init__(self, contender: Contender, machine: EngineSettings) -> None:
        context = multiprocessing.get_context("spawn")
        self.contender = contender
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, contender, machine), daemon=True)
        self._there = there

    def __enter__(self) -> Self:
        """Start the process."""
        with no_interrupts():
            self._process.start()
        self._there.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._pipe.close()
        self._process.terminate()
        self._process.join()

    def fill(
        self, frames: Frames, holes: Sequence[Bool], *, on_frame: Callable[[], None] | None = None
    ) -> tuple[list[NDArray[np.uint8]], Usage]:
        """Fill a clip, given black inside its holes; `on_frame` is called after each frame.

        Returns:
            The fills, as many as frames, and what they took.

        Raises:
            VidfillError: what the filler raised.
            DeviceError: the process was killed, which mostly means that memory ran out.
        """
        filled: list[NDArray[np.uint8]] = []
        try:
            self._pipe.send(len(frames))
            for pair in zip(frames, holes, strict=True):
                self._pipe.send(pair)
            while not isinstance(answer := self._pipe.recv(), Usage):
                if isinstance(answer, VidfillError):
                    raise answer
                filled.append(answer)
                if on_frame is not None:
                    on_frame()
        except (EOFError, OSError) as error:
            self._process.join(timeout=5)
            raise DeviceError(
                f"the process of {self.contender.label} ended with code {self._process.exitcode}",
                todo="look whether memory ran out",
            ) from error
        return filled, answer


def _work(pipe: Connection, contender: Contender, machine: EngineSettings) -> None:
    """The process: fill what comes through the pipe until nobody is at its other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever has the terminal decides
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        filler: Filler | None = None
        while True:
            pairs = [pipe.recv() for _ in range(pipe.recv())]
            frames, holes = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            try:
                if filler is None:
                    filler = make_filler(contender, machine)
                    # What happens once in a process (libraries, kernels that are chosen) is no part of a frame's time.
                    list(filler(frames[:_N_WARM_UP], holes[:_N_WARM_UP]))
                for answer in _timed(filler, frames, holes):
                    pipe.send(answer)
            except VidfillError as error:
                pipe.send(error)
            except Exception as error:  # noqa: BLE001 - a fault in a model is told by the process that has a terminal
                pipe.send(VidfillError(f"{contender.label} failed: {type(error).__name__}: {error}"))


def _timed(filler: Filler, frames: list[NDArray[np.uint8]], holes: list[Bool]) -> Iterator[NDArray[np.uint8] | Usage]:
    _reset_peaks()
    seconds = 0.0
    fills = iter(filler(frames, holes))
    while True:
        start = time.perf_counter()
        fill = next(fills, None)
        seconds += time.perf_counter() - start
        if fill is None:
            break
        yield fill
    yield Usage(seconds, _peak_memory_mb(), _device_memory_mb())


def _reset_peaks() -> None:
    with contextlib.suppress(OSError):
        _CLEAR_REFS.write_text(_RESET_PEAK)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        for number in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(number)


def _peak_memory_mb() -> float | None:
    """VmHWM on Linux: getrusage would count what the parent had when it forked. Elsewhere the largest ever."""
    if _STATUS.is_file():
        fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _device_memory_mb() -> float | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return float(sum(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count()))) / 1e6
