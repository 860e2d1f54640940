"""`remove` from end to end on generated clips."""

import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clips import Clip, damage_packets, write_clip, write_images
from tests.engine.models import Raising, Recorder, loading
from vidfill.errors import DeviceError, InputError, MaskError, OutputError, UsageError, VidfillError, WeightsError
from vidfill.masks.edit import soft_alpha
from vidfill.models import resolve_model
from vidfill.models.base import WindowSpec
from vidfill.progress import Progress
from vidfill.removal.run import plan_removal, remove
from vidfill.video.frame import Frame
from vidfill.video.read import Reader

QUICK: dict[str, Any] = {"codec": "ffv1", "device": "cpu"}
FLAT = QUICK | {"load": loading(Recorder(WindowSpec(neighbours=(-1, 1))))}  # fills with a flat colour


def _crossing(tmp_path: Path, name: str = "in.mkv", **options: Any) -> tuple[Clip, Path]:
    clip = write_clip(tmp_path / name, with_object=True, **options)
    write_images(tmp_path / "masks", clip.masks)
    return clip, tmp_path / "masks"


def _frames(path: Path) -> list[Frame]:
    with Reader(path) as reader:
        return list(reader.frames())


def _same(a: Frame, b: Frame) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.planes, b.planes, strict=True))


def _work_folders(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob(".*.vidfill"))


def test_object_is_replaced_by_the_background(tmp_path: Path) -> None:
    clip, masks = _crossing(tmp_path, n=24, codec="ffv1", pix_fmt="yuv444p")
    result = remove(clip.path, tmp_path / "out.mkv", mask=masks, dilate=1, feather=1, **QUICK)
    assert (result.n_frames, result.n_filled, result.n_held) == (24, 24, 0)
    assert result.output == tmp_path / "out.mkv"
    assert result.model == resolve_model("auto")
    assert set(result.seconds) == {"analyse", "fill", "assemble"}
    truth_path = write_clip(tmp_path / "truth.mkv", pictures=clip.background, codec="ffv1", pix_fmt="yuv444p").path
    rows = zip(_frames(clip.path), _frames(result.output), _frames(truth_path), clip.masks, strict=True)
    before, after = [], []
    for source, output, truth, mask in rows:
        inside = mask.astype(bool)
        before.append(_error(source.planes[0], truth.planes[0], inside))
        after.append(_error(output.planes[0], truth.planes[0], inside))
    assert np.mean(after) < 0.3 * np.mean(before)


def _error(a: NDArray[Any], b: NDArray[Any], where: NDArray[np.bool_]) -> float:
    return float(np.abs(a.astype(float) - b)[where].mean())


def test_alpha_as_mask_becomes_opaque(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=4, codec="ffv1", pix_fmt="yuva444p", with_object=True)
    masks = write_images(tmp_path / "masks", clip.masks)[0].parent
    remove(clip.path, tmp_path / "opaque.mkv", mask="alpha", **FLAT)
    remove(clip.path, tmp_path / "as_before.mkv", mask=masks, **FLAT)
    assert all((frame.planes[-1] == 255).all() for frame in _frames(tmp_path / "opaque.mkv"))
    for frame, mask in zip(_frames(tmp_path / "as_before.mkv"), clip.masks, strict=True):
        np.testing.assert_array_equal(frame.planes[-1] == 0, mask)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le"])
def test_outside_the_mask_nothing_changes(tmp_path: Path, pix_fmt: str) -> None:
    clip, masks = _crossing(tmp_path, n=10, pix_fmt=pix_fmt, vfr=True, audio_tracks=1)
    output = tmp_path / "out.mkv"
    remove(clip.path, output, mask=masks, dilate=4, feather=4, **FLAT)
    rows = list(zip(_frames(clip.path), _frames(output), clip.masks, strict=True))
    assert len(rows) == 10
    for source, result, mask in rows:
        assert source.time_s == result.time_s
        alpha = soft_alpha(mask.astype(bool), dilate_px=4, feather_px=4)
        assert np.array_equal(source.planes[0][alpha == 0], result.planes[0][alpha == 0])
        assert not np.array_equal(source.planes[0], result.planes[0])
        height, width = source.planes[1].shape
        blocks = np.kron(np.ones((height, width), int), np.ones((clip.masks.shape[1] // height, 2), int))
        assert blocks.shape == alpha.shape
        touched = alpha.reshape(height, alpha.shape[0] // height, width, 2).max(axis=(1, 3)) > 0
        assert np.array_equal(source.planes[1][~touched], result.planes[1][~touched])


def test_frames_without_a_mask_pass_through(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=30)
    result = remove(clip.path, tmp_path / "out.mkv", box=["20,10,30,20@#5-#8"], **FLAT)
    assert (result.n_frames, result.n_filled) == (30, 3)
    changed = [
        source.index
        for source, output in zip(_frames(clip.path), _frames(result.output), strict=True)
        if not _same(source, output)
    ]
    assert changed == [5, 6, 7]


def test_a_folder_of_images_in_and_out(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=4)
    write_images(tmp_path / "images", clip.pictures)
    result = remove(tmp_path / "images", tmp_path / "filled", box=["20,10,30,20"], fps=Fraction(25))
    assert sorted(path.suffix for path in result.output.iterdir()) == [".png"] * 4


def test_finished_run_leaves_only_the_output(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=4)
    remove(clip.path, tmp_path / "out.mkv", box=["20,10,30,20"], **FLAT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "out.mkv"]
    remove(clip.path, tmp_path / "out.mkv", box=["20,10,30,20"], overwrite=True, keep_work=True, **FLAT)
    assert [path.name for path in _work_folders(tmp_path)] == [".out.mkv.vidfill"]
    remove(clip.path, tmp_path / "b.mkv", box=["20,10,30,20"], work_dir=tmp_path / "w", keep_work=True, **FLAT)
    assert (tmp_path / "w" / "plan.json").exists()


@pytest.mark.parametrize("error", [RuntimeError("a fault"), KeyboardInterrupt()])
def test_stopped_run_leaves_only_its_work(tmp_path: Path, error: BaseException) -> None:
    model = Raising(WindowSpec(), error, calls=[3])
    clip = write_clip(tmp_path / "in.mkv", n=8)
    with pytest.raises(type(error)):
        remove(clip.path, tmp_path / "out.mkv", box=["20,10,30,20"], load=loading(model), **QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.mkv.vidfill", "in.mkv"]


def test_progress_by_stage_and_frame(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=6)
    seen: list[Progress] = []
    remove(clip.path, tmp_path / "out.mkv", box=["20,10,30,20@#2-#5"], progress=seen.append, **FLAT)
    assert [p.done for p in seen if p.stage == "analyse"] == [1, 2, 3, 4, 5, 6]
    assert [p[1:] for p in seen if p.stage == "assemble"] == [(n, 6) for n in range(1, 7)]
    filled = [p[1:] for p in seen if p.stage == "fill"]
    assert sorted(set(filled)) == [(1, 3), (2, 3), (3, 3)]
    assert filled == sorted(filled)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"dilate": -1}, UsageError),
        ({"working_size": "small"}, UsageError),
        ({"precision": "half"}, UsageError),
        ({"device": "gpu"}, UsageError),
        ({"model": "magic"}, UsageError),
        ({"box": ()}, UsageError),
        ({"box": ["1,2,3"]}, UsageError),
        ({"codec": "nothing"}, UsageError),
        ({"encoder_options": {"nosuchoption": "1"}}, UsageError),
        ({"device": "cuda:97"}, DeviceError),
        ({"output": "missing/out.mkv"}, OutputError),
        ({"output": "in.mkv"}, OutputError),
        ({"output": "there.mkv"}, OutputError),
        ({"work_dir": "missing/work"}, OutputError),
        ({"source": "missing.mkv"}, InputError),
        ({"source": "text.mkv"}, InputError),
        ({"mask": "missing.png"}, MaskError),
        ({"model": "vinet", "checkpoint": "missing.safetensors"}, WeightsError),
    ],
)
def test_errors_before_the_work_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], kind: type[VidfillError]
) -> None:
    def analyse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the long work has started")

    monkeypatch.setattr("vidfill.removal.run.analyse", analyse)
    write_clip(tmp_path / "in.mkv", n=2)
    (tmp_path / "there.mkv").write_bytes(b"precious")
    (tmp_path / "text.mkv").write_text("not a video")
    before = sorted(tmp_path.iterdir())
    options: dict[str, Any] = {"source": "in.mkv", "output": "out.mkv", "box": ["20,10,30,20"]} | wrong
    for name in ("source", "output", "mask", "checkpoint", "work_dir"):
        if name in options:
            options[name] = tmp_path / options[name]
    with pytest.raises(kind):
        remove(options.pop("source"), options.pop("output"), **options)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.mkv").read_bytes() == b"precious"


def _damaged(tmp_path: Path) -> Path:
    write_clip(tmp_path / "good.mkv", n=16, gop=1, b_frames=0)
    damage_packets(tmp_path / "good.mkv", tmp_path / "bad.mkv", [6, 7])
    return tmp_path / "bad.mkv"


def test_held_frames_repeat_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = _damaged(tmp_path)
    # The box is there in every second frame only: what counts is the picture that a held frame repeats.
    boxes = [f"20,10,30,20@#{i}-#{i + 1}" for i in range(1, 16, 2)]
    with caplog.at_level(logging.WARNING, "vidfill"):
        result = remove(source, tmp_path / "out.mkv", box=boxes, **FLAT)
    assert (result.n_frames, result.n_held) == (16, 2)
    assert any("2 of 16 frames" in warning for warning in result.warnings)
    assert "2 of 16 frames" in caplog.text
    frames, sources = _frames(result.output), _frames(source)
    assert [frame.index for frame in sources if frame.held] == [6, 7]
    assert _same(frames[6], frames[5])
    assert _same(frames[7], frames[5])
    assert not _same(frames[5], sources[5])


def test_held_frames_at_the_start(tmp_path: Path) -> None:
    write_clip(tmp_path / "good.mkv", n=8, gop=1, b_frames=0)
    damage_packets(tmp_path / "good.mkv", tmp_path / "bad.mkv", [0, 1])
    result = remove(tmp_path / "bad.mkv", tmp_path / "out.mkv", box=["20,10,30,20@#2-#6"], **FLAT)
    assert (result.n_frames, result.n_held, result.n_filled) == (8, 2, 6)
    frames, sources = _frames(result.output), _frames(tmp_path / "bad.mkv")
    assert [frame.index for frame in sources if frame.held] == [0, 1]
    assert _same(frames[0], frames[2])
    assert _same(frames[1], frames[2])
    assert not _same(frames[2], sources[2])
    assert [frame.time_s for frame in frames] == [frame.time_s for frame in sources]


def test_strict_refuses_damage(tmp_path: Path) -> None:
    source = _damaged(tmp_path)
    with pytest.raises(InputError, match="damaged packets"):
        remove(source, tmp_path / "out.mkv", box=["20,10,30,20"], strict=True, **FLAT)
    assert not (tmp_path / "out.mkv").exists()


def test_warnings_in_the_result(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=3, subtitles=True, audio_tracks=1)
    result = remove(clip.path, tmp_path / "out.webm", box=["20,10,30,20"], codec="vp9", device="cpu")
    assert len(result.warnings) == len(set(result.warnings)) > 0
    assert any("audio" in warning for warning in result.warnings)


def test_a_plan_is_made_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=8, audio_tracks=1)
    with caplog.at_level(logging.WARNING, "vidfill"):
        plan = plan_removal(clip.path, tmp_path / "out.webm", box=["20,10,30,20@#2-#5"], codec="vp9")
    assert (plan.n_frames, plan.n_hole_frames, len(plan.segments)) == (8, 3, 1)
    assert "audio" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]
    with pytest.raises(OutputError):
        plan_removal(clip.path, tmp_path / "missing" / "out.mkv", box=["20,10,30,20"])


def test_blending_and_grain_can_be_switched_off(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=3)
    outputs = {}
    for blend, grain in ((True, True), (False, True), (True, False), (False, False)):
        path = tmp_path / f"{blend}{grain}.mkv"
        remove(clip.path, path, box=["20,10,30,20"], blend=blend, grain=grain, **FLAT)
        outputs[blend, grain] = path.read_bytes()
    assert outputs[True, True] != outputs[False, True]
    assert outputs[True, False] != outputs[False, False]
