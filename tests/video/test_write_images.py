"""A folder of PNG files as the output."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests import clips
from tests.video.rewriting import FAST, ffmpeg, ffmpeg_samples, names, rewrite
from vidfill.errors import OutputError, UsageError
from vidfill.video.formats import pixel_format
from vidfill.video.frame import Frame
from vidfill.video.read import Reader, probe
from vidfill.video.write import check_output, open_writer
from vidfill.video.write_images import open_folder


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le"])
def test_same_pictures_as_ffmpeg(tmp_path: Path, pix_fmt: str) -> None:
    # 4:4:4 and smooth pictures for 4:2:0, since ways to bring chroma to full size differ.
    smooth = np.broadcast_to(clips.texture((8, 12))[:1, :1], (3, 32, 48, 3))
    pictures = clips.moving_texture(3, (32, 48)) if "444" in pix_fmt else np.ascontiguousarray(smooth)
    clip = clips.write_clip(
        tmp_path / "in.mkv", codec="ffv1", pix_fmt=pix_fmt, color=clips.BT709, pictures=pictures, b_frames=0
    )
    warnings = rewrite(clip.path, tmp_path / "out")
    depth = 8 if pix_fmt == "yuv420p" else 16
    assert warnings == [f"PNG files hold RGB: {pix_fmt} is converted to {depth} bits a channel"]
    assert names(tmp_path / "out") == ["00000.png", "00001.png", "00002.png"]
    theirs = np.frombuffer(ffmpeg_samples(clip.path, "rgb24" if depth == 8 else "rgb48le"), f"u{depth // 8}")
    theirs = theirs.reshape(3, 32, 48, 3)
    for i in range(3):
        ours = cv2.imread(str(tmp_path / "out" / f"{i:05d}.png"), cv2.IMREAD_UNCHANGED)
        assert ours is not None and ours.dtype == theirs.dtype
        assert np.abs(ours[..., ::-1].astype(int) - theirs[i]).max() <= (
            2 if depth == 8 else 300
        )  # its 16-bit white is 65280


def test_png_to_png_is_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, kind in (("rgb", np.uint8), ("deep", np.uint16)):
        pictures = rng.integers(0, np.iinfo(kind).max, (3, 9, 13, 3), dtype=kind, endpoint=True)
        clips.write_images(tmp_path / name, pictures)
        with (
            Reader(tmp_path / name, fps=Fraction(5)) as reader,
            open_writer(tmp_path / f"{name}_out", reader.info, FAST) as writer,
        ):
            for frame in reader.frames():
                writer.write(frame)
        for i, picture in enumerate(pictures):
            back = cv2.imread(str(tmp_path / f"{name}_out" / f"{i:05d}.png"), cv2.IMREAD_UNCHANGED)
            assert back is not None
            np.testing.assert_array_equal(back[..., ::-1], picture)


@pytest.mark.parametrize(("name", "n_channels"), [("gbrap", 4), ("gray", 1), ("gray10le", 1), ("yuva444p", 4)])
def test_alpha_and_gray_are_kept(tmp_path: Path, name: str, n_channels: int) -> None:
    shape = pixel_format(name)
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    info = replace(probe(clip.path), height=4, width=6, pixel_format=shape)
    levels = np.linspace(0, (1 << shape.depth) - 1, 24).round().reshape(4, 6)
    ramp = levels.astype(np.uint8) if shape.depth <= 8 else levels.astype(np.uint16)
    frame = Frame(7, 0, info.time_base, (ramp,) * (shape.n_color_planes + shape.has_alpha))
    with open_folder(tmp_path / "out", info) as writer:
        writer.write(frame)
    assert names(tmp_path / "out") == ["00007.png"]
    back = cv2.imread(str(tmp_path / "out" / "00007.png"), cv2.IMREAD_UNCHANGED)
    assert back is not None
    assert back.ndim == (2 if n_channels == 1 else 3) and back.shape[2:] in ((), (n_channels,))
    last = back if n_channels == 1 else back[..., -1]
    top = 255 if shape.depth <= 8 else 65535
    shown, expected = last.astype(np.float64) / top, levels / levels.max()
    assert np.abs(shown - expected).max() <= 0.5 / top


def test_rotation(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=1, size=(32, 48), rotation=90, pix_fmt="yuv444p", color=clips.BT709)
    rewrite(clip.path, tmp_path / "out")
    ffmpeg("-i", clip.path, tmp_path / "theirs.png")
    ours, theirs = cv2.imread(str(tmp_path / "out" / "00000.png")), cv2.imread(str(tmp_path / "theirs.png"))
    assert ours is not None and theirs is not None
    assert ours.shape == theirs.shape == (48, 32, 3)
    assert np.abs(ours.astype(int) - theirs).mean() < 2


def test_dropped_streams_are_named(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2, audio_tracks=1)
    warnings = check_output(tmp_path / "out", probe(clip.path), FAST, overwrite=False)
    assert warnings[0].endswith("dropped are audio stream 1 (aac)")
    assert not (tmp_path / "out").exists()


def test_overwrite(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    rewrite(clip.path, tmp_path / "out")
    (tmp_path / "out" / "00009.png").write_bytes(b"old")
    with pytest.raises(OutputError, match="is not empty. Give -y"):
        rewrite(clip.path, tmp_path / "out")
    rewrite(clip.path, tmp_path / "out", overwrite=True)
    assert names(tmp_path / "out") == ["00000.png", "00001.png"]
    assert names(tmp_path) == ["in.mp4", "out"]


def test_empty_folder(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    (tmp_path / "out.d").mkdir()
    rewrite(clip.path, tmp_path / "out.d")
    assert len(names(tmp_path / "out.d")) == 2


def test_trailing_slash(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    info = probe(clip.path)
    check_output(f"{tmp_path}/frames.v2/", info, FAST, overwrite=False)
    with Reader(clip.path) as reader, open_writer(f"{tmp_path}/frames.v2/", info, FAST) as writer:
        for frame in reader.frames():
            writer.write(frame)
    assert names(tmp_path / "frames.v2") == ["00000.png", "00001.png"]
    with pytest.raises(UsageError, match="no extension of a video format"):
        check_output(tmp_path / "frames.v3", info, FAST, overwrite=False)
    with pytest.raises(UsageError, match="no extension of a video format"):
        check_output(tmp_path / ".mp4", info, FAST, overwrite=False)


def test_folder_with_other_files(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="holds letter.txt; expected nothing but PNG files"):
        rewrite(clip.path, tmp_path / "out", overwrite=True)
    assert names(tmp_path / "out") == ["letter.txt"]


def test_invalid_folders(tmp_path: Path) -> None:
    clips.write_images(tmp_path / "frames", clips.moving_texture(2, (16, 16)))
    info = probe(tmp_path / "frames", fps=Fraction(5))
    with pytest.raises(OutputError, match="is the source"):
        check_output(tmp_path / "frames", info, FAST, overwrite=True)
    with pytest.raises(OutputError, match="no_such does not exist"):
        check_output(tmp_path / "no_such" / "out", info, FAST, overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file; expected a folder"):
        check_output(tmp_path / "file", info, FAST, overwrite=True)


def test_exception_leaves_nothing(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=3)
    with (
        pytest.raises(ZeroDivisionError),
        Reader(clip.path) as reader,
        open_writer(tmp_path / "out", reader.info, FAST) as writer,
    ):
        for frame in reader.frames():
            writer.write(frame)
            1 / (1 - frame.index)
    assert names(tmp_path) == ["in.mp4"]


def test_folder_to_video(tmp_path: Path) -> None:
    clips.write_images(tmp_path / "frames", clips.moving_texture(5, (33, 47)))
    with Reader(tmp_path / "frames", fps=Fraction(30000, 1001)) as reader:
        warnings = check_output(tmp_path / "out.mp4", reader.info, FAST, overwrite=False)
        with open_writer(tmp_path / "out.mp4", reader.info, FAST) as writer:
            for frame in reader.frames():
                writer.write(frame)
    assert "RGB" in warnings[0]
    info = probe(tmp_path / "out.mp4")
    assert (info.height, info.width, info.pixel_format.name) == (33, 47, "yuv444p")
    assert (info.color.matrix, info.color.range) == (1, 1)
    assert info.rate == Fraction(30000, 1001)
    pictures = np.frombuffer(ffmpeg_samples(tmp_path / "out.mp4", "rgb24"), np.uint8).reshape(5, 33, 47, 3)
    assert np.abs(pictures.astype(float) - clips.moving_texture(5, (33, 47))).mean() < 3
