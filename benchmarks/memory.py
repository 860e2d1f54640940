"""Peak memory of `remove`: it must not depend on the length of the video, and 1080p must fit into 2 GB.

    python -m benchmarks.memory [--frames 300 3000] [--working-size 216x120]

Each run is a process of its own; what counts is the most that it had resident. The clips are made on the spot.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from tests.clips import texture
from vidfill.removal.run import remove

MAX_GROWTH = 1.05  # of the long video over the short one
MAX_1080P_BYTES = 2 * 10**9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs=2, default=(300, 3000), help="of the 854x480 clips")
    parser.add_argument("--working-size", default="216x120", help="smaller is faster; memory is bounded all the same")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)  # one run, in a process of its own
    options = parser.parse_args()
    if options.measure:
        _measure(*options.measure)
        return
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for n in options.frames:
            clip = _write(Path(folder) / f"{n}.mp4", n=n, size=(480, 854))
            peaks.append(_measured(clip, "200,150,160,100", options.model, options.working_size))
        large = _measured(_write(Path(folder) / "1080.mp4", n=60, size=(1080, 1920)), "800,400,400,240", options.model)
    growth = peaks[1] / peaks[0]
    print(f"{options.frames[1]} frames over {options.frames[0]}: {growth:.3f} times the memory (at most {MAX_GROWTH})")
    print(f"1080p: {large / 1e9:.2f} GB (at most {MAX_1080P_BYTES / 1e9:.0f})")
    if growth > MAX_GROWTH or large > MAX_1080P_BYTES:
        sys.exit(1)


def _write(path: Path, *, n: int, size: tuple[int, int]) -> Path:
    """A texture that goes round and round, encoded as it is made."""
    picture = texture(size)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "28"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for t in range(n):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, (t, 2 * t), axis=(0, 1)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _measured(source: Path, box: str, model: str, working_size: str | None = None) -> int:
    """Run `remove` in a process of its own; its peak in bytes."""
    output = source.with_name(f"out_{source.name}")
    start = time.perf_counter()
    run = [sys.executable, "-m", "benchmarks.memory", "--measure", str(source), str(output), box, model]
    answer = subprocess.run([*run, working_size or ""], check=True, capture_output=True, text=True).stdout
    peak = int(answer.split()[-1])
    print(f"{source.stem:>6}: {peak / 1e6:.0f} MB in {time.perf_counter() - start:.0f} s", flush=True)
    return peak


def _measure(source: str, output: str, box: str, model: str, working_size: str) -> None:
    remove(source, output, box=[box], model=model, device="cpu", threads=1, working_size=working_size or None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak if sys.platform == "darwin" else peak * 1024)  # Linux counts in KiB


if __name__ == "__main__":
    main()
