"""What a source says about itself, and what is said about files that are none."""

import os
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.clips import BT709, HDR10, truncate, write_clip, write_images
from tests.ffmpeg import run_ffmpeg
from vidfill.errors import InputError
from vidfill.video.formats import pixel_format
from vidfill.video.frame import ColorTags, HdrMetadata, Orientation, StreamInfo
from vidfill.video.read import Reader, probe

UNIT = 1 << 16
PLAIN_TURNS = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]  # a, b, c, d of the display matrix
MIRRORED_TURNS = [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]


def display_matrix(turn: tuple[int, int, int, int]) -> list[int]:
    a, b, c, d = (value * UNIT for value in turn)
    return [a, b, 0, c, d, 0, 0, 0, 1 << 30]


def test_a_plain_clip(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=30, rate=Fraction(30000, 1001), color=BT709, sample_aspect=Fraction(4, 3))
    info = probe(clip.path)
    assert info.path == clip.path
    assert not info.is_folder
    assert "mp4" in info.container
    assert (info.codec, info.profile) == ("h264", "Main")
    assert (info.height, info.width, info.display_size) == (64, 96, (64, 96))
    assert info.pixel_format == pixel_format("yuv420p")
    assert info.color == ColorTags(matrix=1, primaries=1, transfer=1, range=1)
    assert info.rate == Fraction(30000, 1001)
    assert info.n_frames == 30
    assert info.duration_s == pytest.approx(30 * 1001 / 30000, abs=0.01)
    assert info.sample_aspect == Fraction(4, 3)
    assert info.orientation == Orientation()
    assert info.hdr is None
    assert not info.interlaced
    assert (info.streams, info.stream_index, info.warnings) == ((), 0, ())


def test_untagged_clips_stay_untagged(tmp_path: Path) -> None:
    assert probe(write_clip(tmp_path / "a.mp4", n=2).path).color == ColorTags()


def test_hdr10(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=4, codec="libx265", pix_fmt="yuv420p10le", hdr10=True)
    info = probe(clip.path)
    assert info.color == HDR10
    assert info.pixel_format.depth == 10
    chromaticities = [34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450]
    mastering = (*(Fraction(value, 50000) for value in chromaticities), Fraction(50, 10000), Fraction(1000))
    assert info.hdr == HdrMetadata(mastering, max_content_light=1000, max_average_light=400)


def test_full_range_is_a_tag(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "a.avi", n=2, codec="mjpeg", pix_fmt="yuvj420p", b_frames=0).path)
    assert info.pixel_format.name == "yuv420p"
    assert info.color.range == 2


@pytest.mark.parametrize("turn", PLAIN_TURNS + MIRRORED_TURNS)
def test_orientation_is_that_of_another_ffmpeg(turn: tuple[int, int, int, int], tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=1, display_matrix=display_matrix(turn))
    with Reader(clip.path) as reader:
        luma = next(iter(reader.frames())).planes[0]
        info = reader.info
    shown = info.orientation.to_display(luma)
    assert shown.shape == info.display_size
    theirs = run_ffmpeg("-i", clip.path, "-f", "rawvideo", "-pix_fmt", "gray", "-vf", "extractplanes=y", "-")
    np.testing.assert_array_equal(shown, np.frombuffer(theirs, np.uint8).reshape(shown.shape))
    np.testing.assert_array_equal(info.orientation.to_coded(shown), luma)
    if turn != (1, 0, 0, 1):
        assert list(info.orientation.matrix) == display_matrix(turn)


def test_an_oblique_orientation_is_kept_and_warned_of(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "a.mp4", n=1, rotation=30).path)
    assert info.orientation.matrix
    assert info.display_size == (64, 96)
    assert any("odd angle" in warning for warning in info.warnings)


def test_interlaced_sources_are_warned_of(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    info = probe(write_clip(tmp_path / "a.mp4", n=4, options=options).path)
    assert info.interlaced
    assert any("interlaced" in warning for warning in info.warnings)


CAPTIONS = bytes.fromhex("b50031 47413934 03 41 ff fc8080 ff")  # ATSC A/53 part 4: one empty pair of characters
# SMPTE ST 2094-40, application version 1: one window, 400 cd/m^2, all maxima 1000, no distribution, no curve.
HDR10_PLUS = bytes.fromhex("b5003c 0001 04 01") + (
    int(f"01{400:027b}0{1000:017b}{1000:017b}{1000:017b}{500:017b}{0:017b}".ljust(120, "0"), 2).to_bytes(15, "big")
)


def with_registered_data(source: Path, folder: Path, payload: bytes, *, codec: str) -> Path:
    """Copy a clip with an SEI message of registered user data (ITU-T T.35, payload type 4) before each picture."""
    head = b"\x4e\x01" if codec == "hevc" else b"\x06"
    body = re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", bytes([4, len(payload)]) + payload + b"\x80")
    message = b"\0\0\0\1" + head + body
    run_ffmpeg("-i", source, "-c", "copy", folder / f"plain.{codec}")
    units = re.split(rb"(?=\x00\x00\x00\x01|(?<!\x00)\x00\x00\x01)", (folder / f"plain.{codec}").read_bytes())
    marked = b""
    for unit in filter(None, units):
        first = unit.split(b"\1", 1)[1][0]
        is_slice = first >> 1 & 63 < 32 if codec == "hevc" else first & 31 in (1, 5)
        marked += message + unit if is_slice else unit
    (folder / f"marked.{codec}").write_bytes(marked)
    run_ffmpeg("-i", folder / f"marked.{codec}", "-c", "copy", folder / "marked.mp4")
    return folder / "marked.mp4"


def test_captions_in_the_picture_are_warned_of(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=3, gop=1, b_frames=0)
    marked = with_registered_data(clip.path, tmp_path, CAPTIONS, codec="h264")
    assert [text.partition(";")[0] for text in probe(marked).warnings] == [
        "closed captions inside the picture's stream cannot be kept"
    ]


def test_dynamic_hdr_is_warned_of(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=3, codec="libx265", pix_fmt="yuv420p10le", hdr10=True, b_frames=0)
    assert probe(clip.path).warnings == ()
    marked = with_registered_data(clip.path, tmp_path, HDR10_PLUS, codec="hevc")
    assert probe(marked).warnings == ("HDR10+ metadata cannot be kept; static HDR10 metadata is",)
    run_ffmpeg("-i", clip.path, "-c", "copy", "-tag:v", "dvh1", "-strict", "unofficial", tmp_path / "vision.mp4")
    assert probe(tmp_path / "vision.mp4").warnings == (
        "Dolby Vision metadata cannot be kept; the output is its base layer",
    )


def test_other_streams_are_listed(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", n=5, audio_tracks=2, subtitles=True, attachment=True)
    assert probe(clip.path).streams == (
        StreamInfo(1, "audio", "aac", "eng"),
        StreamInfo(2, "audio", "aac", "deu"),
        StreamInfo(3, "subtitle", "subrip"),
        StreamInfo(4, "attachment", ""),
    )


def test_a_cover_is_not_the_video(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=5, audio_tracks=1)
    cover = write_images(tmp_path / "cover", np.zeros((1, 400, 400, 3), np.uint8))[0]
    path = tmp_path / "covered.mp4"
    inputs = ["-i", cover, "-i", clip.path, "-map", "0", "-map", "1"]
    run_ffmpeg(*inputs, "-c", "copy", "-disposition:v:0", "attached_pic", "-disposition:v:1", "default", path)
    info = probe(path)
    assert (info.height, info.width) == (64, 96)
    assert [(s.kind, s.codec) for s in info.streams if s.kind == "video"] == [("video", "png")]
    with Reader(path) as reader:
        assert len(list(reader.frames())) == 5
        assert not reader.damage


def test_sound_with_a_cover_is_no_video(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=5, audio_tracks=1)
    cover = write_images(tmp_path / "cover", np.zeros((1, 64, 64, 3), np.uint8))[0]
    path = tmp_path / "song.m4a"
    inputs = ["-i", clip.path, "-i", cover, "-map", "0:a", "-map", "1"]
    run_ffmpeg(*inputs, "-c", "copy", "-disposition:v:0", "attached_pic", path)
    with pytest.raises(InputError, match="holds a cover picture beside its sound"):
        probe(path)
    run_ffmpeg("-i", clip.path, "-vn", "-c", "copy", tmp_path / "sound.m4a")
    with pytest.raises(InputError, match="sound.m4a holds audio; expected a video stream"):
        probe(tmp_path / "sound.m4a")


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "is empty"), (b"no video, just text\n" * 50, "is not a video"), (bytes(5000), "is not a video")],
)
def test_files_that_are_no_video(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        probe(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file .*nothing.mp4"):
        Reader(tmp_path / "nothing.mp4")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_mp4_without_its_index(keep: float, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=12)
    truncate(clip.path, tmp_path / "cut.mp4", keep=keep)
    with pytest.raises(InputError, match="ends before its index"):
        probe(tmp_path / "cut.mp4")


def test_pipes_are_refused_before_they_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="is a pipe or a device; expected a file, which is read more than once"):
        probe(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="standard input"):
        probe(Path("-"))


def test_pictures_of_float_samples_are_refused(tmp_path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x64", "-frames:v", "1", tmp_path / "a.exr")
    with pytest.raises(InputError, match="gbrpf32le"):
        probe(tmp_path / "a.exr")


def test_a_fragmented_mp4_has_its_index_in_its_fragments(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", n=12)
    run_ffmpeg("-i", clip.path, "-c", "copy", "-movflags", "frag_keyframe+empty_moov", tmp_path / "frag.mp4")
    with Reader(tmp_path / "frag.mp4") as reader:
        assert len(list(reader.frames())) == 12
        assert not reader.damage
