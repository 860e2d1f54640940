"""What `--adapt` is worth: removals with and without it, on clips whose truth is known.

    python -m benchmarks.adaptation CLIPS --only libby,camel --minutes 2 --threads 2

The protocol's hole (see `vidfill.metrics.protocol`) plays the real one: its pixels are black in what is given to
`vidfill.remove`, so nothing can be learned from them. Scores are those of `vidfill evaluate`: PSNR inside the hole, and
warp error times 1000. "held out" is what the adaptation itself goes by: PSNR in its own held-out holes. "CPU s" is what
it took of the processor: more than its minutes on several threads, less where other work goes on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

import vidfill
from vidfill.adapter import Adapted
from vidfill.metrics.protocol import Clip, Frame, Hole, Protocol, chosen_clips, load_clip
from vidfill.metrics.quality import psnr
from vidfill.metrics.temporal import warp_error
from vidfill.pipeline import Progress


class Scores(NamedTuple):
    """Of one removal."""

    hole_psnr_db: float
    warp_error: float


def main() -> None:
    options = _options()
    cv2.setNumThreads(options.threads)
    print(f"{options.model}, {options.minutes:g} minutes, {options.threads} threads, load {os.getloadavg()[0]:.1f}\n")
    print("| clip | hole | CPU s | steps | held out | kept | hole PSNR | with --adapt | warp error | with --adapt |")
    print("|" + "---|" * 10)
    for name in chosen_clips(options.clips, options.only):
        for protocol in options.protocols:
            clip = load_clip(options.clips, name, protocol, n_frames=options.frames)
            _show(name, protocol, clip, options)


def _show(name: str, protocol: Protocol, clip: Clip, options: argparse.Namespace) -> None:
    spent_s = 0.0

    def note(step: Progress) -> None:
        nonlocal spent_s
        if step.stage == "adapt":
            spent_s = time.process_time() - started_s

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        _write(folder / "frames", clip.given())
        _write(folder / "masks", [np.repeat(hole[..., None], 3, axis=2) * np.uint8(255) for hole in clip.holes])
        started_s = time.process_time()
        after, adapted = _removed(folder, clip, options, vidfill.Adaptation(options.minutes), note)
        assert adapted is not None
        # Weights that stay as they were fill as they did.
        before = _removed(folder, clip, options, None, None)[0] if adapted.is_kept else after
    held_out = adapted.obstacle
    if adapted.before is not None and adapted.after is not None:
        held_out = f"{adapted.before.hole_psnr_db:.2f} -> {adapted.after.hole_psnr_db:.2f}"
    kept = "yes" if adapted.is_kept else "no"
    print(
        f"| {name} | {protocol} | {spent_s:.0f} | {adapted.n_steps} | {held_out} | {kept} "
        f"| {before.hole_psnr_db:.2f} | {after.hole_psnr_db:.2f} | {before.warp_error:.2f} | {after.warp_error:.2f} |",
        flush=True,
    )


def _removed(
    folder: Path,
    clip: Clip,
    options: argparse.Namespace,
    adaptation: vidfill.Adaptation | None,
    progress: Callable[[Progress], None] | None,
) -> tuple[Scores, Adapted | None]:
    output = folder / ("plain" if adaptation is None else "adapted")
    result = vidfill.remove(
        folder / "frames", f"{output}/", mask=folder / "masks", fps=Fraction(25),
        dilate=0, feather=0, blend=False, grain=False, working_size="native", adapt=adaptation, progress=progress,
        model=options.model, checkpoint=options.checkpoint, threads=options.threads, device=options.device,
    )  # fmt: skip
    filled = clip.composited([_read(file) for file in sorted(output.glob("*.png"))])
    return _scored(filled, clip.frames, clip.holes), result.adapted


def _scored(output: Sequence[Frame], truth: Sequence[Frame], holes: Sequence[Hole]) -> Scores:
    holed = [t for t, hole in enumerate(holes) if hole.any()]
    values = [psnr(output[t], truth[t], holes[t]) for t in holed]
    return Scores(float(np.mean(values)), 1000 * warp_error(output, truth))


def _write(folder: Path, pictures: Sequence[Frame]) -> None:
    folder.mkdir()
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number:05d}.png"), np.ascontiguousarray(picture[..., ::-1]))


def _read(file: Path) -> Frame:
    return np.asarray(cv2.imread(str(file), cv2.IMREAD_COLOR_RGB), np.uint8)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="a folder of clips, as vidfill evaluate takes it")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], metavar="CLIP,...")
    parser.add_argument("--protocols", nargs="+", choices=("S", "O"), default=["S", "O"])
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--model", default="fuse")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
