"""What the tests of the writer share: one pass from reader to writer, and files looked at afresh."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg

from vidfill.settings import EncodeSettings
from vidfill.video.frame import Frame
from vidfill.video.read import Reader
from vidfill.video.write import check_output, open_writer

FFV1 = EncodeSettings(codec="ffv1")
FAST = EncodeSettings(preset="ultrafast")


def rewrite(
    source: Path,
    output: Path,
    settings: EncodeSettings = EncodeSettings(),  # noqa: B008 - frozen
    *,
    change: Callable[[Frame], None] | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Read every frame and write it; the warnings of the check before."""
    with Reader(source) as reader:
        warnings = check_output(output, reader.info, settings, overwrite=overwrite)
        with open_writer(output, reader.info, settings, overwrite=overwrite) as writer:
            for frame in reader.frames():
                if change is not None:
                    change(frame)
                writer.write(frame)
    return warnings


def read_all(path: Path) -> list[Frame]:
    with Reader(path) as reader:
        return list(reader.frames())


def frame_times(path: Path) -> list[Fraction]:
    """Presentation times of the decoded pictures, by PyAV alone."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [Fraction(frame.pts or 0) * Fraction(frame.time_base or 0) for frame in container.decode(stream)]


def packets_of(path: Path, kind: str) -> list[list[tuple[str, Fraction | None]]]:
    """For each stream of a kind: digest and time of each packet."""
    found = []
    with av.open(str(path)) as container:
        indices = [stream.index for stream in container.streams if stream.type == kind]
    for index in indices:
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(container.streams[index]) if p.size]
            found.append(
                [
                    (hashlib.sha256(bytes(p)).hexdigest(), None if p.pts is None else p.pts * p.time_base)
                    for p in packets
                ]
            )
    return found


def ffmpeg(*arguments: str | Path) -> str:
    """Run the independent ffmpeg; what it says on stderr."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def ffmpeg_samples(path: Path, pix_fmt: str) -> bytes:
    """All samples of all pictures as the independent ffmpeg decodes them, not turned."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-noautorotate", "-i", str(path)]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", pix_fmt, "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def describe(path: Path) -> str:
    """What the independent ffmpeg says about a file."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-i", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def names(folder: Path) -> list[str]:
    """Of all files in a folder."""
    return sorted(path.name for path in folder.iterdir())


def run_script(script: str, *arguments: Path | int) -> subprocess.CompletedProcess[str]:
    """Run Python code on its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
