"""Outputs that cannot be written: what is checked before the work starts, and what happens when it fails on the way."""

import errno
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests import clips
from tests.video.rewriting import FAST, FFV1, frame_times, names, read_all, rewrite, run_script
from vidfill.errors import OutputError, UsageError
from vidfill.settings import EncodeSettings
from vidfill.video.frame import VideoInfo
from vidfill.video.read import Reader, probe
from vidfill.video.write import check_output, open_writer


@pytest.fixture
def info(tmp_path: Path) -> VideoInfo:
    """A source of two frames, in.mp4, alone in its folder."""
    return probe(clips.write_clip(tmp_path / "in.mp4", n=2).path)


def test_overwrite(tmp_path: Path, info: VideoInfo) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"precious")
    with pytest.raises(OutputError, match="out.mp4 exists. Give -y"):
        rewrite(info.path, output)
    assert output.read_bytes() == b"precious"
    rewrite(info.path, output, FAST, overwrite=True)
    assert len(frame_times(output)) == 2


def test_source_as_output(tmp_path: Path, info: VideoInfo) -> None:
    (tmp_path / "link.mp4").hardlink_to(info.path)
    for output in (info.path, tmp_path / "." / "in.mp4", tmp_path / "link.mp4"):
        with pytest.raises(OutputError, match="is the source"):
            check_output(output, info, FAST, overwrite=True)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("missing/out.mp4", OutputError, "missing does not exist"),
        ("out.xyz", UsageError, "out.xyz has no extension of a video"),
        ("out.wav", UsageError, "out.wav has no extension of a video"),
        ("out.png", OutputError, "end the output's name in /"),
        ("out.webm", OutputError, "webm cannot hold h264"),
        ("out.y4m", OutputError, "keeps no timestamps"),
        ("out.h264", OutputError, "keeps no timestamps"),
    ],
)
def test_invalid_outputs(tmp_path: Path, info: VideoInfo, name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_output(tmp_path / name, info, EncodeSettings(codec="h264"), overwrite=False)
    assert names(tmp_path) == ["in.mp4"]


@pytest.mark.parametrize(("name", "words"), [("", "no name for the output"), ("-", "standard output as the output")])
def test_no_name(info: VideoInfo, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_output(name, info, FAST, overwrite=True)


def test_folder_without_write_permission(tmp_path: Path, info: VideoInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(OutputError, match="is not writable"):
        check_output(tmp_path / "out.mp4", info, FAST, overwrite=False)


def test_disk_too_small(tmp_path: Path, info: VideoInfo) -> None:
    huge = replace(info, n_frames=10**13)
    with pytest.raises(OutputError, match="MB are free in .*; expected about .* MB for 10000000000000 frames by ffv1"):
        check_output(tmp_path / "out.mkv", huge, FFV1, overwrite=False)


def test_check_leaves_no_file(tmp_path: Path, info: VideoInfo) -> None:
    assert check_output(tmp_path / "out.mp4", info, FAST, overwrite=False) == []
    assert names(tmp_path) == ["in.mp4"]


@pytest.mark.parametrize("output", ["masks", "masks/0.png", "mask.mp4", ""])
def test_inputs_are_never_replaced(tmp_path: Path, info: VideoInfo, output: str) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "0.png").touch()
    (tmp_path / "mask.mp4").touch()
    with pytest.raises(OutputError, match="would replace .*, which is read"):
        check_output(tmp_path / output, info, FAST, overwrite=True, inputs=[tmp_path / (output or "masks")])


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_exception_leaves_existing_file(tmp_path: Path, output: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=30, audio_tracks=1)
    (tmp_path / output).write_bytes(b"precious")
    with (
        pytest.raises(ZeroDivisionError),
        Reader(clip.path) as reader,
        open_writer(tmp_path / output, reader.info, FFV1, overwrite=True) as writer,
    ):
        for frame in reader.frames():
            writer.write(frame)
            assert len(list(tmp_path.glob("*.part"))) <= 1
            1 / (20 - frame.index)
    assert (tmp_path / output).read_bytes() == b"precious"
    assert names(tmp_path) == sorted(["in.mp4", output])


def test_no_frames(tmp_path: Path, info: VideoInfo) -> None:
    with pytest.raises(OutputError, match="no frame"), open_writer(tmp_path / "out.mp4", info, FAST):
        pass
    assert names(tmp_path) == ["in.mp4"]


LIMITED = """
import resource, signal, sys
from pathlib import Path
from tests.video.rewriting import FFV1, rewrite
from vidfill.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    rewrite(Path(sys.argv[1]), Path(sys.argv[2]), FFV1)
except OutputError as error:
    print(error)
    sys.exit(5)
"""


@pytest.mark.parametrize("output", ["out.mkv", "out.mp4"])
@pytest.mark.parametrize("limit", [20_000, 100_000])
def test_full_disk(tmp_path: Path, output: str, limit: int) -> None:
    clip = clips.write_clip(tmp_path / "in.mkv", n=30, codec="ffv1", b_frames=0)
    assert clip.path.stat().st_size > 110_000
    done = run_script(LIMITED, clip.path, tmp_path / output, limit)
    assert (done.returncode, done.stderr) == (5, "")
    assert "grew larger than a file may be" in done.stdout
    assert names(tmp_path) == ["in.mkv"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "no space is left"), (errno.EPIPE, "reader of .* gone"), (5, "cannot be written")],
)
def test_system_errors(
    tmp_path: Path, info: VideoInfo, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fail(stream: object, *, n_frames: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("vidfill.video.encode.flush_picture", fail)
    frames = read_all(info.path)
    with pytest.raises(OutputError, match=words), open_writer(tmp_path / "out.mkv", info, FFV1) as writer:
        for frame in frames:
            writer.write(frame)
    assert names(tmp_path) == ["in.mp4"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.video.rewriting import FFV1, rewrite
def change(frame):
    if frame.index == 20:
        os.kill(os.getpid(), signal.SIGKILL)
rewrite(Path(sys.argv[1]), Path(sys.argv[2]), FFV1, change=change)
"""


def test_killed_process_leaves_no_output(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=30)
    assert run_script(KILLED, clip.path, tmp_path / "out.mp4").returncode == -signal.SIGKILL
    assert not (tmp_path / "out.mp4").exists()
    (left,) = tmp_path.glob("out.mp4.*.part")
    others = [
        left.with_name(left.name.replace("out.mp4", "other.mp4")),  # of another output
        left.with_name(re.sub(r"-\d+\.part", f"-{os.getppid()}.part", left.name)),  # of a process that lives
        left.with_name(left.name.replace("out.mp4.", "out.mp4.elsewhere.")),  # of another machine
    ]
    for path in others:
        path.touch()
    rewrite(clip.path, tmp_path / "out.mp4", FFV1)
    assert sorted(tmp_path.glob("*.part")) == sorted(others)
