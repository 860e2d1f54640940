"""`remove` from end to end: how long over a plain decode and encode, and whether all else is really untouched.

    python -m benchmarks.end_to_end [--frames 60] [--model auto]

Speed: a 1080p clip with a small hole, against reading and writing the same clip with the same codec and settings.
Exactness, on clips of variable frame rate, 10-bit HDR and with a rotation tag: every sample outside the mask (ffv1),
every timestamp and every audio packet (the source's own container). The clips are made on the spot.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.clips import write_clip, write_images
from vidfill.masks.edit import soft_alpha
from vidfill.removal.run import remove
from vidfill.settings import EncodeSettings
from vidfill.video.read import Reader, probe
from vidfill.video.write import open_writer

HOLE = "900,500,160,100"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--model", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _speed(Path(folder), n=options.frames, model=options.model)
        results = [_is_exact(Path(folder), name, model=options.model) for name in SOURCES]
    if not all(results):
        sys.exit(1)


def _speed(folder: Path, *, n: int, model: str) -> None:
    clip = write_clip(folder / "1080.mp4", n=n, size=(1080, 1920), gop=30)
    start = time.perf_counter()
    with Reader(clip.path) as reader, open_writer(folder / "plain.mp4", reader.info, EncodeSettings()) as writer:
        for frame in reader.frames():
            writer.write(frame)
    plain_s = time.perf_counter() - start
    start = time.perf_counter()
    result = remove(clip.path, folder / "out.mp4", box=[HOLE], model=model, device="cpu")
    whole_s = time.perf_counter() - start
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds.items())
    print(f"1080p, {n} frames, a hole of {HOLE}: {whole_s:.1f} s ({stages})")
    print(f"plain decode and encode: {plain_s:.1f} s; ratio {whole_s / plain_s:.2f}")


SOURCES = {
    "variable frame rate": {"name": "vfr.mp4", "vfr": True, "last_frame_hold": Fraction(2)},
    "10-bit HDR": {"name": "hdr.mp4", "codec": "libx265", "pix_fmt": "yuv420p10le", "hdr10": True, "vfr": True},
    "rotated": {"name": "turned.mov", "rotation": 90},
}


def _is_exact(folder: Path, kind: str, *, model: str) -> bool:
    options = dict(SOURCES[kind])
    clip = write_clip(folder / str(options.pop("name")), n=24, with_object=True, audio_tracks=2, **options)  # type: ignore[arg-type]
    info = probe(clip.path)
    masks = folder / f"masks {kind}"
    write_images(masks, np.stack([info.orientation.to_display(mask) for mask in clip.masks]))
    same_container, lossless = folder / f"out_{clip.path.name}", folder / f"{clip.path.stem}.mkv"
    remove(clip.path, same_container, mask=masks, model=model, device="cpu", dilate=4, feather=4)
    remove(clip.path, lossless, mask=masks, model=model, device="cpu", codec="ffv1", dilate=4, feather=4)
    answers = {
        "samples outside the mask": _outside_is_same(clip.path, lossless, clip.masks),
        "timestamps": _times(clip.path) == _times(same_container),
        "audio packets": _audio(clip.path) == _audio(same_container) == _audio(lossless),
    }
    print(f"{kind}: " + ", ".join(f"{what} {'identical' if same else 'DIFFERENT'}" for what, same in answers.items()))
    return all(answers.values())


def _outside_is_same(source: Path, output: Path, masks: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> bool:
    with Reader(source) as before, Reader(output) as after:
        for a, b, mask in zip(before.frames(), after.frames(), masks, strict=True):
            inside = soft_alpha(mask, dilate_px=4, feather_px=4) > 0
            for x, y in zip(a.planes, b.planes, strict=True):
                step_y, step_x = inside.shape[0] // x.shape[0], inside.shape[1] // x.shape[1]
                touched = inside.reshape(x.shape[0], step_y, x.shape[1], step_x).any(axis=(1, 3))
                if not np.array_equal(x[~touched], y[~touched]):
                    return False
    return True


def _times(path: Path) -> list[Fraction]:
    with Reader(path) as reader:
        return [frame.time_s for frame in reader.frames()]


def _audio(path: Path) -> list[tuple[int, bytes]]:
    with av.open(str(path)) as container:
        return sorted((packet.stream.index, bytes(packet)) for packet in container.demux(audio=0) if packet.size)


if __name__ == "__main__":
    main()
