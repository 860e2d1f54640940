"""The picture through the writer: samples, times, tags, and what happens when something goes wrong."""

import errno
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from tests import clips
from tests.video.rewriting import (
    FAST,
    FFV1,
    describe,
    ffmpeg_samples,
    frame_times,
    read_all,
    rewrite,
)
from vidfill.errors import OutputError, UsageError
from vidfill.video.codecs import EncodeSettings
from vidfill.video.frame import ColorTags, Frame
from vidfill.video.read import Reader, probe
from vidfill.video.write import VideoWriter, check_output, open_writer


def psnr(first: list[Frame], second: list[Frame], depth: int) -> float:
    """Over all planes of all frames, in dB."""
    errors = [
        np.square(a.astype(np.float64) - b).mean()
        for x, y in zip(first, second, strict=True)
        for a, b in zip(x.planes, y.planes, strict=True)
    ]
    return float(10 * np.log10(((1 << depth) - 1) ** 2 / max(np.mean(errors), 1e-12)))


@pytest.mark.parametrize("chroma", ["420", "422", "444"])
@pytest.mark.parametrize("depth", ["", "10le", "12le"])
def test_ffv1_keeps_every_sample(tmp_path: Path, chroma: str, depth: str) -> None:
    pix_fmt = f"yuv{chroma}p{depth}"
    source = clips.write_clip(tmp_path / "in.mkv", n=4, codec="ffv1", pix_fmt=pix_fmt, b_frames=0, size=(62, 94)).path
    rewrite(source, tmp_path / "out.mkv")
    assert ffmpeg_samples(tmp_path / "out.mkv", pix_fmt) == ffmpeg_samples(source, pix_fmt)


@pytest.mark.parametrize("pix_fmt", ["gray", "gbrp", "gbrp10le", "yuva444p10le", "yuva420p", "gray12le"])
def test_ffv1_keeps_gray_rgb_and_alpha(tmp_path: Path, pix_fmt: str) -> None:
    codec_format = {"gbrp": "bgr0"}.get(pix_fmt, pix_fmt)
    source = clips.write_clip(tmp_path / "in.mkv", n=3, codec="ffv1", pix_fmt=codec_format, b_frames=0).path
    rewrite(source, tmp_path / "out.mkv")
    assert ffmpeg_samples(tmp_path / "out.mkv", pix_fmt) == ffmpeg_samples(source, pix_fmt)


def test_lossy_source_to_ffv1_is_what_the_decoder_gave(tmp_path: Path) -> None:
    source = clips.write_clip(tmp_path / "in.mp4", n=8, pix_fmt="yuv422p10le").path
    rewrite(source, tmp_path / "out.mkv", FFV1)
    assert ffmpeg_samples(tmp_path / "out.mkv", "yuv422p10le") == ffmpeg_samples(source, "yuv422p10le")


LOSSY = [
    ("in.mp4", "libx264", "yuv420p", "out.mp4", 40.0),
    ("in.mp4", "libx264", "yuv444p10le", "out.mov", 40.0),
    ("in.mp4", "libx265", "yuv420p10le", "out.mp4", 40.0),
    ("in.mkv", "libx265", "yuv422p12le", "out.mkv", 40.0),
    ("in.mp4", "libsvtav1", "yuv420p10le", "out.mp4", 40.0),
    ("in.webm", "libvpx-vp9", "yuv420p", "out.webm", 40.0),
    ("in.mov", "prores_ks", "yuv422p10le", "out.mov", 45.0),
    ("in.mov", "prores_ks", "yuva444p10le", "out.mov", 45.0),
    ("in.mov", "mjpeg", "yuv420p", "out.mov", 40.0),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt", "output", "least_db"), LOSSY)
def test_auto_is_close_to_the_source_in_its_own_codec_and_format(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, output: str, least_db: float
) -> None:
    color = ColorTags(range=2) if codec == "mjpeg" else None
    clip = clips.write_clip(
        tmp_path / name,
        n=6,
        codec=codec,
        pix_fmt=pix_fmt,
        color=color,
        b_frames=0 if codec in ("prores_ks", "mjpeg") else 2,
        options={"preset": "10"} if codec == "libsvtav1" else None,
    )
    rewrite(clip.path, tmp_path / output)
    before, after = probe(clip.path), probe(tmp_path / output)
    assert (after.codec, after.pixel_format) == (before.codec, before.pixel_format)
    assert psnr(read_all(clip.path), read_all(tmp_path / output), before.pixel_format.depth) > least_db
    assert frame_times(tmp_path / output) == frame_times(clip.path)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9", "prores", "ffv1", "mjpeg", "utvideo", "libx264"])
def test_each_explicit_codec_decodes_to_the_same_picture(tmp_path: Path, codec: str) -> None:
    source = clips.write_clip(tmp_path / "in.mp4", n=4, color=clips.BT709).path
    output = tmp_path / ("out.mov" if codec == "prores" else "out.avi" if codec == "utvideo" else "out.mkv")
    rewrite(source, output, EncodeSettings(codec))
    first = np.frombuffer(ffmpeg_samples(source, "yuv444p"), np.uint8).astype(float)
    second = np.frombuffer(ffmpeg_samples(output, "yuv444p"), np.uint8)
    assert first.shape == second.shape
    assert 10 * np.log10(255**2 / max(np.square(first - second).mean(), 1e-12)) > 36


@pytest.mark.parametrize("output", ["out.mp4", "out.mov", "out.mkv"])
@pytest.mark.parametrize("source", ["in.mp4", "in.mkv"])
def test_variable_rate_times_survive_b_frames(tmp_path: Path, source: str, output: str) -> None:
    clip = clips.write_clip(tmp_path / source, vfr=True, b_frames=3)
    rewrite(clip.path, tmp_path / output)
    times = frame_times(clip.path)
    if output == "out.mkv":  # it counts in milliseconds
        times = [Fraction(round(t * 1000), 1000) for t in times]
    assert frame_times(tmp_path / output) == times


def test_start_time_is_kept_to_the_tick(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", vfr=True, start_pts=90_000 * 5 + 3001)
    rewrite(clip.path, tmp_path / "out.mp4", FAST)
    assert frame_times(tmp_path / "out.mp4") == frame_times(clip.path)
    assert frame_times(tmp_path / "out.mp4")[0] > 5


@pytest.mark.parametrize("b_frames", ["0", "3"])
@pytest.mark.parametrize(("source", "output"), [("in.mp4", "out.mp4"), ("in.mkv", "out.mp4"), ("in.mkv", "out.mkv")])
def test_last_frame_is_shown_as_long_as_in_the_source(tmp_path: Path, source: str, output: str, b_frames: str) -> None:
    clip = clips.write_clip(tmp_path / source, vfr=True, b_frames=0, last_frame_hold=Fraction(3))
    rewrite(clip.path, tmp_path / output, EncodeSettings(options={"bf": b_frames}))
    with av.open(str(tmp_path / output)) as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(float(clip.times_s[-1] + 3), abs=0.002)
    assert "Duration: 00:00:03.95" in describe(tmp_path / output)


def test_last_frame_hold_is_a_frame_where_the_source_ends_elsewhere(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=10, b_frames=0, last_frame_hold=Fraction(3))
    with Reader(clip.path) as reader, open_writer(tmp_path / "out.mp4", reader.info, FAST) as writer:
        for frame in list(reader.frames())[:5]:
            writer.write(frame)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration == 200_000


@pytest.mark.parametrize("codec", ["libx264", "libx265", "ffv1"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_very_short_clips(tmp_path: Path, codec: str, n: int) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=n, codec=codec, b_frames=0)
    rewrite(clip.path, tmp_path / "out.mp4")
    assert frame_times(tmp_path / "out.mp4") == clip.times_s


@pytest.mark.parametrize("output", ["out.mp4", "out.mov", "out.mkv"])
def test_mirrored_matrix_is_copied_as_it_is(tmp_path: Path, output: str) -> None:
    matrix = [0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30]  # a quarter turn of a mirrored picture
    clip = clips.write_clip(tmp_path / "in.mp4", n=3, display_matrix=matrix)
    warnings = rewrite(clip.path, tmp_path / output, FAST)
    before, after = probe(clip.path).orientation, probe(tmp_path / output).orientation
    assert before.mirrored
    if output == "out.mkv":
        assert "no mirroring" in warnings[0]
    else:
        assert after == before
        assert warnings == []


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_kept(tmp_path: Path, degrees: int, output: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2, rotation=degrees)
    assert rewrite(clip.path, tmp_path / output, FAST) == []
    before, after = probe(clip.path).orientation, probe(tmp_path / output).orientation
    assert after.quarter_turns == before.quarter_turns != 0
    assert (after.matrix == before.matrix) or output == "out.mkv"
    assert describe(tmp_path / output).count("rotation of") == 1


def test_container_without_rotation_says_so(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2, rotation=90)
    assert any("avi has no rotation" in warning for warning in rewrite(clip.path, tmp_path / "out.avi", FFV1))


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize("codec", ["hevc", "av1", "h264"])
def test_hdr10_metadata_and_tags_are_kept(tmp_path: Path, codec: str, output: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=3, codec="libx265", pix_fmt="yuv420p10le", hdr10=True)
    rewrite(clip.path, tmp_path / output, EncodeSettings(codec))
    before, after = probe(clip.path), probe(tmp_path / output)
    assert before.hdr is not None and after.hdr is not None
    assert after.color == before.color == clips.HDR10
    assert (after.hdr.max_content_light, after.hdr.max_average_light) == (1000, 400)
    for stored, stated in zip(after.hdr.mastering, before.hdr.mastering, strict=True):
        assert float(stored) == pytest.approx(float(stated), abs=1e-4)  # AV1 stores binary fractions
    said = describe(tmp_path / output)
    assert "yuv420p10le(tv, bt2020nc/bt2020/smpte2084" in said
    if codec == "hevc" and output == "out.mp4":
        assert "hvc1" in said


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "ffv1", "libvpx-vp9"])
def test_colour_tags_are_kept_and_not_invented(tmp_path: Path, codec: str) -> None:
    for name, color in (("tagged", clips.BT709), ("plain", None)):
        clip = clips.write_clip(tmp_path / f"{name}.mkv", n=2, codec=codec, color=color, b_frames=0)
        rewrite(clip.path, tmp_path / f"{name}.out.mkv")
        assert probe(tmp_path / f"{name}.out.mkv").color == probe(clip.path).color


def test_full_range_is_kept(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2, color=ColorTags(5, 1, 1, 2))
    rewrite(clip.path, tmp_path / "out.mp4", FAST)
    assert "yuvj420p(pc" in describe(tmp_path / "out.mp4") or "yuv420p(pc" in describe(tmp_path / "out.mp4")


@pytest.mark.parametrize("output", ["out.mp4", "out.mov", "out.mkv"])
def test_sample_aspect_is_kept(tmp_path: Path, output: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2, sample_aspect=Fraction(4, 3))
    rewrite(clip.path, tmp_path / output, FAST)
    assert "SAR 4:3" in describe(tmp_path / output)


@pytest.mark.parametrize(("order", "word"), [("tff", "T"), ("bff", "B")])
@pytest.mark.parametrize(("output", "codec"), [("out.mov", "prores"), ("out.mkv", "h264"), ("out.mkv", "ffv1")])
def test_fields_and_their_order_are_kept(tmp_path: Path, output: str, codec: str, order: str, word: str) -> None:
    fields = {"flags": "+ildct+ilme", "x264-params": f"{order}=1"}
    clip = clips.write_clip(tmp_path / "in.mkv", n=4, options=fields)
    assert probe(clip.path).bottom_field_first == (order == "bff")
    rewrite(clip.path, tmp_path / output, EncodeSettings(codec))
    first = "top" if order == "tff" else "bottom"
    assert f"{first} first" in describe(tmp_path / output) or f"{first} coded first" in describe(tmp_path / output)
    if codec != "ffv1":  # which says it for the whole stream only
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", tmp_path / output, "-vf", "showinfo", "-f", "null", "-"]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        assert re.findall(r" i:(\w) ", shown) == [word] * 4  # P for a progressive frame
    assert frame_times(tmp_path / output) == frame_times(clip.path)


def test_codecs_without_fields_are_warned_of(tmp_path: Path) -> None:
    info = replace(probe(clips.write_clip(tmp_path / "in.mkv", n=1).path), interlaced=True)
    assert any(
        "combing" in text for text in check_output(tmp_path / "a.mkv", info, EncodeSettings("hevc"), overwrite=False)
    )


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_equal_input_gives_equal_bytes(tmp_path: Path, output: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=6, audio_tracks=1)
    digests = set()
    for _ in range(2):
        rewrite(clip.path, tmp_path / output, overwrite=True)
        digests.add(hashlib.sha256((tmp_path / output).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_mp4_starts_with_its_index(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=6)
    rewrite(clip.path, tmp_path / "out.mp4", FAST)
    data = (tmp_path / "out.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_avi_gets_a_steady_rate_and_says_so(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=12, vfr=True)
    warnings = rewrite(clip.path, tmp_path / "out.avi", FFV1)
    assert any("avi has no timestamps" in warning for warning in warnings)
    assert len(read_all(tmp_path / "out.avi")) == 12


@pytest.mark.parametrize("name", ["out.mpg", "out.vob"])
def test_program_streams_time_packs_not_frames_and_say_so(tmp_path: Path, name: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=6)
    warnings = rewrite(clip.path, tmp_path / name, EncodeSettings(codec="h264"))
    assert any("one frame in each pack" in warning for warning in warnings)


# What is answered before the work starts.


def test_existing_file_needs_overwrite(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    output = tmp_path / "out.mp4"
    output.write_bytes(b"precious")
    with pytest.raises(OutputError, match="out.mp4 exists. Give -y"):
        rewrite(clip.path, output)
    assert output.read_bytes() == b"precious"
    rewrite(clip.path, output, FAST, overwrite=True)
    assert len(frame_times(output)) == 2


def test_the_source_itself_is_never_the_output(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    (tmp_path / "link.mp4").hardlink_to(clip.path)
    for output in (clip.path, tmp_path / "." / "in.mp4", tmp_path / "link.mp4"):
        with pytest.raises(OutputError, match="is the source"):
            check_output(output, probe(clip.path), FAST, overwrite=True)


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
def test_outputs_that_cannot_be(tmp_path: Path, name: str, error: type[Exception], words: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    with pytest.raises(error, match=words):
        check_output(tmp_path / name, probe(clip.path), EncodeSettings("h264"), overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_folder_without_write_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(OutputError, match="is not writable"):
        check_output(tmp_path / "out.mp4", probe(clip.path), FAST, overwrite=False)


def test_disk_that_is_too_small_is_refused_before(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    huge = replace(probe(clip.path), n_frames=10**13)
    with pytest.raises(OutputError, match="MB are free in .*; expected about .* MB for 10000000000000 frames by ffv1"):
        check_output(tmp_path / "out.mkv", huge, FFV1, overwrite=False)


def test_check_leaves_nothing_behind(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    assert check_output(tmp_path / "out.mp4", probe(clip.path), FAST, overwrite=False) == []
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


# What happens when something goes wrong on the way.


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_an_exception_leaves_nothing_and_an_existing_file_untouched(tmp_path: Path, output: str) -> None:
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
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", output}


def test_no_frames_is_an_error_and_no_file(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    with pytest.raises(OutputError, match="no frame"), open_writer(tmp_path / "out.mp4", probe(clip.path), FAST):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


SCRIPT = """
import resource, signal, sys
from pathlib import Path
from tests.video.rewriting import rewrite
from vidfill.errors import OutputError
from vidfill.video.codecs import EncodeSettings
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    rewrite(Path(sys.argv[1]), Path(sys.argv[2]), EncodeSettings("ffv1"))
except OutputError as error:
    print(error)
    sys.exit(5)
"""


@pytest.mark.parametrize("output", ["out.mkv", "out.mp4"])
@pytest.mark.parametrize("limit", [20_000, 100_000])
def test_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, output: str, limit: int) -> None:
    clip = clips.write_clip(tmp_path / "in.mkv", n=30, codec="ffv1", b_frames=0)
    assert clip.path.stat().st_size > 110_000
    command = [sys.executable, "-c", SCRIPT, str(clip.path), str(tmp_path / output), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stderr) == (5, "")
    assert "grew larger than a file may be" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "no space is left"), (errno.EPIPE, "reader of .* gone"), (5, "cannot be written")],
)
def test_faults_of_the_system_are_told_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=3)
    writer = VideoWriter(tmp_path / "out.mkv", probe(clip.path), FFV1)

    def fail(packets: object) -> None:
        raise OSError(number, os.strerror(number))

    frames = read_all(clip.path)
    with pytest.raises(OutputError, match=words), writer:
        monkeypatch.setattr(writer, "_mux", fail)
        for frame in frames:
            writer.write(frame)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.video.rewriting import rewrite
from vidfill.video.codecs import EncodeSettings
def change(frame):
    if frame.index == 20:
        os.kill(os.getpid(), signal.SIGKILL)
rewrite(Path(sys.argv[1]), Path(sys.argv[2]), EncodeSettings("ffv1"), change=change)
"""


def test_killed_in_the_middle_there_is_no_final_file(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=30)
    command = [sys.executable, "-c", KILLED, str(clip.path), str(tmp_path / "out.mp4")]
    done = subprocess.run(command, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
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


@pytest.mark.parametrize(("name", "words"), [("", "no name for the output"), ("-", "standard output as the output")])
def test_outputs_without_a_name_are_refused(tmp_path: Path, name: str, words: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    with pytest.raises(UsageError, match=words):
        check_output(name, probe(clip.path), FAST, overwrite=True)


@pytest.mark.parametrize("output", ["masks", "masks/0.png", "mask.mp4", ""])
def test_what_is_read_is_never_replaced(tmp_path: Path, output: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    clips.write_images(tmp_path / "masks", clip.masks)
    (tmp_path / "masks" / "00000.png").rename(tmp_path / "masks" / "0.png")
    shutil.copyfile(clip.path, tmp_path / "mask.mp4")
    read = tmp_path / (output or "masks")
    with pytest.raises(OutputError, match="would replace .*, which is read"):
        check_output(tmp_path / output, probe(clip.path), FAST, overwrite=True, inputs=[read])
