import gc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import Clip, write_clip
from tests.ffmpeg import run_ffmpeg
from vidfill.errors import InputError, UsageError
from vidfill.video.decode import RisingTimes
from vidfill.video.frame import Frame
from vidfill.video.read import Reader, probe

X264_OPEN = {"x264-params": "open-gop=1:keyint=8:min-keyint=4:bframes=3:b-adapt=0"}
X264_REFRESH = {"x264-params": "intra-refresh=1:keyint=8:min-keyint=4"}
X265_OPEN = {"x265-params": "log-level=none:pools=none:frame-threads=1:open-gop=1:keyint=8:min-keyint=4:bframes=3"}
CLIPS: dict[str, Callable[[Path], Clip]] = {
    "h264 in mp4, variable rate": lambda d: write_clip(d / "a.mp4", vfr=True, b_frames=3, gop=8, audio_tracks=1),
    "h264, open gop": lambda d: write_clip(d / "a.mp4", b_frames=3, gop=8, options=X264_OPEN),
    "h264, open gop in mkv": lambda d: write_clip(d / "a.mkv", b_frames=3, gop=8, options=X264_OPEN, vfr=True),
    "h264, refreshed bit by bit": lambda d: write_clip(d / "a.mkv", b_frames=0, gop=8, options=X264_REFRESH),
    "h264 in ts": lambda d: write_clip(d / "a.ts", b_frames=2, gop=8),
    "hevc, 10 bit, open gop": lambda d: write_clip(
        d / "a.mp4", codec="libx265", pix_fmt="yuv420p10le", options=X265_OPEN
    ),
    "vp9": lambda d: write_clip(d / "a.webm", codec="libvpx-vp9", gop=8),
    "vp8": lambda d: write_clip(d / "a.webm", codec="libvpx", gop=8),
    "mpeg4 in avi": lambda d: write_clip(d / "a.avi", codec="mpeg4", gop=8),
    "mpeg2 in ts": lambda d: write_clip(d / "a.ts", codec="mpeg2video", gop=8),
    "ffv1, 12 bit, odd size": lambda d: write_clip(d / "a.mkv", codec="ffv1", pix_fmt="yuv444p12le", size=(45, 75)),
    "ffv1, rgb": lambda d: write_clip(d / "a.mkv", codec="ffv1", pix_fmt="bgr0", size=(45, 75)),
    "prores with alpha": lambda d: write_clip(d / "a.mov", codec="prores_ks", pix_fmt="yuva444p10le", n=6),
    "mjpeg": lambda d: write_clip(d / "a.avi", codec="mjpeg", pix_fmt="yuvj422p", b_frames=0, n=6),
    "one frame": lambda d: write_clip(d / "a.mp4", n=1),
    "ends with a long hold": lambda d: write_clip(d / "a.mp4", n=6, last_frame_hold=Fraction(3)),
    "starts late": lambda d: write_clip(d / "a.mkv", n=6, start_pts=125),
}


def content(frame: Frame) -> bytes:
    return b"".join(plane.tobytes() for plane in frame.planes)


def summary(frame: Frame) -> tuple[int, int, bool, bytes]:
    return frame.index, frame.pts, frame.held, content(frame)


@pytest.mark.parametrize("name", CLIPS)
def test_frames_are_those_of_another_ffmpeg(name: str, tmp_path: Path) -> None:
    clip = CLIPS[name](tmp_path)
    with Reader(clip.path, threads=2) as reader:
        frames = list(reader.frames())
        assert not reader.damage
    assert [frame.index for frame in frames] == list(range(len(clip.pts)))
    pix_fmt = reader.info.pixel_format.name
    theirs = run_ffmpeg(
        *["-noautorotate", "-i", clip.path, "-map", "0:v:0", "-fps_mode", "passthrough"],
        *[
            "-f",
            "rawvideo",
            "-pix_fmt",
            pix_fmt.replace("yuv", "yuvj") if reader.info.codec == "mjpeg" else pix_fmt,
            "-",
        ],
    )
    assert b"".join(content(frame) for frame in frames) == theirs


@pytest.mark.parametrize("name", CLIPS)
def test_a_pass_from_any_frame_gives_the_same_frames(name: str, tmp_path: Path) -> None:
    clip = CLIPS[name](tmp_path)
    with Reader(clip.path, threads=2) as reader:
        expected = [summary(frame) for frame in reader.frames()]
        assert reader.info.start_pts == expected[0][1]
    for index, pts, _, _ in expected:
        with Reader(clip.path, threads=2) as fresh:
            frames = fresh.frames(start_pts=pts, start_index=index)
            found = [summary(next(frames)) for _ in expected[index : index + 3]]
            assert found == expected[index : index + 3]
            assert len(list(frames)) == max(0, len(expected) - index - 3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".nut"])
def test_times_are_those_that_were_written(suffix: str, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / f"a{suffix}", vfr=True, b_frames=3)
    with Reader(clip.path) as reader:
        frames = list(reader.frames())
    exact = [frame.time_s - frames[0].time_s for frame in frames]
    for ours, written in zip(exact, clip.times_s, strict=True):
        assert abs(ours - written) <= (Fraction(1, 1000) if suffix == ".mkv" else 0)


def test_samples_are_the_picture_that_was_encoded(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", codec="ffv1", pix_fmt="bgr0", with_object=True, n=5)
    with Reader(clip.path) as reader:
        for frame, picture in zip(reader.frames(), clip.pictures, strict=True):
            green, blue, red = frame.planes
            np.testing.assert_array_equal(np.stack([red, green, blue], axis=-1), picture)


def test_a_start_between_two_frames_begins_with_the_later(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", vfr=True)
    with Reader(clip.path) as reader:
        frames = list(reader.frames())
        found = next(iter(reader.frames(start_pts=frames[9].pts - 1, start_index=9)))
        assert summary(found) == summary(frames[9])
        assert list(reader.frames(start_pts=frames[-1].pts + 1)) == []


def test_far_seeks_do_not_decode_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=60, size=(32, 48), gop=10)
    with Reader(clip.path) as reader:
        pts = [frame.pts for frame in reader.frames()]
        monkeypatch.setattr(reader, "_from_start", None)
        for index in (0, 9, 10, 25, 59):
            assert next(iter(reader.frames(start_pts=pts[index]))).pts == pts[index]


def test_passes_are_independent(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=8)
    with Reader(clip.path) as reader:
        first, second = reader.frames(), reader.frames()
        expected = [summary(frame) for frame in reader.frames()]
        for one in expected:
            ours = next(first)
            assert summary(ours) == one
            for plane in ours.planes:
                plane[...] = 0
            assert summary(next(second)) == one


def test_closing_the_reader_ends_its_passes(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=8)
    with Reader(clip.path) as reader:
        frames = reader.frames()
        next(frames)
    assert list(frames) == []


def test_raw_streams_have_no_times_and_get_some(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", b_frames=0, rate=30)
    run_ffmpeg("-i", clip.path, "-c", "copy", "-bsf:v", "h264_mp4toannexb", tmp_path / "a.h264")
    with Reader(tmp_path / "a.h264") as reader:
        frames = list(reader.frames())
        steps = np.diff([frame.pts for frame in frames])
        assert len(frames) == 24
        assert set(steps) == {round(1 / (reader.info.rate * reader.info.time_base))}
        later = next(iter(reader.frames(start_pts=frames[13].pts, start_index=13)))
    assert summary(later) == summary(frames[13])


def test_h264_in_avi_is_timed_by_decoding(tmp_path: Path) -> None:
    """AVI has no presentation times, and for reordered H.264 what FFmpeg makes up goes back and forth."""
    clip = write_clip(tmp_path / "a.mp4", b_frames=2)
    run_ffmpeg("-i", clip.path, "-c", "copy", tmp_path / "a.avi")
    with Reader(clip.path) as reader:
        expected = [content(frame) for frame in reader.frames()]
    with Reader(tmp_path / "a.avi") as reader:
        frames = list(reader.frames())
        assert [content(frame) for frame in frames] == expected
        assert not reader.damage
        # Its header speaks of 600 a second, most of them empty.
        assert reader.info.rate == 25
        assert reader.info.n_frames == 0
        assert len({frame.pts for frame in frames}) == 24
        later = next(iter(reader.frames(start_pts=frames[13].pts, start_index=13)))
    assert summary(later) == summary(frames[13])


def test_joined_streams_whose_time_starts_anew(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.ts", gop=8, n=30)
    (tmp_path / "joined.ts").write_bytes(clip.path.read_bytes() * 2)
    with Reader(tmp_path / "joined.ts") as reader:
        frames = list(reader.frames())
        assert len(frames) == 60
        assert [content(f) for f in frames[:30]] == [content(f) for f in frames[30:]]
        assert np.diff([frame.pts for frame in frames]).min() > 0
        assert summary(next(iter(reader.frames(start_pts=frames[40].pts, start_index=40)))) == summary(frames[40])


def test_an_edit_list_hides_what_comes_before_it(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=36)
    run_ffmpeg("-ss", "0.6", "-i", clip.path, "-c", "copy", tmp_path / "cut.mp4")
    with Reader(tmp_path / "cut.mp4") as reader:
        frames = list(reader.frames())
        assert not reader.damage
    with Reader(clip.path) as reader:
        expected = [content(frame) for frame in reader.frames()]
    assert len(frames) == 21
    assert [content(frame) for frame in frames] == expected[15:]


@pytest.mark.parametrize(
    ("size", "pix_fmt", "found"),
    [((80, 112), "yuv420p", "112x80 yuv420p"), ((64, 96), "yuv422p", "96x64 yuv422p")],
)
def test_a_change_on_the_way_is_an_error(size: tuple[int, int], pix_fmt: str, found: str, tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.ts", n=12)
    second = write_clip(tmp_path / "b.ts", n=12, size=size, pix_fmt=pix_fmt)
    (tmp_path / "joined.ts").write_bytes(first.path.read_bytes() + second.path.read_bytes())
    with Reader(tmp_path / "joined.ts") as reader, pytest.raises(InputError, match=f"changes to {found}"):
        list(reader.frames())


def test_a_frame_rate_is_not_for_videos(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=2)
    with pytest.raises(UsageError, match="--fps"):
        probe(clip.path, fps=Fraction(30))


def test_the_clock_makes_time_rise(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "a.mkv", n=2).path)  # ticks of 1 ms, 40 a frame
    clock = RisingTimes(info)
    assert [clock.place(stored) for stored in (100, 140, 140, 141, 180, None, 300)] == [
        100,
        140,
        141,
        142,
        180,
        220,
        300,
    ]
    assert not clock.is_as_stored
    assert clock.place(-5000) == 340  # a jump back: from here on all is moved
    assert clock.place(-4960) == 380
    orderly = RisingTimes(info)
    assert [orderly.place(stored) for stored in (-21, 3, 1000)] == [-21, 3, 1000]
    assert orderly.is_as_stored


def test_no_frame_of_a_long_video_stays_in_memory(tmp_path: Path) -> None:
    def n_frames_alive() -> int:
        return sum(type(o) in (Frame, av.VideoFrame) for o in gc.get_objects())

    clip = write_clip(tmp_path / "a.mp4", n=60, size=(32, 48))
    gc.collect()
    before = n_frames_alive()  # what other tests left
    counts = []
    with Reader(clip.path, threads=1) as reader:
        for frame in reader.frames():
            is_sampled = frame.index % 10 == 9
            del frame
            if is_sampled:
                counts.append(n_frames_alive() - before)
    assert len(counts) == 6
    assert max(counts) < 30
