"""Every command and every Python line of the README runs, on a small clip that stands for the user's own, or on
the beginning of the footage that is shipped.

Blocks marked `sh` and `python` are run; `console` blocks show what is installed or made, and are run by other tests.
"""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import av
import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.batch.fakes import InProcess
from tests.clips import write_clip, write_images
from tests.evaluate.clips import write_clips
from tests.models.test_registry import authors_tensors, save_authors
from vidfill.batch import run as run_module
from vidfill.cli import app
from vidfill.models import resolve_model
from vidfill.weights import Card, read_manifest, write_manifest

README = Path(__file__).parent.parent / "README.md"
FOOTAGE = README.parent / "examples" / "footage"
N_TRACKED = 8  # of the footage's frames, so that it takes seconds
TEXT = README.read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line and not line.startswith("#")
]
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the README takes for granted, an empty frames/ among it; the commands run in the order of the README."""
    folder = tmp_path_factory.mktemp("readme")
    clip = write_clip(folder / "in.mp4", n=16, with_object=True, audio_tracks=1)
    write_images(folder / "masks", clip.masks)
    write_images(folder, clip.masks[8:9])[0].rename(folder / "mask.png")
    (folder / "frames").mkdir()
    with av.open(str(FOOTAGE / "in.mp4")) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in itertools.islice(file.decode(video=0), N_TRACKED)]
    (folder / "examples" / "footage").mkdir(parents=True)
    write_clip(folder / "examples" / "footage" / "in.mp4", pictures=np.stack(frames))
    save_authors(folder / "save_agg_rec_512.pth", authors_tensors())
    write_clips(folder / "clips", n_frames=2, names=["camel"])
    (folder / "videos").mkdir()
    write_clip(folder / "videos" / "clip.mp4", pictures=clip.pictures[:4])
    write_images(folder / "videos" / "clip_masks", clip.masks[:4])
    return folder


def test_there_is_something_to_run() -> None:
    assert sum(line.startswith("vidfill remove") for line in COMMANDS) >= 10
    assert len(PROGRAMS) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VIDFILL_MODEL_DIR", str(folder / "models"))
    monkeypatch.setattr(run_module, "LocalScheduler", InProcess)  # a process more for each would take long
    program, *words = shlex.split(command, comments=True)
    if program == "vidfill":
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        if "-o" in words:
            assert Path(words[words.index("-o") + 1]).exists()
    else:
        assert program == "ffmpeg"
        subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *words], check=True)
        assert len(list(Path("frames").iterdir())) == 16


def test_clicks_select_what_the_shipped_masks_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VIDFILL_MODEL_DIR", str(folder / "models"))
    clicks = {" ".join(re.findall(r"--(?:object-box|point) \S+", line)) for line in COMMANDS} - {""}
    assert len(clicks) == 1  # what holds for one command holds for all
    command = next(line for line in COMMANDS if line.startswith("vidfill mask"))
    words = shlex.split(command)[1:]
    words[words.index("-o") + 1] = "selected"
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    shipped = sorted((FOOTAGE / "masks").iterdir())[:N_TRACKED]
    tracked = sorted((folder / "selected").iterdir())
    overlaps = []
    for mine, theirs in zip(tracked, shipped, strict=True):
        one, other = (np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) > 127 for path in (mine, theirs))
        overlaps.append((one & other).sum() / (one | other).sum())
    assert min(overlaps) > 0.6


@pytest.mark.parametrize("program", PROGRAMS)
def test_python(program: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert f"16 frames filled by {resolve_model('auto')}" in done.stdout
    assert (folder / "from-python.mp4").exists()


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert links
    assert [link for link in links if "://" not in link and not (README.parent / link).exists()] == []


def test_results_go_between_their_markers(tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(TEXT, encoding="utf-8")
    mean = {"psnr_db": 30.0, "ssim": 0.9, "hole_psnr_db": 20.0, "warp_error": 1.5, "seconds_per_frame": 0.1}
    mean |= {"feature_distance": 1.25, "flicker": 0.75}
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"scores": {"S": {"propagate": {"mean": mean | {"peak_memory_mb": 333.4}}}}}))
    script = [sys.executable, str(README.parent / "benchmarks" / "readme_results.py"), str(results)]
    write_manifest(tmp_path, (Card("propagate"), Card("vinet", scores={"object": {"hole_psnr_db": 12.0}})))
    for _ in range(2):  # a second run finds the same place again
        subprocess.run([*script, "--readme", str(copy), "--weights", str(tmp_path)], check=True)
        new = copy.read_text(encoding="utf-8")
        before, _, section = new.partition("<!-- results: begin")
        table, _, after = section.partition("<!-- results: end")
        assert table.endswith("|\n| S | propagate | 30.00 | 0.9000 | 20.00 | 1.250 | 1.50 | 0.75 | 0.100 | 333 |\n")
        assert before == TEXT.partition("<!-- results: begin")[0]
        assert after == TEXT.partition("<!-- results: end")[2]
        quality = {key: value for key, value in mean.items() if key != "seconds_per_frame"}
        assert [card.scores for card in read_manifest(tmp_path)] == [
            {"stationary": quality},
            {"object": {"hole_psnr_db": 12.0}},
        ]
