"""`vidfill retarget` and `remove --output-fill` on the command line."""

from pathlib import Path

import av
import pytest

from tests.cli.conftest import N_FRAMES, Run
from tests.clips import Clip

HALF = ("retarget", "in.mp4", "--mask", "masks", "--width", 48, "-o", "half.mp4")


def _size(path: str) -> tuple[int, int]:
    with av.open(path) as file:
        return file.streams.video[0].width, file.streams.video[0].height


def test_writes_the_file_and_describes_objects(clip: Clip, run: Run) -> None:
    outcome = run(*HALF)
    assert outcome.code == 0, outcome.err
    assert outcome.out == ""
    assert "wrote half.mp4: 48x64, 1 object at 1.00 of its size, 8 frames, 8 filled; " in outcome.err
    assert _size("half.mp4") == (48, 64)
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["half.mp4", "in.mp4", "masks"]


def test_invented_ratio_and_licence(clip: Clip, run: Run, chained: None) -> None:
    outcome = run(*HALF, "--model", "cleanplate")
    assert "8 filled; 25 % of the hole is shown by no frame and was painted; cleanplate on cpu" in outcome.err
    assert "licence: the weights of cleanplate are for research use only" in outcome.err
    result = run(*HALF, "--model", "cleanplate", "-y", "--json").json["result"]
    assert result["invented"] == 0.25
    assert "--model propagate" in result["licence_notice"]


def test_json_and_options(clip: Clip, run: Run) -> None:
    words = ["retarget", "in.mp4", "--box", "10,10,20,16", "--aspect", "1:1", "--height", "48", "--object-scale", "0.5"]
    result = run(*words, "--anchor", "center", "-o", "square.mp4", "--json", "-q").json["result"]
    assert (result["width"], result["height"], result["n_objects"], result["n_frames"]) == (48, 48, 1, N_FRAMES)
    assert result["scale"] == [0.375, 0.375]
    assert (result["n_filled"], result["n_held"]) == (N_FRAMES, 0)


def test_dry_run(clip: Clip, run: Run) -> None:
    before = sorted(Path.cwd().iterdir())
    outcome = run(*HALF, "--dry-run", "-q")
    assert outcome.code == 0
    assert outcome.out.startswith("48x64, 1 object at 1.00 of its size\nin.mp4: 96x64, 8 frames\n")
    plan = run(*HALF, "--dry-run", "--json").json["plan"]
    assert (plan["width"], plan["height"], plan["removal"]["n_frames"]) == (48, 64, N_FRAMES)
    assert sorted(Path.cwd().iterdir()) == before


def test_no_mask_exits_with_4(clip: Clip, run: Run) -> None:
    outcome = run("retarget", "in.mp4", "--width", 48, "-o", "half.mp4", "--json")
    assert outcome.code == 4
    assert outcome.json["error"]["kind"] == "MaskError"
    assert "--mask" in outcome.json["error"]["todo"]


@pytest.mark.parametrize(
    "words",
    [
        ("retarget", "in.mp4", "--mask", "masks", "-o", "x.mp4"),
        ("retarget", "in.mp4", "--mask", "masks", "--aspect", "tall", "-o", "x.mp4"),
        ("retarget", "in.mp4", "--mask", "masks", "--width", "48"),
        ("retarget", "in.mp4", "--mask", "masks", "--width", "48", "--anchor", "feet", "-o", "x.mp4"),
        ("remove", "in.mp4", "--mask", "masks"),
    ],
)
def test_mistakes_are_one_line(clip: Clip, run: Run, words: tuple[str, ...]) -> None:
    outcome = run(*words, "-q")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("error: ")


def test_a_fill_layer_instead_of_the_picture(clip: Clip, run: Run) -> None:
    outcome = run("remove", "in.mp4", "--mask", "masks", "--output-fill", "fill.mov", "--json", "-q")
    assert outcome.json["result"]["output"] == outcome.json["result"]["output_fill"] == "fill.mov"
    with av.open("fill.mov") as file:
        assert file.streams.video[0].codec_context.name == "prores"
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["fill.mov", "in.mp4", "masks"]


def test_a_fill_layer_beside_the_picture(clip: Clip, run: Run) -> None:
    outcome = run("remove", "in.mp4", "--mask", "masks", "-o", "out.mp4", "--output-fill", "fill.mkv")
    assert "wrote out.mp4 and the layer fill.mkv: 8 frames" in outcome.err
    assert _size("out.mp4") == _size("fill.mkv") == (96, 64)


def test_skip_existing_picture_or_layer(clip: Clip, run: Run) -> None:
    words = ["remove", "in.mp4", "--mask", "masks", "-o", "out.mp4", "--output-fill", "fill.mkv", "--skip-existing"]
    Path("out.mp4").write_text("mine")
    made = run(*words)
    assert made.code == 0, made.err
    assert "out.mp4 exists and stays as it is" in made.err
    assert "wrote fill.mkv: 8 frames" in made.err
    assert Path("out.mp4").read_text() == "mine"
    again = run(*words, "--json")
    assert (again.code, again.json["skipped"]) == (0, True)
    assert "out.mp4 and fill.mkv exist, nothing is done" in run(*words).err
