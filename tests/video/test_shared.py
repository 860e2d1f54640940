"""Two readers of one decode."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.clips import write_clip
from tests.decodes import counted
from vidfill.video.frame import Frame
from vidfill.video.read import Reader
from vidfill.video.shared import SharedFrames


def _same(a: Frame, b: Frame) -> bool:
    planes = zip(a.planes, b.planes, strict=True)
    return (a.index, a.pts, a.held) == (b.index, b.pts, b.held) and all(np.array_equal(x, y) for x, y in planes)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuva444p", "gray", "yuv422p10le"])
def test_fill_ahead_of_the_output(tmp_path: Path, pix_fmt: str) -> None:
    """Segments of 10 frames, which look 5 frames back and 8 ahead."""
    path = write_clip(tmp_path / "in.mkv", n=100, size=(33, 47), codec="ffv1", pix_fmt=pix_fmt).path
    with Reader(path) as reader:
        plain = list(reader.frames())
    with counted(path) as found, Reader(path) as reader, tempfile.TemporaryFile() as file:
        shared = SharedFrames(reader, file, is_written=True)
        shared.keep_from(15)
        for written in shared.all_frames():
            if written.index % 10 == 0 and 20 <= written.index < 60:
                start = written.index - 5
                ahead = shared.frames(start_pts=plain[start].pts, start_index=start)
                assert all(_same(next(ahead), frame) for frame in plain[start : start + 23])
                again = next(shared.frames(start_pts=plain[start + 7].pts, start_index=start + 7))
                assert _same(again, plain[start + 7])
                shared.keep_from(start + 10 if start < 45 else None)
            assert _same(written, plain[written.index])
            for plane in written.planes:
                plane[:] = 0  # the output composes in place: nobody else may see it
        frame_bytes = sum(plane.nbytes for plane in plain[0].planes)
        assert 0 < file.seek(0, 2) <= 24 * frame_bytes
    assert set(found.frames.values()) == {1}


def test_some_segments_without_an_output(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "in.mkv", n=60, gop=10).path
    with Reader(path) as reader, tempfile.TemporaryFile() as file:
        plain = list(reader.frames())
        shared = SharedFrames(reader, file, is_written=False)
        for start in (25, 30, 5):
            shared.keep_from(start)
            ahead = shared.frames(start_pts=plain[start].pts, start_index=start)
            assert all(_same(next(ahead), frame) for frame in plain[start : start + 12])


LIMITED = """
import resource, sys, vidfill

resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
try:
    vidfill.remove(sys.argv[1], sys.argv[2], box=["10,10,20,20"], model="propagate", threads=1)
except vidfill.errors.OutputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes")
def test_full_disk(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "in.mkv", n=12, size=(64, 96)).path
    command = [sys.executable, "-c", LIMITED, str(path), str(tmp_path / "out.mkv")]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert said.startswith("frames cannot be kept in the work folder (")
    assert not (tmp_path / "out.mkv").exists()
