"""The protocol on folders made here: holes that never change, scores that follow from the construction."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.align.scenes import box_hole, painted, seen_through, shift
from vidfill.errors import InputError
from vidfill.metrics.evaluate import clip_names, evaluate, load_clip, mean_scores, stationary_hole, telea

N_FRAMES = 6
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "quality.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number, name in enumerate(("ant", "bee", "cow", "dog")):
        for kind in ("frames", "masks"):
            (folder / name / kind).mkdir(parents=True)
        scene = painted(280, 520, seed=number)
        for i in range(N_FRAMES):
            frame = seen_through(scene, shift(10 + 5 * i, 10), (432, 240))
            mask = box_hole(240, 432, (100 + 10 * number, 80, 150 + 10 * number, 120)).astype(np.uint8) * 255
            cv2.imwrite(str(folder / name / "frames" / f"{i:05d}.png"), frame[..., ::-1])
            cv2.imwrite(str(folder / name / "masks" / f"{i:05d}.png"), mask)
    return folder


def test_a_stationary_hole_depends_on_the_name_alone() -> None:
    # Pinned: published scores mean these holes.
    assert {name: int(stationary_hole(name).sum()) for name in ("blackswan", "camel", "libby")} == {
        "blackswan": 8670,
        "camel": 22852,
        "libby": 21475,
    }
    assert (stationary_hole("camel") == stationary_hole("camel")).all()


def test_a_moving_hole_is_the_grown_mask_of_the_third_clip_on(root: Path) -> None:
    clip = load_clip(root, "bee", "O", n_frames=N_FRAMES)  # bee + 3 = ant
    assert (clip.holes[0] == box_hole(240, 432, (98, 78, 152, 122))).all()
    assert len(clip.holes) == len(clip.frames) == N_FRAMES


def test_the_truth_scores_best_and_black_as_it_must(root: Path) -> None:
    clip = load_clip(root, "ant", "S", n_frames=3)
    perfect, output = evaluate(lambda frames, holes: clip.frames, clip)
    assert perfect.hole_psnr > 100 and perfect.ssim == pytest.approx(1)
    black, _ = evaluate(lambda frames, holes: frames, clip)
    inside = [f[h].astype(float) for f, h in zip(clip.frames, clip.holes, strict=True)]
    assert black.hole_psnr == pytest.approx(np.mean([10 * np.log10(255**2 / (x**2).mean()) for x in inside]))
    assert all((a == b).all() for a, b in zip(output, clip.frames, strict=True))
    assert mean_scores([perfect, black]).psnr == pytest.approx((perfect.psnr + black.psnr) / 2)


def test_a_filler_is_not_shown_the_truth(root: Path) -> None:
    clip = load_clip(root, "ant", "S", n_frames=2)

    def spy(frames: object, holes: object) -> list[np.ndarray]:
        assert isinstance(frames, list)
        assert all(not frame[hole].any() for frame, hole in zip(frames, clip.holes, strict=True))
        return frames

    evaluate(spy, clip)
    assert evaluate(telea, clip)[0].hole_psnr > evaluate(spy, clip)[0].hole_psnr


def test_folders_without_clips_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no clips"):
        clip_names(tmp_path)
    (tmp_path / "fox" / "masks").mkdir(parents=True)
    with pytest.raises(InputError, match="no frames"):
        load_clip(tmp_path, "fox", "S", n_frames=2)
    (tmp_path / "fox" / "frames").mkdir()
    (tmp_path / "fox" / "frames" / "0.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match="cannot read"):
        load_clip(tmp_path, "fox", "S", n_frames=2)


def test_the_script_writes_its_table_and_sheets(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(root), "--only", "ant", "--frames", "3", "--sheets", str(tmp_path)]
    done = subprocess.run([*command, "--protocols", "S", "--json"], capture_output=True, text=True, check=True)
    table = json.loads(done.stdout)
    assert table["S"]["propagate"]["mean"]["hole_psnr"] > table["S"]["telea"]["mean"]["hole_psnr"] > 5
    sheet = cv2.imread(str(tmp_path / "S_ant.png"))
    assert sheet is not None and sheet.shape == (3 * 240, 4 * 432, 3)
