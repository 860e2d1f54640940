"""The fill as a layer: over the source it shows the finished picture, elsewhere it is transparent."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clips import BT709, HDR10, write_clip
from tests.engine.models import Raising, Recorder, loading
from tests.ffmpeg import run_ffmpeg
from vidfill.errors import OutputError, UsageError
from vidfill.masks.edit import soft_alpha
from vidfill.models.base import WindowSpec
from vidfill.removal.run import plan_removal, remove
from vidfill.video.color import rgb_crop
from vidfill.video.frame import Box, Float, Frame
from vidfill.video.read import Reader, probe

BOX = Box(20, 10, 50, 34)
GROWTH = {"dilate": 4, "feather": 4}
QUICK: dict[str, Any] = {"box": ["20,10,30,24@#2-#5"], "device": "cpu", "threads": 1, **GROWTH}
FLAT = QUICK | {"load": loading(Recorder(WindowSpec(neighbours=(-1, 1))))}  # fills with a flat colour


def _frames(path: Path) -> list[Frame]:
    with Reader(path) as reader:
        return list(reader.frames())


def _rgb(path: Path) -> list[Float]:
    info = probe(path)
    return [rgb_crop(frame, info, Box(0, 0, info.width, info.height)) for frame in _frames(path)]


def _alphas(path: Path) -> list[Float]:
    top = (1 << probe(path).pixel_format.depth) - 1
    return [np.asarray(frame.planes[-1] / top, np.float32) for frame in _frames(path)]


def _over(below: Sequence[Float], layer: Path) -> list[Float]:
    """What an editor shows: straight alpha."""
    rows = zip(below, _rgb(layer), _alphas(layer), strict=True)
    return [np.asarray(a[..., None] * rgb + (1 - a[..., None]) * under, np.float32) for under, rgb, a in rows]


def _duration_s(stream: Any) -> float:
    return float(stream.duration * stream.time_base)


def _hole() -> NDArray[np.uint8]:
    mask = np.zeros((64, 96), np.bool_)
    mask[BOX.slices] = True
    return soft_alpha(mask, dilate_px=GROWTH["dilate"], feather_px=GROWTH["feather"])


@pytest.mark.parametrize(
    ("pix_fmt", "name", "layer_format", "tolerance"),
    [
        ("yuv444p", "fill.mkv", "yuva444p", 2 / 255),
        ("yuv444p", "fill.mov", "yuva444p", 4 / 255),  # 10 bits, but lossy; decoders give out 12 or 10
        ("yuv444p10le", "fill.mkv", "yuva444p10le", 1 / 255),
        ("bgr0", "fill.mkv", "gbrap", 2 / 255),
        ("bgr0", "fill.mov", "yuva444p", 4 / 255),
    ],
)
def test_layer_over_source_is_the_result(
    tmp_path: Path, pix_fmt: str, name: str, layer_format: str, tolerance: float
) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=7, codec="ffv1", pix_fmt=pix_fmt)
    layer = tmp_path / name
    result = remove(clip.path, tmp_path / "out.mkv", output_fill=layer, codec="ffv1", **FLAT)
    assert (result.output, result.output_fill) == (tmp_path / "out.mkv", layer)
    assert probe(layer).pixel_format.name.startswith(layer_format)
    for shown, finished in zip(_over(_rgb(clip.path), layer), _rgb(result.output), strict=True):
        assert np.abs(shown - finished).mean() < tolerance / 4
        assert np.quantile(np.abs(shown - finished), 0.999) < tolerance


def test_transparent_source_stays_transparent(tmp_path: Path) -> None:
    """A source that is a layer itself: the box lies half in, half out of what is transparent in it."""
    clip = write_clip(tmp_path / "in.mkv", n=6, with_object=True, codec="ffv1", pix_fmt="yuva444p")
    options = QUICK | {"box": ["10,20,40,24@#2-#5"], "grain": False}
    remove(clip.path, tmp_path / "out.mkv", output_fill=tmp_path / "fill.mkv", codec="ffv1", **options)
    for layer, below, finished in zip(*(_alphas(tmp_path / f"{n}.mkv") for n in ("fill", "in", "out")), strict=True):
        np.testing.assert_array_equal(finished, below)
        np.testing.assert_array_equal(layer + (1 - layer) * below, finished)
    transparent = clip.masks[3]
    alpha = _alphas(tmp_path / "fill.mkv")[3]
    inside = np.zeros_like(transparent)
    inside[20:44, 10:50] = True
    assert (alpha[inside & transparent] == 0).all()
    assert (alpha[inside & ~transparent] == 1).all()
    assert (inside & transparent).any()


def test_ffmpeg_lays_it_over_the_source_as_we_do(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=6, codec="ffv1", pix_fmt="yuv444p")
    remove(clip.path, tmp_path / "out.mkv", output_fill=tmp_path / "fill.mkv", codec="ffv1", **FLAT)
    how = ["-filter_complex", "[0][1]overlay=format=yuv444", "-pix_fmt", "yuv444p", "-f", "rawvideo", "-"]
    raw = run_ffmpeg("-i", clip.path, "-i", tmp_path / "fill.mkv", *how)
    shown = np.frombuffer(raw, np.uint8).reshape(6, 3, 64, 96).astype(int)
    for theirs, ours in zip(shown, _frames(tmp_path / "out.mkv"), strict=True):
        assert np.abs(theirs - np.stack(ours.planes)).max() <= 2


@pytest.mark.parametrize("name", ["fill.mkv", "fill.mov", "fill/"])
def test_alpha_is_the_feathered_mask(tmp_path: Path, name: str) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=7)
    result = remove(clip.path, None, output_fill=f"{tmp_path}/{name}", **FLAT)
    assert result.output == result.output_fill == tmp_path / name
    assert (result.n_frames, result.n_filled) == (7, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.mkv", name.removesuffix("/")])
    if name == "fill/":
        pngs = [np.asarray(cv2.imread(str(p), cv2.IMREAD_UNCHANGED)) for p in sorted(result.output.iterdir())]
        alphas: list[NDArray[Any]] = [png[..., 3] / 255 for png in pngs]
    else:
        alphas = list(_alphas(result.output))
    for index, alpha in enumerate(alphas):
        expected = _hole() / 255 if 2 <= index < 5 else np.zeros((64, 96))
        np.testing.assert_allclose(alpha, expected, atol=1e-3)


def test_colours_around_patches(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=5, size=(128, 160), codec="ffv1", pix_fmt="yuv444p")
    remove(clip.path, None, output_fill=tmp_path / "fill.mkv", **FLAT)
    layer, source = _rgb(tmp_path / "fill.mkv"), _rgb(clip.path)
    assert layer[0].max() < 0.01
    assert layer[3][110:, 120:].max() < 0.01
    near = np.s_[10:34, 62:74]  # beyond the feather
    np.testing.assert_allclose(layer[3][near], source[3][near], atol=0.01)


def test_an_editor_finds_it_where_the_source_is(tmp_path: Path) -> None:
    """Every frame at its own time, turned and coloured as the source; no sound, which the source has already."""
    clip = write_clip(
        tmp_path / "in.mp4",
        n=8,
        vfr=True,
        start_pts=9000,
        last_frame_hold=Fraction(1),
        rotation=90,
        color=BT709,
        audio_tracks=1,
        chapters=True,
    )
    result = remove(clip.path, None, output_fill=tmp_path / "fill.mov", **FLAT)
    assert result.warnings == ()
    before, after = probe(clip.path), probe(tmp_path / "fill.mov")
    assert (after.codec, after.profile) == ("prores", "4444")
    assert after.orientation == before.orientation
    assert (after.color.matrix, after.color.primaries, after.color.transfer) == (1, 1, 1)
    assert [f.time_s for f in _frames(tmp_path / "fill.mov")] == [f.time_s for f in _frames(clip.path)]
    with av.open(str(clip.path)) as source, av.open(str(tmp_path / "fill.mov")) as made:
        assert [stream.type for stream in made.streams] == ["video"]
        old, new = _duration_s(source.streams.video[0]), _duration_s(made.streams.video[0])
        assert new == pytest.approx(old, abs=0.001)


def test_wide_colour_is_kept_and_said(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=4, codec="libx265", pix_fmt="yuv420p10le", hdr10=True)
    result = remove(clip.path, None, output_fill=tmp_path / "fill.mov", **FLAT)
    assert probe(tmp_path / "fill.mov").color == HDR10
    assert result.warnings == ()


def test_a_run_that_fails_leaves_neither(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=6)
    broken = Raising(WindowSpec(), RuntimeError("a fault"), calls=[2])
    with pytest.raises(RuntimeError, match="a fault"):
        remove(clip.path, tmp_path / "out.mkv", output_fill=tmp_path / "fill.mkv", load=loading(broken), **QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.mkv.vidfill", "in.mkv"]


@pytest.mark.parametrize(
    ("output", "layer", "kind", "message"),
    [
        ("out.mkv", "fill.mp4", OutputError, "cannot have alpha"),
        ("out.mkv", "fill.webm", OutputError, "cannot have alpha"),
        ("out.mkv", "out.mkv", UsageError, "two names"),
        ("out.mkv", "folder/../out.mkv", UsageError, "two names"),
        ("folder/", "folder/fill.mkv", UsageError, "two names"),
        ("folder/out.mkv", "folder/", UsageError, "two names"),
        ("out.mkv", "in.mkv", OutputError, "is the source"),
        ("out.mkv", "there.mov", OutputError, "exists"),
        ("out.mkv", "missing/fill.mov", OutputError, "does not exist"),
        (None, None, UsageError, "no output"),
    ],
)
def test_output_is_checked_first(
    tmp_path: Path, output: str | None, layer: str | None, kind: type[Exception], message: str
) -> None:
    write_clip(tmp_path / "in.mkv", n=2)
    (tmp_path / "there.mov").write_bytes(b"precious")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    paths = [None if name is None else f"{tmp_path}/{name}" for name in (output, layer)]
    with pytest.raises(kind, match=message):
        remove(tmp_path / "in.mkv", paths[0], output_fill=paths[1], **FLAT)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plan_checks_the_layer_as_well(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=2)
    with pytest.raises(OutputError, match="cannot have alpha"):
        plan_removal(clip.path, None, output_fill=tmp_path / "fill.mp4", box=["20,10,30,24"])
