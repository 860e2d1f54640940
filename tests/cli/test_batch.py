"""`vidfill batch`: one call of the library, told as a table, as lines or as JSON; and `remove --skip-existing`."""

import inspect
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.batch.fakes import InProcess
from tests.cli.conftest import N_FRAMES, Run
from tests.clips import Clip, write_clip, write_images
from vidfill.batch import run as run_module
from vidfill.batch.events import JobEvent
from vidfill.cli.batch import batch
from vidfill.cli.batch_view import JsonLines, LiveTable, plain_line
from vidfill.cli.remove import remove

WORDS = ["batch", "videos", "--out", "out", "--mask-pattern", "{stem}_masks", "--model", "propagate", "--codec", "ffv1"]


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small videos with masks, and removals in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "LocalScheduler", InProcess)
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(2):
        clip = write_clip(folder / f"{number}.mkv", n=4, size=(48, 64), seed=number, with_object=True)
        write_images(folder / f"{number}_masks", clip.masks)
    return folder


def test_all_is_well(videos: Path, run: Run) -> None:
    done = run(*WORDS)
    assert (done.code, done.out) == (0, "")
    assert [line.partition("running ")[2] or line for line in done.err.splitlines()][:4] == [
        *("0_filled.mkv", "1/2 done 0_filled.mkv"),
        *("1_filled.mkv", "2/2 done 1_filled.mkv"),
    ]
    assert "2 of 2 videos done in" in done.err
    assert "report.html" in done.err
    assert {path.name for path in Path("out").iterdir()} == {
        *("0_filled.mkv", "1_filled.mkv"),
        *("report.html", "summary.json", ".vidfill"),
    }
    again = run(*WORDS, "--json")
    assert again.code == 0
    assert again.json["status"] == "ok"
    assert [job["status"] for job in again.json["result"]["jobs"]] == ["already done", "already done"]


def test_licence_and_invented_ratios(videos: Path, run: Run, chained: None) -> None:
    done = run(*WORDS, "--model", "cleanplate", "--split")
    assert done.code == 0
    assert done.err.count("licence: the weights of cleanplate are for research use only") == 1
    result = run(*WORDS, "--model", "cleanplate", "--split", "--json").json["result"]
    summary = json.loads(Path("out/summary.json").read_text())
    assert result["licence_notice"] == summary["licence_notice"]
    for job in (*result["jobs"], *summary["jobs"]):
        assert job["result"]["invented"] == 0.25
        assert "licence_notice" not in job["result"]
    page = Path("out/report.html").read_text()
    assert page.count("research use only") == 1
    assert page.count(">25 %<") == 2


def test_some_failed(videos: Path, run: Run) -> None:
    (videos / "bad.mkv").write_text("no video")
    done = run(*WORDS)
    assert done.code == 8
    assert "error: 1 of 3 videos failed" in done.err
    assert "--retry-failed" in done.err
    (row,) = [line for line in done.out.splitlines() if line.startswith("videos/bad.mkv")]
    assert row.split()[1] == "2"
    assert "is not a video" in row
    found = run(*WORDS, "--json")
    assert (found.code, found.json["exit_code"], found.json["error"]["kind"]) == (8, 8, "BatchError")
    assert [job["exit_code"] for job in found.json["result"]["jobs"]] == [0, 0, 3]
    clip = write_clip(videos / "bad.mkv", n=4, size=(48, 64), with_object=True)
    write_images(videos / "bad_masks", clip.masks)
    assert run(*WORDS).code == 0, "another source is another job"


def test_odd_file_names(videos: Path, run: Run) -> None:
    odd = os.fsdecode(b"b]\xff.mkv")
    (videos / "x[").mkdir()
    (videos / "x[" / odd).write_text("no video")
    (videos / "[red]x.mkv").write_text("no video")
    (videos / "[red]y\n\x1b[31m.mkv").write_text("no video")
    words = ["videos/[[]*.mkv", f"videos/x[/{odd}", *WORDS[2:]]
    done = run("batch", *words, "--quiet")
    assert done.code == 8
    assert "videos/[red]x.mkv" in done.out
    assert "videos/x[/b]\\udcff.mkv " in done.out
    assert len([line for line in done.out.splitlines() if line.startswith("videos/[red]y\\n\\x1b[31m.mkv  ")]) == 1
    assert json.loads(Path("out", "summary.json").read_text())["jobs"][2]["source"] == f"videos/x[/{odd}"
    assert "b]\\udcff.mkv" in Path("out", "report.html").read_text()
    assert run("batch", *words, "--quiet", "--json").json["result"]["jobs"][2]["source"] == f"videos/x[/{odd}"


def test_json_lines_for_programs(videos: Path, run: Run) -> None:
    done = run(*WORDS, "--progress", "json", "--shard", "1/1")
    lines = [json.loads(line) for line in done.err.splitlines()[:-1]]
    assert {line["event"] for line in lines} == {"job"}
    assert [line["status"] for line in lines if line["job"] == "1_filled.mkv" and not line["stage"]] == [
        *("waiting", "running", "done")
    ]
    assert lines[-1]["jobs_ended"] == lines[-1]["jobs"] == 2


@pytest.mark.parametrize("words", [["--quiet"], ["--progress", "none", "--quiet"]])
def test_silence(videos: Path, run: Run, words: list[str]) -> None:
    done = run(*WORDS, *words)
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--shard", "0/4"], "shard '0/4'"),
        (["--name", "same.mkv"], "would both become same.mkv"),
        (["--mask", "m.png"], "give one of them"),
        (["--fps", "often"], "--fps 'often'"),
    ],
)
def test_mistakes(videos: Path, run: Run, words: list[str], says: str) -> None:
    done = run(*WORDS, *words)
    assert done.code == 2
    assert says.lower() in done.err.lower()
    assert not Path("out", ".vidfill").exists()


def test_batch_has_the_options_of_remove() -> None:
    """Apart from those that are of one video, or that a batch does by itself."""
    single = {"source", "output", "output_fill", "dry_run", "resume", "work_dir", "keep_work", "skip_existing"}
    single |= {"prompts", "point", "not_point", "object_box", "tracker", "grow_px", "shadow", "whole", "allow_lost"}
    missing = inspect.signature(remove).parameters.keys() - inspect.signature(batch).parameters.keys()
    assert missing == single


def test_live_table() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    table = LiveTable()
    for number in range(20):
        table(JobEvent(f"{number}.mp4", "waiting"))
    for number in range(12):
        table(JobEvent(f"{number}.mp4", "done" if number else "failed", message="" if number else "no [good]"))
    table(JobEvent("12.mp4", "running", "fill", 30, 120))
    table(JobEvent("13.mp4", "held", message="held by process 7 on node3"))
    with console.capture() as captured:
        console.print(table.drawing())
    lines = captured.get().splitlines()
    assert lines[0].strip() == "12/20 videos: 11 done, 1 failed, 1 running, 1 held, 6 waiting"
    assert [line.split()[0] for line in lines[2:]] == [f"{number}.mp4" for number in range(4, 14)]
    assert lines[-2].split() == ["12.mp4", "running", "fill", "30/120", "25", "%"]
    assert "held by process 7 on node3" in lines[-1]
    table(JobEvent("14.mp4", "failed", message="no [good]"))
    with console.capture() as captured:
        console.print(table.drawing())
    assert "no [good]" in captured.get(), "no markup in what others wrote"


def test_a_line_stays_one_whatever_a_name_holds() -> None:
    assert plain_line(JobEvent("a\nb\x1b[31m\u00fc.mp4", "done"), 1, 2) == "1/2 done a\\nb\\x1b[31m\u00fc.mp4"
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    table = LiveTable()
    table(JobEvent("a\nb.mp4", "failed", message="no\tgood"))
    with console.capture() as captured:
        console.print(table.drawing())
    assert captured.get().splitlines()[-1].split() == ["a\\nb.mp4", "failed", "no\\tgood"]


def test_progress_is_told_now_and_then() -> None:
    now_s = [0.0]
    lines = JsonLines(clock=lambda: now_s[0])
    told = []
    for number in range(100):
        now_s[0] = number * 0.01
        told.append(lines(JobEvent("a.mp4", "running", "fill", number, 100), 0, 1))
    assert 3 <= sum(line is not None for line in told) <= 5
    assert lines(JobEvent("a.mp4", "done"), 1, 1) is not None


def test_ctrl_c_stops_a_batch_that_then_goes_on(videos: Path, run: Run) -> None:
    long = write_clip(videos / "0.mkv", n=60, size=(48, 64), with_object=True)  # still at work when the signal comes
    write_images(videos / "0_masks", long.masks)
    command = [sys.executable, "-m", "vidfill", *WORDS, "--progress", "json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        first = next(line for line in running.stderr if '"stage": "' in line)
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read()
    assert running.returncode == 130, first + rest
    assert "stopped by Ctrl-C" in rest
    assert "Run the same command again" in rest
    assert "Traceback" not in rest
    left = [path.name for path in Path("out", ".vidfill").iterdir() if ".work" not in path.name]
    assert left == ["0_filled.mkv.json"]
    state = json.loads(Path("out", ".vidfill", "0_filled.mkv.json").read_text())
    assert [attempt["outcome"] for attempt in state["attempts"]] == ["interrupted"]
    assert run(*WORDS).code == 0
    assert not list(Path("out", ".vidfill").glob("*.work"))


def test_skip_existing(clip: Clip, run: Run) -> None:
    words = ["remove", "in.mp4", "--box", "10,10,20,16", "--skip-existing"]
    Path("frames").mkdir()  # an empty folder is no result
    made = run(*words, "-o", "frames/", "--json")
    assert (made.code, made.json["result"]["n_frames"]) == (0, N_FRAMES)
    before = {path.name: path.stat().st_mtime_ns for path in Path("frames").iterdir()}
    skipped = run(*words, "-o", "frames/", "--json")
    assert (skipped.code, skipped.json["result"], skipped.json["skipped"]) == (0, None, True)
    assert {path.name: path.stat().st_mtime_ns for path in Path("frames").iterdir()} == before
    Path("out.mp4").write_text("mine")
    told = run(*words, "-o", "out.mp4")
    assert (told.code, told.err) == (0, "out.mp4 exists, nothing is done\n")
    assert Path("out.mp4").read_text() == "mine"
    assert run(*words, "-o", "out.mp4", "-y").code == 2
