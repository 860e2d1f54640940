import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tests.cli.conftest import N_FRAMES, Run
from tests.clips import Clip, write_clip, write_images
from vidfill import __version__, weights
from vidfill.cli.session import invented_part
from vidfill.models import resolve_model

MASKED = ("remove", "in.mp4", "--mask", "masks", "-o", "out.mp4")


def _n_frames(path: str) -> int:
    with av.open(path) as file:
        return sum(1 for _ in file.decode(video=0))


def test_a_removal_writes_the_file_and_says_so(clip: Clip, run: Run) -> None:
    outcome = run(*MASKED)
    assert outcome.code == 0
    assert outcome.out == ""
    assert "wrote out.mp4: 8 frames, 8 filled; " in outcome.err
    assert f"; {resolve_model('auto')} on cpu" in outcome.err
    assert _n_frames("out.mp4") == N_FRAMES
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["in.mp4", "masks", "out.mp4"]


def test_invented_ratio_and_licence(clip: Clip, run: Run, chained: None) -> None:
    outcome = run(*MASKED, "--model", "cleanplate", "-v")
    assert "painted once\n" in outcome.err
    assert "8 filled; 25 % of the hole is shown by no frame and was painted; cleanplate on cpu" in outcome.err
    *_, last = outcome.err.splitlines()
    assert last == ("licence: the weights of cleanplate are for research use only; --model propagate needs no weights")
    result = run(*MASKED, "--model", "cleanplate", "-y", "--json").json["result"]
    assert result["invented"] == 0.25
    assert f"licence: {result['licence_notice']}" == last


def test_no_licence_without_weights(clip: Clip, run: Run) -> None:
    outcome = run(*MASKED, "--model", "propagate", "--json")
    assert (outcome.json["result"]["invented"], outcome.json["result"]["licence_notice"]) == (None, None)


@pytest.mark.parametrize(
    ("ratio", "shown"), [(0.0, "; 0 % of"), (0.004, "; less than 1 % of"), (0.996, "; 100 % of"), (None, "")]
)
def test_invented_ratio_in_words(ratio: float | None, shown: str) -> None:
    assert invented_part(ratio).startswith(shown)
    assert (invented_part(ratio) == "") == (ratio is None)


def test_json_is_one_object_on_stdout(clip: Clip, run: Run) -> None:
    outcome = run(*MASKED, "--json", "--progress", "none")
    content = outcome.json
    assert outcome.err == ""
    assert list(content) == ["schema_version", "vidfill", "command", "status", "exit_code", "result", "warnings"]
    assert content["schema_version"] == 1
    assert content["vidfill"] == __version__
    assert (content["command"], content["status"], content["exit_code"]) == ("remove", "ok", 0)
    result = content["result"]
    assert result["output"] == "out.mp4"
    assert (result["n_frames"], result["n_filled"], result["n_held"]) == (N_FRAMES, N_FRAMES, 0)
    assert set(result["seconds"]) == {"analyse", "fill", "assemble"}


def test_quiet_shows_nothing_at_all(clip: Clip, run: Run) -> None:
    outcome = run(*MASKED, "-q")
    assert outcome == (0, "", "")
    assert Path("out.mp4").exists()


def test_progress_as_json_lines(clip: Clip, run: Run) -> None:
    events = [json.loads(line) for line in run(*MASKED, "--progress", "json", "--json").err.splitlines()]
    progress = [event for event in events if event["event"] == "progress"]
    assert set(progress[0]) == {"event", "stage", "done", "total", "fps", "eta_s"}
    assert {event["stage"] for event in progress} == {"analyse", "fill", "assemble"}
    for stage in ("fill", "assemble"):
        done = [event["done"] for event in progress if event["stage"] == stage]
        assert done == sorted(done)
        assert done[-1] == N_FRAMES


def test_progress_off_a_terminal_is_plain_lines(clip: Clip, run: Run) -> None:
    lines = run(*MASKED).err.splitlines()
    assert any(line.startswith("fill 8/8 frames") for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_dry_run(clip: Clip, run: Run) -> None:
    before = sorted(Path.cwd().iterdir())
    outcome = run(*MASKED, "--dry-run", "-q")
    assert outcome.code == 0
    assert "in.mp4: 96x64, 8 frames" in outcome.out
    assert sorted(Path.cwd().iterdir()) == before


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--model", "nosuch"), 2),
        (("--model", "vinet", "--checkpoint", "nosuch.safetensors"), 6),
        (("--precision", "fp8"), 2),
    ],
)
def test_dry_run_refuses_what_remove_refuses(options: tuple[str, ...], code: int, clip: Clip, run: Run) -> None:
    dry, real = run(*MASKED, "--dry-run", *options), run(*MASKED, *options)
    assert (dry.code, real.code) == (code, code)
    assert dry.err.splitlines()[-1] == real.err.splitlines()[-1]


def test_dry_run_as_json_without_output(clip: Clip, run: Run) -> None:
    plan = run("remove", "in.mp4", "--mask", "masks", "--dry-run", "--json").json["plan"]
    assert (plan["n_frames"], plan["n_hole_frames"], plan["height"], plan["width"]) == (N_FRAMES, N_FRAMES, 64, 96)
    assert set(plan["segments"][0]) >= {"start", "stop", "box", "size"}


def test_options_reach_the_library(clip: Clip, run: Run) -> None:
    words = ["remove", "in.mp4", "--box", "10,10,20,16", "--start", "#2", "--end", "#5", "--codec", "ffv1"]
    outcome = run(*words, "-e", "level=3", "-o", "out.mkv", "--no-grain", "--no-blend", "--dilate", 0, "--json")
    assert outcome.json["result"]["n_filled"] == 3
    with av.open("out.mkv") as file:
        assert file.streams.video[0].codec_context.name == "ffv1"


def test_warnings_once_and_in_json(clip: Clip, run: Run) -> None:
    outcome = run("remove", "in.mp4", "--mask", "masks", "-o", "out.webm", "--json")
    warnings = outcome.json["warnings"]
    assert any("aac" in warning for warning in warnings)
    assert len(warnings) == len(set(warnings))
    assert all(outcome.err.count(f"warning: {warning}") == 1 for warning in warnings)


def test_a_folder_of_images_with_a_rate(clip: Clip, run: Run) -> None:
    write_images(Path("frames"), clip.pictures[:3])
    write_images(Path("three"), clip.masks[:3])
    outcome = run("remove", "frames", "--fps", "30000/1001", "--mask", "three", "-o", "filled/", "-q")
    assert outcome == (0, "", "")
    assert sorted(path.name for path in Path("filled").iterdir()) == ["00000.png", "00001.png", "00002.png"]


def _too_few_masks(clip: Clip) -> None:
    write_images(Path("few"), clip.masks[:5])


def _empty_masks(clip: Clip) -> None:
    write_images(Path("empty"), np.zeros_like(clip.masks))


def _text_file(clip: Clip) -> None:
    Path("text.mp4").write_text("this is not a video\n" * 50)


def _existing(clip: Clip) -> None:
    Path("there.mp4").write_bytes(b"keep me")


def _nothing(clip: Clip) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "words", "code", "says"),
    [
        (_nothing, "in.mp4 --mask masks", 2, "-o"),
        (_nothing, "in.mp4 -o out.mp4", 2, "mask"),
        (_nothing, "in.mp4 --mask masks -o out.mp4 --model nosuch", 2, "nosuch"),
        (_nothing, "in.mp4 --mask masks -o out.mp4 --codec nosuch", 2, "nosuch"),
        (_nothing, "in.mp4 --mask masks -o out.mp4 -e nosuchoption=1", 2, "nosuchoption"),
        (_nothing, "in.mp4 --mask masks -o out.mp4 -e novalue", 2, "key=value"),
        (_nothing, "in.mp4 --mask masks -o out.mp4 --fps fast", 2, "30000/1001"),
        (_nothing, "in.mp4 --mask masks -o out.mp4 --device abacus", 2, "abacus"),
        (_nothing, "in.mp4 --mask masks -o out.mp4 --precision half", 2, "half"),
        (_nothing, "in.mp4 --mask masks -o out.mp4 --working-size big", 2, "big"),
        (_nothing, "in.mp4 --box 1,2,3 -o out.mp4", 2, "1,2,3"),
        (_nothing, "in.mp4 --mask masks -o out.mp4 --dilate -1", 2, "dilate"),
        (_nothing, "in.mp4 --nosuch", 2, "no such option: --nosuch"),
        (_nothing, "--mask masks -o out.mp4", 2, "missing argument 'SOURCE'. See vidfill remove --help"),
        (_nothing, "in.mp4 --mask masks -o out.mp4 --dilate wide", 2, "--dilate"),
        (_nothing, "in.mp4 --mask masks -o out.mp4 --threads 100000", 2, "512"),
        (_nothing, "masks --mask masks -o out.mp4 --fps 1e400", 2, "--fps '1e400'; expected 0.001 to 1000"),
        (_nothing, "in.mp4 --mask masks -o -", 2, "standard output"),
        (_nothing, "in.mp4 --mask masks -o .mp4", 2, "extension"),
        (_nothing, "in.mp4 --mask masks --start 3 --end 1 -o out.mp4", 2, "an end after its start"),
        (_nothing, "in.mp4 --box 500,500,9,9 -o out.mp4", 4, "outside the picture"),
        (_nothing, "in.mp4 --mask masks -o masks/ -y", 5, "which is read"),
        (_nothing, "missing.mp4 --mask masks -o out.mp4", 3, "missing.mp4"),
        (_text_file, "text.mp4 --mask masks -o out.mp4", 3, "text.mp4"),
        (_nothing, "in.mp4 --mask missing -o out.mp4", 4, "missing"),
        (_too_few_masks, "in.mp4 --mask few -o out.mp4", 4, "-fps_mode passthrough"),
        (_empty_masks, "in.mp4 --mask empty -o out.mp4", 4, "empty"),
        (_existing, "in.mp4 --mask masks -o there.mp4", 5, "-y"),
        (_nothing, "in.mp4 --mask masks -o nowhere/out.mp4", 5, "nowhere"),
        (_nothing, "in.mp4 --mask masks -o out.mp4 --model vinet --checkpoint none.safetensors", 6, "none.safetensors"),
        (_nothing, "in.mp4 --mask masks -o out.mp4 --device cuda:99", 7, "cuda:99"),
    ],
)
def test_bad_input_ends_in_one_line_and_its_code(
    prepare: Callable[[Clip], None], words: str, code: int, says: str, clip: Clip, run: Run
) -> None:
    prepare(clip)
    outcome = run("remove", *words.split(), "--progress", "none")
    assert outcome.code == code, outcome.err
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
    assert not list(Path.cwd().glob("out.mp4*"))
    if "there.mp4" in words:
        assert Path("there.mp4").read_bytes() == b"keep me"


def test_model_without_weights(clip: Clip, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.manifest, "shipped_dir", lambda: Path("nothing"))
    outcome = run("remove", "in.mp4", "--mask", "masks", "-o", "out.mp4", "--model", "opn", "--progress", "none")
    assert outcome.code == 6
    assert "vidfill weights import opn" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not list(Path.cwd().glob("out.mp4*"))


def test_overwrite(clip: Clip, run: Run) -> None:
    _existing(clip)
    assert run("remove", "in.mp4", "--mask", "masks", "-o", "there.mp4", "-y", "-q").code == 0
    assert _n_frames("there.mp4") == N_FRAMES


def test_an_error_is_a_json_object_as_well(clip: Clip, run: Run) -> None:
    outcome = run("remove", "missing.mp4", "--mask", "masks", "-o", "out.mp4", "--json")
    content = outcome.json
    assert (content["status"], content["exit_code"], outcome.code) == ("error", 3, 3)
    assert set(content["error"]) == {"kind", "message", "found", "expected", "todo"}
    assert content["error"]["kind"] == "InputError"
    assert content["error"]["message"] in outcome.err


@pytest.mark.parametrize("words", ["remove in.mp4 --nosuch", "remove", "weights import vinet", "nosuch"])
def test_usage_errors_as_json(words: str, run: Run) -> None:
    outcome = run(*words.split(), "--json")
    content = outcome.json
    assert (content["status"], content["exit_code"], outcome.code) == ("error", 2, 2)
    assert content["command"] == {"nosuch": "", "weights import vinet": "weights import"}.get(words, "remove")
    assert content["error"]["kind"] == "UsageError"
    assert outcome.err == f"error: {content['error']['message']}\n"


def test_names_that_are_empty_are_no_names(clip: Clip, run: Run) -> None:
    assert run("remove", "", "--box", "1,1,9,9", "-o", "out.mp4", "--progress", "none").code == 2
    assert run("remove", "in.mp4", "--box", "1,1,9,9", "-o", "", "--progress", "none").code == 2
    assert run("info", "").code == 2


def test_a_slash_at_the_end_makes_a_folder(clip: Clip, run: Run) -> None:
    assert run(*MASKED[:-1], "pictures.v2/", "-q").code == 0
    assert len(list(Path("pictures.v2").iterdir())) == N_FRAMES


def test_verbose_tells_the_encoder(clip: Clip, run: Run) -> None:
    assert "out.mp4: libx264, yuv420p, crf=15 preset=fast" in run(*MASKED, "-v", "--progress", "none").err


def test_damage_and_strict(clip: Clip, run: Run) -> None:
    from tests.clips import damage_packets

    write_clip(Path("good.mp4"), n=12, gop=4, b_frames=0)
    damage_packets(Path("good.mp4"), Path("bad.mp4"), [6])
    words = ("remove", "bad.mp4", "--box", "10,10,20,16", "-o", "out.mp4", "--json", "--progress", "none")
    assert run(*words, "--strict").code == 3
    assert any("damaged" in warning for warning in run(*words).json["warnings"])


def test_debug_shows_where_an_error_comes_from(clip: Clip, run: Run) -> None:
    words = ("remove", "missing.mp4", "--box", "1,1,9,9", "-o", "out.mp4")
    assert "Traceback" not in run(*words).err
    outcome = run(*words, "--debug")
    assert outcome.code == 3
    assert "Traceback" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("error: ")


def test_a_fault_of_ours_is_one_line_and_code_1(clip: Clip, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> None:
        raise RuntimeError("the moon is full")

    monkeypatch.setattr("vidfill.removal.run.run_removal", broken)
    outcome = run(*MASKED)
    assert outcome.code == 1
    assert outcome.err.startswith("error: internal error: RuntimeError: the moon is full. Run it again with --debug")
    assert outcome.err.count("\n") == 1
