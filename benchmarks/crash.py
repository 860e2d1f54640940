"""Kill it, and see whether anything is lost: workers of a batch, a whole batch, a single removal.

    python -m benchmarks.crash [--good 30] [--every 4] [--moments 20]

1. A batch of good videos and of ten that are broken in ten ways. The batch itself is killed once, then its workers one
   after the other, with SIGKILL. All good outputs must be there and identical to those of an undisturbed batch, each
   broken video named with its reason, the exit code 8, and nothing left lying about.
2. One removal, killed with SIGKILL at random moments, then resumed: the same bytes each time.

Outputs are FFV1, whose bytes follow from the pictures; the model is propagate.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.batch.workers import worker_pids
from tests.clips import damage_packets, truncate, write_clip, write_images

COMMAND = [sys.executable, "-m", "vidfill"]
EXACT = ["--codec", "ffv1", "--model", "propagate", "--device", "cpu"]
SIZE = (64, 96)
ROOT = Path(__file__).parent.parent


def write_good(folder: Path, n_videos: int, *, n_frames: int = 16) -> None:
    """Videos good00.mkv and so on, with their masks in good00_masks/."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n_videos):
        clip = write_clip(folder / f"good{number:02}.mkv", n=n_frames, size=SIZE, seed=number, with_object=True)
        write_images(folder / f"good{number:02}_masks", clip.masks)


def _clip(folder: Path, name: str, *, masks: bool = True) -> Path:
    clip = write_clip(folder / f"{name}.mp4", n=12, size=SIZE, with_object=True)
    if masks:
        write_images(folder / f"{name}_masks", clip.masks)
    return clip.path


def _empty_file(folder: Path) -> None:
    _clip(folder, "empty_file").write_bytes(b"")


def _text(folder: Path) -> None:
    _clip(folder, "text").write_text("not a video at all\n" * 50)


def _cut_short(folder: Path) -> None:
    whole = _clip(folder, "cut_short")
    truncate(whole, part := folder / "part", keep=0.3)
    part.replace(whole)


def _sound_only(folder: Path) -> None:
    path = _clip(folder, "sound_only")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux([*stream.encode(frame), *stream.encode(None)])


def _no_frames(folder: Path) -> None:
    _clip(folder, "no_frames").unlink()
    (folder / "no_frames.mp4").mkdir()


def _damaged(folder: Path) -> None:
    whole = _clip(folder, "damaged")
    damage_packets(whole, part := folder / "part", list(range(12)))
    part.replace(whole)


def _no_masks(folder: Path) -> None:
    _clip(folder, "no_masks", masks=False)


def _few_masks(folder: Path) -> None:
    _clip(folder, "few_masks")
    (folder / "few_masks_masks" / "00003.png").unlink()


def _black_masks(folder: Path) -> None:
    _clip(folder, "black_masks")
    write_images(folder / "black_masks_masks", np.zeros((12, *SIZE), np.bool_))


def _no_image(folder: Path) -> None:
    _clip(folder, "no_image")
    (folder / "no_image_masks" / "00005.png").write_text("not an image")


BREAKERS: tuple[tuple[Callable[[Path], None], str], ...] = (
    (_empty_file, "is empty"),
    (_text, "is not a video"),
    (_cut_short, "moov"),
    (_sound_only, "holds audio"),
    (_no_frames, "holds no images"),
    (_damaged, "can be decoded"),
    (_no_masks, "no mask at"),
    (_few_masks, "11 masks"),
    (_black_masks, "empty in all"),
    (_no_image, "cannot be read as an image"),
)
"""How to break a video, which is then named like the function, and what must be said of it."""


def batch_command(folder: Path, out: Path, *, n_workers: int) -> list[str]:
    """The command of a batch over all videos of a folder."""
    words = ["--out", str(out), "--mask-pattern", "{stem}_masks", "-j", str(n_workers), "--json", "--progress", "plain"]
    return [*COMMAND, "batch", str(folder), *words, *EXACT]


def kill_workers(batch: subprocess.Popen[str], *, every_s: float, most: int, seed: int = 0) -> int:
    """Kill a worker of a running batch now and then, until it ends; gives how many were killed."""
    rng = random.Random(seed)
    n_killed = 0
    while batch.poll() is None:
        try:
            batch.wait(every_s * rng.uniform(0.5, 1.5))
        except subprocess.TimeoutExpired:
            workers = worker_pids(batch.pid)
            if workers and n_killed < most:
                os.kill(rng.choice(workers), signal.SIGKILL)
                n_killed += 1
    return n_killed


def check_batch(code: int, shown: str, out: Path, calm: Path, reasons: dict[str, str]) -> list[str]:
    """What is wrong with a batch that has ended; `reasons` are those of the videos that must have failed."""
    faults = [] if code == 8 else [f"exit code {code}"]
    failed = {Path(job["source"]).stem: job for job in json.loads(shown)["result"]["jobs"] if job["status"] == "failed"}
    if failed.keys() != reasons.keys():
        faults.append(f"failed: {sorted(failed)}")
    for name, job in failed.items():
        if reasons.get(name, "") not in job["message"]:
            faults.append(f"{name}: {job['message']}")
    for path in sorted(calm.glob("*.mkv")):
        there = out / path.name
        if not there.exists() or there.read_bytes() != path.read_bytes():
            faults.append(f"{path.name} is not as in an undisturbed batch")
    names = {path.name for path in out.iterdir()} - {path.name for path in calm.iterdir()}
    litter = [*names, *(path.name for path in (out / ".vidfill").iterdir() if path.suffix not in (".json", ".jpg"))]
    return faults + ([f"left lying about: {sorted(litter)}"] if litter else [])


def start_s() -> float:
    """How long a worker takes to start on this machine as it is now."""
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-c", "import vidfill.removal.run"], cwd=ROOT, check=True)
    return time.monotonic() - began_s


def batch_under_fire(folder: Path, *, n_good: int, every_s: float, most: int = 10**6, n_workers: int = 2) -> list[str]:
    """Part 1; gives what is wrong."""
    videos, calm, out = folder / "videos", folder / "calm", folder / "out"
    write_good(videos, n_good)
    _run(batch_command(videos, calm, n_workers=n_workers), expected=0)
    for breaks, _ in BREAKERS:
        breaks(videos)
    reasons = {breaks.__name__.lstrip("_"): says for breaks, says in BREAKERS}
    command = batch_command(videos, out, n_workers=n_workers)
    every_s = max(every_s, 1.5 * start_s())  # on a busy machine none would come to work otherwise
    began_s = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as first:
        time.sleep(2 * every_s)
        first.kill()
    n_done = len(list(out.glob("*.mkv")))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as second:
        n_killed = kill_workers(second, every_s=every_s, most=most)
        shown = second.stdout.read() if second.stdout else ""
    print(
        f"batch of {n_good} good and {len(reasons)} broken videos: killed after {n_done} outputs, "
        f"then {n_killed} workers, one every {every_s:.1f} s; {time.monotonic() - began_s:.0f} s"
    )
    faults = check_batch(second.returncode, shown, out, calm, reasons)
    attempts = [job["n_attempts"] for job in json.loads(shown)["result"]["jobs"]]
    print(f"attempts of a job: {sum(attempts) / len(attempts):.1f} on average, at most {max(attempts)}")
    return faults


BOXES = tuple(f"{x},{y},30,20@#{n}-#{n + 6}" for x, y, n in ((20, 10, 2), (40, 20, 24), (8, 30, 46), (30, 8, 68)))


def remove_command(source: Path, output: Path) -> list[str]:
    """A removal of four segments."""
    boxes = [word for box in BOXES for word in ("--box", box)]
    return [*COMMAND, "remove", str(source), *boxes, *EXACT, "-o", str(output), "--quiet"]


def killed_and_resumed(folder: Path, *, n_moments: int, seed: int = 0) -> list[str]:
    """Part 2; gives what is wrong."""
    source, whole = write_clip(folder / "in.mkv", n=76, size=SIZE, audio_tracks=1).path, folder / "whole.mkv"
    began_s = time.monotonic()
    _run(remove_command(source, whole), expected=0)
    takes_s = time.monotonic() - began_s
    faults: list[str] = []
    kept: list[int] = []
    rng = random.Random(seed)
    while len(kept) < n_moments:
        output = folder / f"out{len(kept)}.mkv"
        delay_s = takes_s * rng.random()
        began_s = time.monotonic()
        with subprocess.Popen(remove_command(source, output), cwd=ROOT) as process:
            try:
                process.wait(delay_s)
                takes_s = time.monotonic() - began_s  # it was too fast for us: no kill
            except subprocess.TimeoutExpired:
                process.kill()
        if process.returncode == 0:
            output.unlink()
            continue
        kept.append(len(list((folder / f".{output.name}.vidfill").glob("segment_*.patches"))))
        # -y: the kill may fall between the moment when the output is complete and the end of the process.
        _run([*remove_command(source, output), "--resume", "-y"], expected=0)
        if output.read_bytes() != whole.read_bytes():
            faults.append(f"killed after {delay_s:.2f} s: other bytes")
        if litter := [path.name for path in folder.iterdir() if output.name in path.name and path != output]:
            faults.append(f"killed after {delay_s:.2f} s: left {litter}")
    print(f"a removal of {takes_s:.1f} s, killed {n_moments} times; segments kept of {len(BOXES)}: {kept}")
    return faults


def _run(command: Sequence[str], *, expected: int) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != expected:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=30, help="good videos in the batch")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two kills")
    parser.add_argument("--moments", type=int, default=20, help="kills of a single removal")
    parser.add_argument("--only", choices=("batch", "remove"))
    wanted: Any = parser.parse_args()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        if wanted.only != "remove":
            faults += batch_under_fire(Path(name) / "batch", n_good=wanted.good, every_s=wanted.every)
        if wanted.only != "batch":
            (Path(name) / "remove").mkdir()
            faults += killed_and_resumed(Path(name) / "remove", n_moments=wanted.moments)
    print("\n".join(faults) or "nothing lost, nothing different, nothing left lying about")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
