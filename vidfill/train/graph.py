"""Work on a GPU that is captured once and launched as a whole."""

from __future__ import annotations

from collections.abc import Callable

import torch

# Runs before the capture, so that everything that is allocated or chosen at first use is there.
_N_WARMUP = 3


def can_capture(device: torch.device) -> bool:
    """Whether work on the device can be captured."""
    return device.type == "cuda"


def capture(work: Callable[[], object]) -> Callable[[], object]:
    """Capture work as a CUDA graph, after it has run three times to warm up; returns what does it again.

    The work may touch nothing but tensors on the current CUDA device, always the same ones.
    """
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_N_WARMUP):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay
