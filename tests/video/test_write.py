"""The picture through the writer: samples, times, tags, and what happens when something goes wrong."""

import hashlib
import re
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from tests import clips
from tests.video.rewriting import FAST, FFV1, describe, ffmpeg_samples, frame_times, read_all, rewrite, run_script
from vidfill.settings import EncodeSettings
from vidfill.video.frame import ColorTags, Frame
from vidfill.video.read import Reader, probe
from vidfill.video.write import check_output, open_writer


def psnr(first: list[Frame], second: list[Frame], depth: int) -> float:
    """Over all planes of all frames, in dB."""
    errors = [
        np.square(a.astype(np.float64) - b).mean()
        for x, y in zip(first, second, strict=True)
        for a, b in zip(x.planes, y.planes, strict=True)
    ]
    return float(10 * np.log10(((1 << depth) - 1) ** 2 / max(np.mean(errors), 1e-12)))


@pytest.mark.parametrize(
    "pix_fmt",
    [
        *(f"yuv{chroma}p{depth}" for chroma in ("420", "422", "444") for depth in ("", "10le", "12le")),
        *("gray", "gbrp", "gbrp10le", "yuva444p10le", "yuva420p", "gray12le"),
    ],
)
def test_ffv1_keeps_every_sample(tmp_path: Path, pix_fmt: str) -> None:
    codec_format = {"gbrp": "bgr0"}.get(pix_fmt, pix_fmt)
    source = clips.write_clip(
        tmp_path / "in.mkv", n=3, codec="ffv1", pix_fmt=codec_format, b_frames=0, size=(62, 94)
    ).path
    rewrite(source, tmp_path / "out.mkv")
    assert ffmpeg_samples(tmp_path / "out.mkv", pix_fmt) == ffmpeg_samples(source, pix_fmt)


def test_lossy_source_to_ffv1(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(("name", "codec", "pix_fmt", "output", "min_db"), LOSSY)
def test_auto_keeps_codec_and_quality(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, output: str, min_db: float
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
    assert psnr(read_all(clip.path), read_all(tmp_path / output), before.pixel_format.depth) > min_db
    assert frame_times(tmp_path / output) == frame_times(clip.path)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9", "prores", "ffv1", "mjpeg", "utvideo", "libx264"])
def test_explicit_codecs(tmp_path: Path, codec: str) -> None:
    source = clips.write_clip(tmp_path / "in.mp4", n=4, color=clips.BT709).path
    output = tmp_path / ("out.mov" if codec == "prores" else "out.avi" if codec == "utvideo" else "out.mkv")
    rewrite(source, output, EncodeSettings(codec=codec))
    first = np.frombuffer(ffmpeg_samples(source, "yuv444p"), np.uint8).astype(float)
    second = np.frombuffer(ffmpeg_samples(output, "yuv444p"), np.uint8)
    assert first.shape == second.shape
    assert 10 * np.log10(255**2 / max(np.square(first - second).mean(), 1e-12)) > 36


@pytest.mark.parametrize("output", ["out.mp4", "out.mov", "out.mkv"])
@pytest.mark.parametrize("source", ["in.mp4", "in.mkv"])
def test_variable_rate_with_b_frames(tmp_path: Path, source: str, output: str) -> None:
    clip = clips.write_clip(tmp_path / source, vfr=True, b_frames=3)
    rewrite(clip.path, tmp_path / output)
    times = frame_times(clip.path)
    if output == "out.mkv":  # it counts in milliseconds
        times = [Fraction(round(t * 1000), 1000) for t in times]
    assert frame_times(tmp_path / output) == times


def test_start_time(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", vfr=True, start_pts=90_000 * 5 + 3001)
    rewrite(clip.path, tmp_path / "out.mp4", FAST)
    assert frame_times(tmp_path / "out.mp4") == frame_times(clip.path)
    assert frame_times(tmp_path / "out.mp4")[0] > 5


@pytest.mark.parametrize("b_frames", ["0", "3"])
@pytest.mark.parametrize(("source", "output"), [("in.mp4", "out.mp4"), ("in.mkv", "out.mp4"), ("in.mkv", "out.mkv")])
def test_duration_of_last_frame(tmp_path: Path, source: str, output: str, b_frames: str) -> None:
    clip = clips.write_clip(tmp_path / source, vfr=True, b_frames=0, last_frame_hold=Fraction(3))
    rewrite(clip.path, tmp_path / output, EncodeSettings(encoder_options={"bf": b_frames}))
    with av.open(str(tmp_path / output)) as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(float(clip.times_s[-1] + 3), abs=0.002)
    assert "Duration: 00:00:03.95" in describe(tmp_path / output)


def test_duration_of_last_frame_after_an_early_end(tmp_path: Path) -> None:
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
def test_mirroring(tmp_path: Path, output: str) -> None:
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
def test_rotation(tmp_path: Path, degrees: int, output: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2, rotation=degrees)
    assert rewrite(clip.path, tmp_path / output, FAST) == []
    before, after = probe(clip.path).orientation, probe(tmp_path / output).orientation
    assert after.quarter_turns == before.quarter_turns != 0
    assert (after.matrix == before.matrix) or output == "out.mkv"
    assert describe(tmp_path / output).count("rotation of") == 1


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize("codec", ["hevc", "av1", "h264"])
def test_hdr10(tmp_path: Path, codec: str, output: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=3, codec="libx265", pix_fmt="yuv420p10le", hdr10=True)
    rewrite(clip.path, tmp_path / output, EncodeSettings(codec=codec))
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
def test_colour_tags(tmp_path: Path, codec: str) -> None:
    for name, color in (("tagged", clips.BT709), ("plain", None)):
        clip = clips.write_clip(tmp_path / f"{name}.mkv", n=2, codec=codec, color=color, b_frames=0)
        rewrite(clip.path, tmp_path / f"{name}.out.mkv")
        assert probe(tmp_path / f"{name}.out.mkv").color == probe(clip.path).color


def test_full_range(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2, color=ColorTags(5, 1, 1, 2))
    rewrite(clip.path, tmp_path / "out.mp4", FAST)
    assert "yuvj420p(pc" in describe(tmp_path / "out.mp4") or "yuv420p(pc" in describe(tmp_path / "out.mp4")


@pytest.mark.parametrize("output", ["out.mp4", "out.mov", "out.mkv"])
def test_sample_aspect(tmp_path: Path, output: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2, sample_aspect=Fraction(4, 3))
    rewrite(clip.path, tmp_path / output, FAST)
    assert "SAR 4:3" in describe(tmp_path / output)


@pytest.mark.parametrize(("order", "word"), [("tff", "T"), ("bff", "B")])
@pytest.mark.parametrize(("output", "codec"), [("out.mov", "prores"), ("out.mkv", "h264"), ("out.mkv", "ffv1")])
def test_interlacing(tmp_path: Path, output: str, codec: str, order: str, word: str) -> None:
    fields = {"flags": "+ildct+ilme", "x264-params": f"{order}=1"}
    clip = clips.write_clip(tmp_path / "in.mkv", n=4, options=fields)
    assert probe(clip.path).bottom_field_first == (order == "bff")
    rewrite(clip.path, tmp_path / output, EncodeSettings(codec=codec))
    first = "top" if order == "tff" else "bottom"
    assert f"{first} first" in describe(tmp_path / output) or f"{first} coded first" in describe(tmp_path / output)
    if codec != "ffv1":  # which says it for the whole stream only
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", tmp_path / output, "-vf", "showinfo", "-f", "null", "-"]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        assert re.findall(r" i:(\w) ", shown) == [word] * 4  # P for a progressive frame
    assert frame_times(tmp_path / output) == frame_times(clip.path)


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_same_input_same_bytes(tmp_path: Path, output: str) -> None:
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


@pytest.mark.parametrize(
    ("name", "codec", "warning"),
    [
        ("out.avi", "ffv1", "avi has no timestamps"),
        ("out.avi", "ffv1", "avi has no rotation"),
        ("out.mpg", "h264", "one frame in each pack"),
        ("out.vob", "h264", "one frame in each pack"),
        ("out.mkv", "hevc", "players may show combing"),
    ],
)
def test_warnings(tmp_path: Path, name: str, codec: str, warning: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=12, vfr=True, rotation=90)
    info = replace(probe(clip.path), interlaced=codec == "hevc")
    warnings = check_output(tmp_path / name, info, EncodeSettings(codec=codec), overwrite=False)
    assert any(warning in text for text in warnings)
    if name == "out.avi":
        rewrite(clip.path, tmp_path / name, EncodeSettings(codec=codec))
        assert len(read_all(tmp_path / name)) == 12


AV1 = """
import os, sys
from pathlib import Path
from tests.video.rewriting import rewrite
from vidfill.settings import EncodeSettings
before = dict(os.environ)
rewrite(Path(sys.argv[1]), Path(sys.argv[2]), EncodeSettings(codec="av1"))
assert os.environ == before
"""


def test_no_banner_of_svt_av1(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    done = run_script(AV1, clip.path, tmp_path / "out.mp4")  # its log level is set once a process
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
