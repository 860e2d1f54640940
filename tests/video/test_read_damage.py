import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.clips import Clip, damage_packets, flip_bytes, packet_places, truncate, write_clip
from tests.ffmpeg import run_ffmpeg
from tests.video.test_read import summary
from vidfill.errors import InputError
from vidfill.video.frame import Frame
from vidfill.video.read import Damage, Reader

N = 36
CLIPS: dict[str, Callable[[Path], Clip]] = {
    "h264": lambda d: write_clip(d / "a.mp4", n=N, vfr=True, b_frames=2, gop=12),
    "h264 in mkv": lambda d: write_clip(d / "a.mkv", n=N, b_frames=2, gop=12),
    "hevc": lambda d: write_clip(d / "a.mp4", n=N, codec="libx265", b_frames=2, gop=12),
    "vp9": lambda d: write_clip(d / "a.webm", n=N, codec="libvpx-vp9", gop=12),
    "ffv1": lambda d: write_clip(d / "a.mkv", n=N, codec="ffv1", gop=12),
    "mjpeg": lambda d: write_clip(d / "a.avi", n=N, codec="mjpeg", pix_fmt="yuvj420p", b_frames=0),
}


def read(path: Path, *, threads: int = 4) -> tuple[list[Frame], Damage]:
    with Reader(path, threads=threads) as reader:
        frames = list(reader.frames())
        return frames, reader.damage


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("indices", [[5, 8], [12], [-1], [20, 21, 22]], ids=["two", "keyframe", "last", "in a row"])
def test_count_and_times_stay(name: str, indices: list[int], tmp_path: Path) -> None:
    clip = CLIPS[name](tmp_path)
    whole, _ = read(clip.path)
    path = tmp_path / f"bad{clip.path.suffix}"
    damage_packets(clip.path, path, indices)
    frames, damage = read(path)
    assert [(f.index, f.pts) for f in frames] == [(f.index, f.pts) for f in whole]
    held = [frame for frame in frames if frame.held]
    assert damage.n_held == len(held) >= len(indices)
    assert damage.n_bad_packets >= len(indices)
    assert not damage.is_truncated
    for frame in held:
        before = frames[frame.index - 1]
        for ours, theirs in zip(frame.planes, before.planes, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert not np.shares_memory(ours, theirs)
    first_held = held[0].index
    assert [summary(f) for f in frames[:first_held]] == [summary(f) for f in whole[:first_held]]


def test_independent_frames_are_held_one_for_one(tmp_path: Path) -> None:
    clip = CLIPS["mjpeg"](tmp_path)
    damage_packets(clip.path, tmp_path / "bad.avi", [5, 7, 8])
    whole, _ = read(clip.path)
    frames, damage = read(tmp_path / "bad.avi")
    assert [frame.index for frame in frames if frame.held] == [5, 7, 8]
    assert damage == Damage(n_bad_packets=3, n_held=3, is_truncated=False)
    for frame, good in zip(frames, whole, strict=True):
        if not frame.held:
            assert summary(frame) == summary(good)


@pytest.mark.parametrize("name", ["h264", "hevc", "vp9", "mjpeg"])
def test_the_first_good_frame_stands_for_those_before_it(name: str, tmp_path: Path) -> None:
    clip = CLIPS[name](tmp_path)
    whole, _ = read(clip.path)
    path = tmp_path / f"bad{clip.path.suffix}"
    damage_packets(clip.path, path, [0])
    frames, damage = read(path)
    assert [frame.pts for frame in frames] == [frame.pts for frame in whole]
    n_held = next(frame.index for frame in frames if not frame.held)
    assert damage.n_held == n_held > 0
    for frame in frames[:n_held]:
        for ours, theirs in zip(frame.planes, frames[n_held].planes, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", CLIPS)
def test_flipped_bytes_never_cost_a_frame(name: str, tmp_path: Path) -> None:
    clip = CLIPS[name](tmp_path)
    whole, _ = read(clip.path)
    path = tmp_path / f"bad{clip.path.suffix}"
    flip_bytes(clip.path, path, 6)
    frames, _ = read(path)
    assert [frame.pts for frame in frames] == [frame.pts for frame in whole]


@pytest.mark.parametrize("name", CLIPS)
def test_damaged_files_read_the_same_every_time(name: str, tmp_path: Path) -> None:
    clip = CLIPS[name](tmp_path)
    path = tmp_path / f"bad{clip.path.suffix}"
    damage_packets(clip.path, path, [5, 12, 25])
    expected = [summary(frame) for frame in read(path)[0]]
    assert [summary(frame) for frame in read(path, threads=1)[0]] == expected
    for index in (0, 4, 5, 11, 12, 13, 17, 24, 26, 30, N - 1):
        with Reader(path, threads=4) as reader:
            frames = reader.frames(start_pts=expected[index][1], start_index=index)
            assert [summary(frame) for frame in frames] == expected[index:]


def test_a_damaged_mpeg4_in_avi_keeps_its_times(tmp_path: Path) -> None:
    """After damage this decoder gives frames the times of others; B-frames that need what was lost show nothing."""
    clip = write_clip(tmp_path / "a.avi", n=N, codec="mpeg4", b_frames=2)
    whole, _ = read(clip.path)
    damage_packets(clip.path, tmp_path / "bad.avi", [5, 7])
    frames, damage = read(tmp_path / "bad.avi")
    assert [frame.pts for frame in frames] == [frame.pts for frame in whole]
    assert damage.n_held >= 2
    assert [summary(f) for f in frames[14:]] == [summary(f) for f in whole[14:]]


def test_hidden_frames_are_no_damage(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.webm", n=N, codec="libvpx")
    data = bytearray(clip.path.read_bytes())
    for index in (5, 9):
        data[packet_places(clip.path)[index][0]] &= ~0x10  # show_frame in the frame tag (RFC 6386, section 9.1)
    (tmp_path / "hidden.webm").write_bytes(data)
    frames, damage = read(tmp_path / "hidden.webm")
    assert [frame.pts for frame in frames] == [i * 40 for i in range(N) if i not in (5, 9)]
    assert not damage


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_truncated_files_are_noticed(suffix: str, tmp_path: Path) -> None:
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    clip = write_clip(tmp_path / f"a{suffix}", n=N, codec=codec, audio_tracks=1)
    path = tmp_path / f"front{suffix}"
    if suffix == ".mp4":
        run_ffmpeg("-i", clip.path, "-map", "0", "-c", "copy", "-movflags", "faststart", path)
    else:
        shutil.copyfile(clip.path, path)
    assert not read(path)[1]
    truncate(path, tmp_path / f"cut{suffix}", keep=0.6)
    frames, damage = read(tmp_path / f"cut{suffix}")
    assert 0 < len(frames) < N
    assert damage.is_truncated


def test_a_long_hold_at_the_end_is_no_truncation(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv", ".mov"):
        clip = write_clip(tmp_path / f"a{suffix}", vfr=True, last_frame_hold=3, audio_tracks=1)
        assert not read(clip.path)[1]


def test_a_cut_recording_starts_with_its_first_whole_frame(tmp_path: Path) -> None:
    """Frames before the first keyframe need what was cut off: neither held nor called damage."""
    clip = write_clip(tmp_path / "a.ts", n=N, codec="mpeg2video", gop=12, b_frames=2)
    data = clip.path.read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[len(data) // 188 // 5 * 188 :])
    frames, damage = read(tmp_path / "cut.ts")
    assert 12 < len(frames) < N
    assert damage.n_held == 0


def test_nothing_to_decode_is_an_error(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=3, gop=1, b_frames=0)
    damage_packets(clip.path, tmp_path / "bad.mp4", [0, 1, 2])
    with pytest.raises(InputError, match="no frame of .* can be decoded"):
        Reader(tmp_path / "bad.mp4")


def test_damage_counts_anew_in_each_pass(tmp_path: Path) -> None:
    clip = CLIPS["mjpeg"](tmp_path)
    damage_packets(clip.path, tmp_path / "bad.avi", [5])
    with Reader(tmp_path / "bad.avi") as reader:
        for _ in range(2):
            assert sum(frame.held for frame in reader.frames()) == 1
            assert reader.damage.n_bad_packets == 1
        list(reader.frames(start_pts=20))
        assert not reader.damage
