"""`retarget` from end to end on generated clips."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import vidfill
from tests.clips import HDR10, Clip, Pictures, damage_packets, moving_texture, write_clip, write_images
from tests.engine.models import Raising, Recorder, loading
from vidfill.errors import MaskError, OutputError, UsageError, VidfillError
from vidfill.models.base import WindowSpec
from vidfill.progress import Progress
from vidfill.retarget.run import plan_retarget, retarget
from vidfill.video.frame import Bool, Box, Frame
from vidfill.video.read import Reader, probe
from vidfill.video.resample import Axis, resample

QUICK: dict[str, Any] = {"codec": "ffv1", "device": "cpu", "threads": 1}
FLAT = QUICK | {"load": loading(Recorder(WindowSpec(neighbours=(-1, 1))))}  # fills with a flat colour
RED = (250, 20, 20)


def _with_boxes(background: Pictures, boxes: list[list[Box]]) -> tuple[Pictures, Bool]:
    """Red rectangles drawn over pictures, and where they are."""
    masks = np.zeros(background.shape[:3], np.bool_)
    for mask, own in zip(masks, boxes, strict=True):
        for box in own:
            mask[box.slices] = True
    return np.where(masks[..., None], np.array(RED, np.uint8), background), masks


def _clip(tmp_path: Path, boxes: list[list[Box]], *, size: tuple[int, int] = (64, 96), **options: Any) -> Clip:
    """A moving texture with red rectangles as in.mkv, their masks in masks/."""
    background = moving_texture(len(boxes), size, shift=(1, 0))
    pictures, masks = _with_boxes(background, boxes)
    settings: dict[str, Any] = {"codec": "ffv1", "pix_fmt": "yuv444p"} | options
    name = "in.mp4" if settings["codec"].startswith("libx") else "in.mkv"
    clip = write_clip(tmp_path / name, pictures=pictures, **settings)
    write_images(tmp_path / "masks", masks)
    return clip


def _crossing(n: int, *, step: int = 4) -> list[list[Box]]:
    return [[Box(6 + step * t, 20, 26 + step * t, 52)] for t in range(n)]


def _frames(path: Path) -> list[Frame]:
    with Reader(path) as reader:
        return list(reader.frames())


def _redness(path: Path) -> NDArray[np.float64]:
    """(N, H, W), how far each pixel is from blue-green to red, by FFmpeg's own conversion."""
    with av.open(str(path)) as file:
        rgb = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]).astype(np.float64)
    return np.asarray(np.clip((rgb[..., 0] - rgb[..., 1:].max(axis=-1) - 90) / 140, 0, 1))


def _shown_boxes(path: Path) -> list[Box]:
    """The box of the red in each frame."""
    found = [Box.around(red > 0.5) for red in _redness(path)]
    return [box for box in found if box is not None]


def test_object_crosses_half_the_width_unsqueezed(tmp_path: Path) -> None:
    clip = _clip(tmp_path, [[Box(14 + 3 * t, 20, 34 + 3 * t, 52)] for t in range(16)])
    result = retarget(clip.path, tmp_path / "out.mkv", width=48, mask=tmp_path / "masks", **QUICK)
    assert (result.width, result.height, result.n_objects, result.n_filled) == (48, 64, 1, 16)
    assert result.scale == (1, 1)
    assert result.seconds.keys() >= {"analyse", "layout", "fill", "assemble"}
    boxes = _shown_boxes(result.output)
    assert len(boxes) == 16
    for t, box in enumerate(boxes):
        # 20 x 32 as in the source, its centre at half of 24 + 3 t.
        assert box.x0 == pytest.approx((24 + 3 * t) / 2 - 10, abs=1)
        assert box.width == pytest.approx(20, abs=2)
        assert box.y0 == pytest.approx(20, abs=1)
        assert box.y1 == pytest.approx(52, abs=1)
    truth = write_clip(tmp_path / "truth.mkv", pictures=clip.background, codec="ffv1", pix_fmt="yuv444p")
    reds = _redness(result.output)
    for made, clean, red in zip(_frames(result.output), _frames(truth.path), reds, strict=True):
        expected = resample(clean.planes[0], Axis.resize(64, 64), Axis.resize(96, 48))
        away = red == 0
        away[:, :-4] &= red[:, 4:] == 0  # not the soft rim
        away[:, 4:] &= red[:, :-4] == 0
        assert np.abs(made.planes[0] - expected)[away].mean() < 4


@pytest.mark.parametrize(("shape", "scale"), [({"width": 80}, 0.92), ({"aspect": "9:16"}, 0.62), ({"height": 48}, 1.0)])
def test_object_keeps_its_aspect(tmp_path: Path, shape: dict[str, Any], scale: float) -> None:
    """Measured by second moments, on edges that fall between pixels."""
    boxes = [[Box(20 + 7 * t, 30 + t, 100 + 7 * t, 70 + t)] for t in range(8)]
    clip = _clip(tmp_path, boxes, size=(96, 160))
    result = retarget(clip.path, tmp_path / "out.mkv", mask=tmp_path / "masks", feather=0, **shape, **FLAT)
    np.testing.assert_allclose(result.scale, scale, atol=0.01)
    for red in _redness(result.output):
        spreads = [_spread(red.sum(axis=axis)) for axis in (0, 1)]
        assert spreads[0] / spreads[1] == pytest.approx(2, rel=0.01)


def _spread(profile: NDArray[np.float64]) -> float:
    """The std of a density."""
    at = np.arange(len(profile))
    ratio = profile / profile.sum()
    return float(np.sqrt((ratio * at**2).sum() - (ratio * at).sum() ** 2))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le"])
def test_same_size_is_identical(tmp_path: Path, pix_fmt: str) -> None:
    clip = _clip(tmp_path, _crossing(6), pix_fmt=pix_fmt)
    result = retarget(clip.path, tmp_path / "out.mkv", width=96, mask=tmp_path / "masks", **FLAT)
    for source, made, [box] in zip(_frames(clip.path), _frames(result.output), _crossing(6), strict=True):
        outside = np.ones((64, 96), np.bool_)
        outside[box.grow(8, height=64, width=96).slices] = False
        inside = np.s_[box.y0 + 2 : box.y1 - 2, box.x0 + 2 : box.x1 - 2]
        np.testing.assert_array_equal(made.planes[0][outside], source.planes[0][outside])
        np.testing.assert_array_equal(made.planes[0][inside], source.planes[0][inside])


def test_two_objects_and_a_border(tmp_path: Path) -> None:
    left, right = Box(0, 30, 12, 64), Box(60, 10, 80, 40)
    clip = _clip(tmp_path, [[left, right]] * 5)
    result = retarget(clip.path, tmp_path / "out.mkv", width=48, mask=tmp_path / "masks", **FLAT)
    assert result.n_objects == 2
    red = _redness(result.output)[2] > 0.5
    assert Box.around(red[:, :24]) == Box(0, 30, 12, 64)  # still cut off by the same border
    found = Box.around(red[:28, 24:])
    assert found is not None
    assert found.x0 + 24 == pytest.approx(70 / 2 - 10, abs=1)


def test_frames_without_a_mask_are_only_resized(tmp_path: Path) -> None:
    boxes = [[], [], *_crossing(4), [], []]
    clip = _clip(tmp_path, boxes)
    result = retarget(clip.path, tmp_path / "out.mkv", height=40, width=50, mask=tmp_path / "masks", **FLAT)
    assert result.n_filled == 4
    for index in (0, 1, 6, 7):
        expected = resample(_frames(clip.path)[index].planes[0], Axis.resize(64, 40), Axis.resize(96, 50))
        made = _frames(result.output)[index].planes[0]
        np.testing.assert_array_equal(made, np.rint(np.clip(expected, 0, 255)))


def test_timing_sound_colour_and_metadata_stay(tmp_path: Path) -> None:
    clip = _clip(
        tmp_path,
        _crossing(10),
        codec="libx265",
        pix_fmt="yuv420p10le",
        hdr10=True,
        vfr=True,
        start_pts=9000,
        last_frame_hold=Fraction(1),
        audio_tracks=2,
        subtitles=True,
        chapters=True,
        metadata={"title": "a title"},
    )
    options = {"x265-params": "log-level=none:pools=none:frame-threads=1"}
    result = retarget(
        clip.path, tmp_path / "out.mp4", width=64, mask=tmp_path / "masks", device="cpu", encoder_options=options
    )
    before, after = probe(clip.path), probe(result.output)
    assert (after.width, after.height) == (64, 64)
    assert (after.codec, after.pixel_format.name) == ("hevc", "yuv420p10le")
    assert (after.color, after.hdr) == (before.color, before.hdr)
    assert after.color == HDR10
    assert [frame.time_s for frame in _frames(result.output)] == [frame.time_s for frame in _frames(clip.path)]
    with av.open(str(clip.path)) as source, av.open(str(result.output)) as made:
        for kind in ("audio", "subtitles"):
            pairs = zip(getattr(source.streams, kind), getattr(made.streams, kind), strict=True)
            for old, new in pairs:
                assert old.language == new.language
        assert made.metadata["title"] == "a title"
        assert len(made.chapters()) == 2
        assert made.duration == pytest.approx(source.duration, abs=50_000)
        sound = [[bytes(packet) for packet in file.demux(file.streams.audio) if packet.size] for file in (source, made)]
        assert sound[0] == sound[1]


def test_rotated_video_is_measured_as_shown(tmp_path: Path) -> None:
    clip = _clip(tmp_path, _crossing(4), codec="libx264", pix_fmt="yuv420p", rotation=90)
    for path in (tmp_path / "masks").iterdir():
        path.unlink()
    shown = probe(clip.path).orientation.to_display
    _, masks = _with_boxes(clip.pictures, _crossing(4))
    write_images(tmp_path / "masks", np.stack([shown(mask) for mask in masks]))
    result = retarget(clip.path, tmp_path / "out.mp4", height=48, mask=tmp_path / "masks", device="cpu")
    assert (result.width, result.height) == (64, 48)
    after = probe(result.output)
    assert after.orientation == probe(clip.path).orientation
    assert after.display_size == (48, 64)
    box = _shown_boxes(result.output)[2]  # as coded: half as wide
    assert box.width == pytest.approx(20, abs=2)
    assert box.height == pytest.approx(32, abs=2)


@pytest.mark.parametrize(("bad", "repeats", "good"), [([5], [5], 4), ([0, 1], [0, 1], 2)])
def test_held_frames_repeat_a_good_one(tmp_path: Path, bad: list[int], repeats: list[int], good: int) -> None:
    clip = _clip(tmp_path, _crossing(12, step=5), codec="libx264", pix_fmt="yuv420p", gop=1, b_frames=0)
    damage_packets(clip.path, tmp_path / "bad.mp4", bad)
    result = retarget(tmp_path / "bad.mp4", tmp_path / "out.mkv", width=60, mask=tmp_path / "masks", **FLAT)
    assert (result.n_held, result.n_filled) == (len(bad), 12)
    frames = _frames(result.output)
    shown = frames[good].planes
    same = [all(np.array_equal(*pair) for pair in zip(frame.planes, shown, strict=True)) for frame in frames]
    assert [index for index, is_same in enumerate(same) if is_same] == sorted([*repeats, good])
    assert [frame.time_s for frame in frames] == [frame.time_s for frame in _frames(clip.path)]


def test_a_folder_of_images_in_and_out(tmp_path: Path) -> None:
    clip = _clip(tmp_path, _crossing(3))
    write_images(tmp_path / "images", clip.pictures)
    result = retarget(tmp_path / "images", tmp_path / "made", aspect="1:1", mask=tmp_path / "masks", fps=Fraction(25))
    assert sorted(path.name for path in result.output.iterdir()) == ["00000.png", "00001.png", "00002.png"]
    assert (result.width, result.height) == (64, 64)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_object_on_a_transparent_background(tmp_path: Path, dtype: Any) -> None:
    """A source that is a layer with alpha; the object is put back at half its size, its foot where it was."""
    clip = _clip(tmp_path, _crossing(3))
    masks = _with_boxes(clip.background, _crossing(3))[1]
    alpha = masks[..., None] * np.iinfo(dtype).max
    write_images(tmp_path / "images", np.concatenate([clip.pictures, alpha], axis=-1).astype(dtype))
    retarget(tmp_path / "images", f"{tmp_path}/made/", width=64, mask=tmp_path / "masks", object_scale=0.5)
    for t, path in enumerate(sorted((tmp_path / "made").iterdir())):
        made = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))[..., 3] / np.iinfo(dtype).max
        assert made.sum() == pytest.approx(10 * 16, rel=0.05)
        assert (made[:34] == 0).all()
        assert made[44, round((16 + 4 * t) * 64 / 96)] == 1


def test_resume_to_another_size(tmp_path: Path) -> None:
    clip = _clip(tmp_path, _crossing(8))
    masks, output = tmp_path / "masks", tmp_path / "out.mkv"
    model = Recorder(WindowSpec(neighbours=(-1, 1)))
    quick = QUICK | {"load": loading(model)}
    whole = retarget(clip.path, tmp_path / "whole.mkv", width=64, mask=masks, keep_work=True, **quick)
    n_steps = len(model.windows)
    broken = Raising(WindowSpec(neighbours=(-1, 1)), RuntimeError("power"), calls=[n_steps - 1])
    with pytest.raises(RuntimeError, match="power"):
        retarget(clip.path, output, width=48, mask=masks, load=loading(broken), **QUICK)
    assert not output.exists()
    retarget(clip.path, output, width=64, mask=masks, resume=True, **quick)
    assert output.read_bytes() == whole.output.read_bytes()
    n_steps = len(model.windows)
    again: dict[str, Any] = {"overwrite": True, "resume": True, "work_dir": tmp_path / ".whole.mkv.vidfill"}
    retarget(clip.path, tmp_path / "tall.mkv", aspect="9:16", mask=masks, **again, **quick)
    assert len(model.windows) == n_steps, "all that is filled there is filled"
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_progress_tells_each_stage(tmp_path: Path) -> None:
    clip = _clip(tmp_path, _crossing(4))
    seen: list[Progress] = []
    retarget(clip.path, tmp_path / "out.mkv", width=48, mask=tmp_path / "masks", progress=seen.append, **FLAT)
    assert {step.stage for step in seen} == {"analyse", "layout", "fill", "assemble"}
    for stage in ("layout", "assemble"):
        assert [step[1:] for step in seen if step.stage == stage] == [(n, 4) for n in range(1, 5)]


def test_a_plan_says_what_would_be_done(tmp_path: Path) -> None:
    clip = _clip(tmp_path, [[Box(0, 10, 80, 50)]] * 4)
    plan = plan_retarget(clip.path, None, width=48, mask=tmp_path / "masks")
    assert (plan.width, plan.height, plan.n_objects, plan.removal.n_frames) == (48, 64, 1, 4)
    assert 0.5 < plan.scale[0] < 0.6
    assert plan.describe().startswith("48x64, 1 object at 0.55 of its size\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "masks"]


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"mask": None}, MaskError),
        ({"mask": "alpha"}, UsageError),
        ({"width": None}, UsageError),
        ({"aspect": "wide"}, UsageError),
        ({"anchor": "feet"}, UsageError),
        ({"object_scale": 0}, UsageError),
        ({"output": "in.mkv"}, OutputError),
    ],
)
def test_errors_before_the_work_starts(tmp_path: Path, wrong: dict[str, Any], kind: type[VidfillError]) -> None:
    clip = _clip(tmp_path, _crossing(2))
    options: dict[str, Any] = {"output": "out.mkv", "width": 48, "mask": tmp_path / "masks"} | wrong
    with pytest.raises(kind) as refused:
        retarget(clip.path, tmp_path / options.pop("output"), **options)
    assert refused.value.todo or refused.value.expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "masks"]


def test_retarget_is_public() -> None:
    assert vidfill.retarget is retarget
