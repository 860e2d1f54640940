"""Every script of examples/ runs, and the committed clip is what its script makes."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clips import crossing_object, moving_texture, write_clip, write_images
from vidfill.evaluate.quality import psnr
from vidfill.models import resolve_model

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts are imported by their name, as Python does it for the one that it runs."""
    monkeypatch.syspath_prepend(str(EXAMPLES))


def _decoded(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in file.decode(video=0)]


def _mask(path: Path) -> NDArray[np.bool_]:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) > 127


def test_clip_and_truth_differ_inside_the_masks_only() -> None:
    clip = EXAMPLES / "clip"
    scene, truth = _decoded(clip / "scene.mp4"), _decoded(clip / "truth.mp4")
    masks = [_mask(path) for path in sorted((clip / "masks").iterdir())]
    assert len(scene) == len(truth) == len(masks) == 48
    for index in (0, 20, 47):
        assert psnr(scene[index], truth[index], ~masks[index]) > 33  # both are lossy
        assert psnr(scene[index], truth[index], masks[index]) < 15
    with av.open(str(clip / "scene.mp4")) as file:
        assert [(sound.codec_context.name, sound.channels) for sound in file.streams.audio] == [("aac", 2)]
    assert sum(path.stat().st_size for path in clip.rglob("*") if path.is_file()) < 1_500_000


def test_make_clip_makes_the_committed_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import make_clip

    monkeypatch.setattr(make_clip, "N_FRAMES", 2)  # the first and the last frame
    make_clip.make(tmp_path)
    committed = EXAMPLES / "clip"
    for name in ("scene.mp4", "truth.mp4"):
        made, kept = _decoded(tmp_path / name), _decoded(committed / name)
        assert psnr(made[0], kept[0]) > 31  # the encoder's doing; a shift by a pixel gives 21
        assert psnr(made[1], kept[-1]) > 31
    for mine, theirs in (("00000.png", "00000.png"), ("00001.png", "00047.png")):
        assert (_mask(tmp_path / "masks" / mine) == _mask(committed / "masks" / theirs)).all()


def test_the_masks_of_the_footage_cover_the_woman() -> None:
    footage = EXAMPLES / "footage"
    frames = _decoded(footage / "in.mp4")
    masks = [_mask(path) for path in sorted((footage / "masks").iterdir())]
    assert len(frames) == len(masks) == 60
    for frame, mask in zip(frames, masks, strict=True):
        assert mask.shape == frame.shape[:2]
        assert 0.05 < mask.mean() < 0.07
        assert cv2.connectedComponents(mask.astype(np.uint8))[0] == 2  # one object beside the background
        red, green, blue = np.moveaxis(frame.astype(int), 2, 0)
        jeans = (blue > red + 30) & (blue > green + 15)
        assert (jeans & mask).sum() > 1900
        assert (jeans & ~mask).sum() < 10
    assert min((a & b).sum() / (a | b).sum() for a, b in itertools.pairwise(masks)) > 0.8
    assert sum(path.stat().st_size for path in footage.rglob("*") if path.is_file()) < 400_000


def test_the_footage_states_source_and_licence() -> None:
    notice = (EXAMPLES / "footage" / "NOTICE.txt").read_text(encoding="utf-8")
    for fact in ("Meta Platforms", "facebookresearch/sam2", "01_dog.mp4", "Apache License, Version 2.0", "Changes:"):
        assert fact in notice


def test_the_demo_removes_shows_and_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import demo

    for name in ("drawn", "footage"):
        (tmp_path / name).mkdir()
    clip = write_clip(tmp_path / "drawn" / "scene.mp4", n=12, with_object=True)
    write_clip(tmp_path / "drawn" / "truth.mp4", pictures=clip.background)
    write_images(tmp_path / "drawn" / "masks", clip.masks)
    footage = write_clip(tmp_path / "footage" / "in.mp4", pictures=clip.pictures[:6])
    write_images(tmp_path / "footage" / "masks", clip.masks[:6])
    monkeypatch.setattr(demo, "CLIP", tmp_path / "drawn")
    monkeypatch.setattr(demo, "FOOTAGE", tmp_path / "footage")
    written = tmp_path / "demo"
    demo.main(written)
    shown = capsys.readouterr().out
    assert {path.name for path in written.iterdir()} == {"before.mp4", "after.mp4", "before_after.jpg", "drawn.mp4"}
    assert (written / "before.mp4").read_bytes() == footage.path.read_bytes()
    before, after = _decoded(written / "before.mp4"), _decoded(written / "after.mp4")
    assert len(before) == len(after) == 6
    assert psnr(after[3], clip.background[3], clip.masks[3]) > psnr(before[3], clip.background[3], clip.masks[3]) + 5
    height, width = before[0].shape[:2]
    sheet = np.asarray(cv2.imread(str(written / "before_after.jpg")))
    assert sheet.shape == (2 * (height + 6) + 6, 3 * (width + 6) + 6, 3)
    ours, telea, nothing = (float(line.split()[-2]) for line in shown.splitlines() if line.endswith(" dB"))
    assert ours > telea > nothing


def test_the_picture_of_the_readme_shows_the_footage() -> None:
    import demo

    footage = EXAMPLES / "footage"
    expected = demo.before_after(footage / "in.mp4", footage / "masks", footage / "in.mp4")
    picture = np.asarray(cv2.imread(str(EXAMPLES / "before_after.jpg")))[..., ::-1]
    assert picture.shape == expected.shape
    width = expected.shape[1] // 3
    assert psnr(picture[:, :width], expected[:, :width], np.ones((len(picture), width), np.bool_)) > 28
    differs = np.abs(picture[:, 2 * width :].astype(int) - expected[:, 2 * width :]).max(axis=2) > 60
    assert 0.015 < differs.mean() < 0.1  # where she was, and nothing else
    assert (EXAMPLES / "before_after.jpg").stat().st_size < 250_000


def test_a_logo_goes_with_a_few_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import remove_a_logo

    clip = write_clip(tmp_path / "in.mp4", n=4)
    remove_a_logo.main(str(clip.path), str(tmp_path / "out.mp4"), "10,10,20,16")
    shown = capsys.readouterr().out
    assert "assemble 4 4" in shown
    assert f"4 of 4 frames filled by {resolve_model('auto')} on cpu" in shown


def test_motion_on_a_tripod_makes_masks(tmp_path: Path) -> None:
    import masks_from_motion

    still = np.repeat(moving_texture(1, (64, 96)), 20, axis=0)
    pictures, truth = crossing_object(still)
    clip = write_clip(tmp_path / "in.mp4", pictures=pictures)
    masks_from_motion.main(clip.path, tmp_path / "masks")
    made = [_mask(path) for path in sorted((tmp_path / "masks").iterdir())]
    assert len(made) == len(truth)
    covered = np.mean([(mask & hole).sum() / hole.sum() for mask, hole in zip(made, truth, strict=True)])
    assert covered > 0.9
    assert np.mean(made) < 3 * truth.mean()


def test_no_script_is_forgotten_here() -> None:
    scripts = {path.stem for path in EXAMPLES.glob("*.py")}
    assert scripts == {"demo", "make_clip", "masks_from_motion", "remove_a_logo", "scene"}


def _loop(folder: Path, vidfill: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run batch.sh with a shell script as the command `vidfill`."""
    command = folder / "bin" / "vidfill"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f"#!/bin/sh\n{vidfill}\n")
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    script = ["sh", str(EXAMPLES / "batch.sh"), "videos", "out", *words]
    return subprocess.run(script, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True)


def test_a_shell_loop_takes_all_videos_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    clip = write_clip(tmp_path / "videos" / "good one.mkv", n=4, size=(48, 64), with_object=True)
    write_images(tmp_path / "videos" / "good one_masks", clip.masks)
    done = _loop(tmp_path, f'exec {sys.executable} -m vidfill "$@"', "--model", "propagate")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done    good one.mkv\n", "")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good one_filled.mkv"]


@pytest.mark.parametrize(
    ("codes", "code", "n_calls"),
    [((0, 0, 0), 0, 3), ((0, 4, 7), 8, 3), ((0, 2, 0), 2, 2), ((6, 0, 0), 6, 1), ((130, 0, 0), 130, 1)],
)
def test_a_shell_loop_obeys_the_exit_codes(tmp_path: Path, codes: tuple[int, ...], code: int, n_calls: int) -> None:
    (tmp_path / "videos").mkdir()
    for number, ends in enumerate(codes):
        (tmp_path / "videos" / f"{number}-{ends}.mp4").write_text("")
    counting = 'echo "$@" >> calls; name=${2##*/}; name=${name%.mp4}; exit ${name#*-}'
    done = _loop(tmp_path, counting)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert (done.returncode, len(calls)) == (code, n_calls)
    first = f"videos/0-{codes[0]}"
    (tmp_path / "videos").rename(tmp_path / "moved")
    missing = _loop(tmp_path, counting)
    assert (missing.returncode, missing.stderr) == (3, "no folder videos\n")
    assert calls[0].startswith(
        f"remove {first}.mp4 --mask {first}_masks -o out/0-{codes[0]}_filled.mp4 --skip-existing"
    )
