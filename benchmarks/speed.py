"""Seconds a frame of the models, and how many times faster than each network written down plainly.

    python -m benchmarks.speed --threads 2 --precisions fp32 bf16

The plain VINet (`tests/models/vinet/twin.py`) does what the code of its authors does: it encodes all five sources
in every step, aligns them one by one, and in the 512 variant computes the full scale's flow and throws it away. On
the same machine and threads it takes the place of that code. Rules: a clip of noise with a moving hole; time of
encoding and step together, in the steady state, where each step needs one new frame; the fastest step, because other
work on the machine only ever adds. A model without recurrence (propagate) is timed as the mean over the clip.

Likewise the plain Onion-Peel and its temporal network (`tests/models/opn/twin.py`) take the place of the code of their
authors: four references that are encoded beforehand, a hole of two peels.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from time import perf_counter, process_time
from typing import NamedTuple

import cv2
import torch
from torch import Tensor

from tests.models.opn.twin import TwinOPN, TwinTCN
from tests.models.vinet.twin import TwinVINet, rule_weights
from vidfill.models import load_model
from vidfill.models.base import ClipSource, Model, View, recur
from vidfill.models.opn.attention import EncodedFrame
from vidfill.models.opn.authors import PEELING_LAYERS, TEMPORAL_LAYERS, authors_shapes, load_authors
from vidfill.models.opn.model import OPN
from vidfill.models.opn.tcn import TEMPORAL_CHANNELS, TemporalNetwork, block_around
from vidfill.models.vinet.model import NEIGHBOURS, VINet, VINetSizes

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": perf_counter, "processor": process_time}
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}
# VINet asks for frames up to six ahead; from the fourth step on, three residues are in the cache.
FIRST_STEADY, REACH = 3, max(NEIGHBOURS)


class Row(NamedTuple):
    """One line of the table."""

    model: str
    variant: str
    precision: str
    seconds: float
    times_faster: float | None


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    clip, holes = _clip(options.frames, options.size)
    print(f"{options.size[1]}x{options.size[0]}, threads {options.threads}, load {os.getloadavg()[0]:.1f}\n")
    print("| model | variant | precision | s/frame | x plain |\n|---|---|---|---|---|")
    for variant in options.variants:
        for row in _vinet_rows(variant, clip, holes, options.precisions, CLOCKS[options.clock]):
            _show(row)
    if options.opn:
        for row in _opn_rows(clip, options.precisions, CLOCKS[options.clock]):
            _show(row)
    if options.propagate:
        _show(
            Row("propagate", "", "fp32", _mean_step(load_model("propagate"), clip, holes, CLOCKS[options.clock]), None)
        )


def _vinet_rows(variant: str, clip: Tensor, holes: Tensor, precisions: list[str], clock: Clock) -> list[Row]:
    network = VINet(VINetSizes(double_size=variant == "512")).eval()
    tensors = rule_weights(network.authors_shapes())
    network.load_authors(tensors, source="rule")
    plain = _plain_step(TwinVINet(tensors, double_size=variant == "512"), clip, holes, clock)
    rows = [Row("plain vinet", variant, "fp32", plain, 1.0)]
    for precision in precisions:
        seconds = _fastest_step(network, clip, holes, PRECISIONS[precision], clock)
        rows.append(Row("vinet", variant, precision, seconds, plain / seconds))
    return rows


def _opn_rows(clip: Tensor, precisions: list[str], clock: Clock) -> list[Row]:
    network, temporal = OPN().eval(), TemporalNetwork(TEMPORAL_CHANNELS).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload] # missing in torch's stubs
    tensors, temporal_tensors = (
        rule_weights(authors_shapes(part, layers))
        for part, layers in ((network, PEELING_LAYERS), (temporal, TEMPORAL_LAYERS))
    )
    load_authors(network, PEELING_LAYERS, tensors, source="rule")
    load_authors(temporal, TEMPORAL_LAYERS, temporal_tensors, source="rule")
    frames = [clip[:, t] for t in range(5)]
    hole = torch.zeros_like(frames[0][:, :1])
    middle = hole.shape[-1] // 2
    hole[..., hole.shape[-2] // 4 : -(hole.shape[-2] // 4), middle - 16 : middle + 16] = 1
    with torch.inference_mode():
        plain, twin = TwinOPN(tensors), TwinTCN(temporal_tensors)
        remembered = [plain.remember(frame, hole) for frame in frames[1:]]
        base = _fastest(lambda: plain.complete(frames[0], hole, remembered), clock)
        now = (frames[0], hole)
        temporal_base = _fastest(lambda: twin.step(now, now, None), clock)
    rows = [Row("plain opn", "2 peels", "fp32", base, 1.0), Row("plain tcn", "", "fp32", temporal_base, 1.0)]
    for precision in precisions:
        short = PRECISIONS[precision]
        with torch.inference_mode(), torch.autocast("cpu", short or torch.bfloat16, enabled=short is not None):
            bank = [network.encode(frame * (1 - hole), hole) for frame in frames[1:]]
            seconds = _fastest(lambda bank=bank: _completed(network, frames[0] * (1 - hole), hole, bank), clock)  # type: ignore[misc]
            block = block_around(hole)
            temporal_seconds = _fastest(lambda block=block: temporal(now, now, None, block=block), clock)  # type: ignore[misc]
        rows.append(Row("opn", "2 peels", precision, seconds, base / seconds))
        rows.append(Row("tcn", "", precision, temporal_seconds, temporal_base / temporal_seconds))
    return rows


def _completed(network: OPN, frame: Tensor, hole: Tensor, bank: list[EncodedFrame]) -> Tensor:
    """One frame from the start: the frame itself has not been encoded before."""
    return network.complete(View(0, frame, hole, network.encode(frame, hole)), bank)[0]


def _fastest(work: Callable[[], object], clock: Clock) -> float:
    return min(_seconds(work, clock) for _ in range(3))


def _fastest_step(model: Model, clip: Tensor, holes: Tensor, short: torch.dtype | None, clock: Clock) -> float:
    steps = recur(model, ClipSource(model, clip, holes))
    seconds = []
    for t in range(clip.shape[1] - REACH):
        with torch.inference_mode(), torch.autocast("cpu", short or torch.bfloat16, enabled=short is not None):
            took = _seconds(lambda: next(steps), clock)
        if t >= FIRST_STEADY:
            seconds.append(took)
    return min(seconds)


def _mean_step(model: Model, clip: Tensor, holes: Tensor, clock: Clock) -> float:
    with torch.inference_mode():
        return _seconds(lambda: list(recur(model, ClipSource(model, clip, holes))), clock) / clip.shape[1]


def _plain_step(twin: TwinVINet, clip: Tensor, holes: Tensor, clock: Clock) -> float:
    masked = (clip.flip(2) * 2 - 1) * (1 - holes)
    frames = [(masked[:, t], holes[:, t]) for t in range(5)]
    previous = (clip[:, 0].flip(1) * 2 - 1, 0.5 * holes[:, 0])
    with torch.inference_mode():
        _, memory, _ = twin.step(frames[4], frames[:4], previous, None)
        return min(_seconds(lambda: twin.step(frames[4], frames[:4], previous, memory), clock) for _ in range(2))


def _seconds(work: Callable[[], object], clock: Clock) -> float:
    start = clock()
    work()
    return clock() - start


def _clip(n_frames: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Noise that moves by two pixels a frame, and a hole of a tenth of the frame."""
    height, width = size
    torch.manual_seed(0)
    wide = torch.rand(1, 3, height, width + 2 * n_frames)
    wide = torch.nn.functional.avg_pool2d(wide, 5, stride=1, padding=2)
    clip = torch.stack([wide[..., 2 * t : 2 * t + width] for t in range(n_frames)], dim=1)
    holes = torch.zeros(1, n_frames, 1, height, width)
    for t in range(n_frames):
        left = width // 4 + 3 * t
        holes[:, t, :, height // 3 : 2 * height // 3, left : left + width // 3] = 1
    return clip, holes


def _show(row: Row) -> None:
    faster = "" if row.times_faster is None else f"{row.times_faster:.2f}"
    print(f"| {row.model} | {row.variant} | {row.precision} | {row.seconds:.3f} | {faster} |", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Seconds a frame of the models.")
    parser.add_argument("--size", type=_size, default=(240, 432), metavar="WxH", help="432x240 by default")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--frames", type=int, default=14, help="length of the clip, at least 10")
    parser.add_argument("--variants", nargs="*", choices=("512", "256"), default=["512"])
    parser.add_argument("--precisions", nargs="+", choices=tuple(PRECISIONS), default=list(PRECISIONS))
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    parser.add_argument("--opn", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--propagate", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    if options.frames <= FIRST_STEADY + REACH:
        parser.error(f"--frames must be more than {FIRST_STEADY + REACH}")
    return options


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(height), int(width)


if __name__ == "__main__":
    main()
