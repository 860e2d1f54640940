"""Whole batches, with real removals: identical to single ones, in workers that are killed, split, or neither."""

import json
import os
import signal
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.batch.fakes import InProcess
from tests.batch.workers import worker_pids
from tests.clips import write_clip, write_images
from vidfill import batch, remove
from vidfill.batch import local as local_module
from vidfill.batch import run as run_module
from vidfill.batch import work as work_module
from vidfill.batch.events import JobEvent
from vidfill.errors import InputError, OutputError, UsageError, WeightsError

SETTINGS: dict[str, Any] = {"codec": "ffv1", "model": "propagate", "device": "cpu", "threads": 1}


def _videos(folder: Path, n: int, *, n_frames: int = 6) -> Path:
    folder.mkdir(parents=True)
    for number in range(n):
        clip = write_clip(folder / f"{number}.mkv", n=n_frames, size=(48, 64), seed=number, with_object=True)
        write_images(folder / f"{number}_masks", clip.masks)
    return folder


def _alone(videos: Path, out: Path, names: Sequence[str]) -> list[bytes]:
    out.mkdir()
    for name in names:
        remove(videos / f"{name}.mkv", out / f"{name}.mkv", mask=videos / f"{name}_masks", **SETTINGS)
    return [(out / f"{name}.mkv").read_bytes() for name in names]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "LocalScheduler", InProcess)


def test_batch_survives_killed_worker_and_broken_videos(tmp_path: Path) -> None:
    videos = _videos(tmp_path / "videos", 2, n_frames=12)
    (videos / "text.mkv").write_text("no video")
    write_clip(videos / "unmasked.mkv", n=2, size=(48, 64))
    killed: list[int] = []

    def kill_once(news: JobEvent) -> None:
        if news.stage and not killed:
            killed.append(worker_pids(os.getpid())[0])
            os.kill(killed[0], signal.SIGKILL)

    out = tmp_path / "out"
    result = batch(videos, out, mask_pattern="{stem}_masks", settings=SETTINGS, n_workers=1, progress=kill_once)
    assert len(killed) == 1
    assert [(job.source.stem, job.status) for job in result.jobs] == [
        *[("0", "done"), ("1", "done")],
        *[("text", "failed"), ("unmasked", "failed")],
    ]
    assert "is not a video" in result.failed[0].message
    assert "no mask at" in result.failed[1].message
    assert [(out / f"{n}_filled.mkv").read_bytes() for n in range(2)] == _alone(videos, tmp_path / "alone", "01")
    assert not [path for path in (out / ".vidfill").iterdir() if path.suffix not in (".json", ".jpg")]


@pytest.mark.parametrize(("split", "n_workers"), [(False, 2), (True, 8)])
def test_idle_workers_get_no_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: bool, n_workers: int
) -> None:
    made: list[tuple[int, int]] = []

    def scheduler(devices: Sequence[str], *, threads: int) -> InProcess:
        made.append((len(devices), threads))
        return InProcess(devices, threads=threads)

    monkeypatch.setattr(run_module, "LocalScheduler", scheduler)
    monkeypatch.setattr(local_module, "cpu_count", lambda: 16)
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a.mkv", "b.mkv"):
        (videos / name).write_text("no video")
    batch(videos, tmp_path / "out", settings={"box": ("1,1,5,5",)}, n_workers=8, split=split)
    assert made == [(n_workers, 16 // n_workers)]


def test_a_split_video_is_the_same_video(tmp_path: Path, in_process: None) -> None:
    videos = _videos(tmp_path / "videos", 1, n_frames=20)
    boxes = ("20,10,20,16@#0-#3", "8,20,20,16@#16-#19")  # far enough apart for two segments
    settings = SETTINGS | {"box": boxes}
    news: list[JobEvent] = []
    result = batch(videos, tmp_path / "out", settings=settings, split=True, progress=news.append)
    assert [job.status for job in result.jobs] == ["done"]
    whole = remove(videos / "0.mkv", tmp_path / "whole.mkv", **settings)
    assert result.jobs[0].output.read_bytes() == whole.output.read_bytes()
    assert result.jobs[0].result["n_filled"] == whole.n_filled == 6
    stages = [(item.stage, item.total) for item in news if item.stage == "fill"]
    assert set(stages) == {("fill", 2)}, "segments are counted, not frames"


def test_folders_of_images_in_and_out(tmp_path: Path, in_process: None) -> None:
    clip = write_clip(tmp_path / "x.mkv", n=3, size=(48, 64), with_object=True)
    for name in ("shot1", "shot2"):
        write_images(tmp_path / "shots" / name, clip.pictures)
        write_images(tmp_path / "masks" / name, clip.masks)
    result = batch(
        tmp_path / "shots" / "shot*",
        tmp_path / "out",
        mask_pattern="../masks/{stem}",
        settings={"fps": 25, "model": "propagate"},
    )
    assert [job.status for job in result.jobs] == ["done", "done"]
    assert len(list((tmp_path / "out" / "shot2_filled").glob("*.png"))) == 3
    again = batch(
        str(tmp_path / "shots" / "shot*"),
        tmp_path / "out",
        mask_pattern="../masks/{stem}",
        settings={"fps": 25, "model": "propagate"},
    )
    assert [job.status for job in again.jobs] == ["already done", "already done"]


def test_explicit_defaults_equal_omitted_ones(tmp_path: Path, in_process: None) -> None:
    videos, out = _videos(tmp_path / "videos", 1), tmp_path / "out"
    batch(videos, out, mask_pattern="{stem}_masks", settings=SETTINGS)
    given: dict[str, Any] = {
        "dilate": None,
        "mask": None,
        "box": (),
        "encoder_options": {},
        "blend": True,
        "working_size": None,
    }
    again = batch(videos, out, mask_pattern="{stem}_masks", settings=SETTINGS | given)
    assert [job.status for job in again.jobs] == ["already done"]
    other = batch(videos, out, mask_pattern="{stem}_masks", settings=SETTINGS | {"blend": False, "feather": 0})
    assert "--blend was not given, is False; --feather was not given, is 0" in other.failed[0].message


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(str(dict(attrs)["src"]))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_report_and_summary(tmp_path: Path, in_process: None) -> None:
    videos = tmp_path / "vi deos"
    videos.mkdir()
    clip = write_clip(videos / "a&b #1.mkv", n=8, with_object=True)
    write_images(videos / "a&b #1_masks", clip.masks)
    (videos / "<b>.mkv").write_text("no video")
    result = batch(videos, tmp_path / "out", mask_pattern="{stem}_masks", settings=SETTINGS, shard="1/1")
    assert result.report == tmp_path / "out" / "report-1-of-1.html"
    page = _Page()
    page.feed(result.report.read_text())
    assert "1 done" in page.text
    assert "1 failed" in page.text
    assert "<b>.mkv" in page.text
    assert "is not a video" in page.text
    assert page.pictures == [
        ".vidfill/a%26b%20%231_filled.mkv.before.jpg",
        ".vidfill/a%26b%20%231_filled.mkv.after.jpg",
    ]
    before, after = (np.asarray(cv2.imread(str(path)), np.float32) for path in result.jobs[1].thumbnails)
    assert before.shape == after.shape == (213, 320, 3)
    changed = np.abs(before - after).max(axis=2) > 40
    mask = cv2.resize(clip.masks[4].astype(np.uint8), (320, 213)) > 0
    assert changed[mask].mean() > 0.5
    assert changed[~mask].mean() < 0.05
    summary = json.loads(result.summary.read_text())
    assert summary["counts"] == {"done": 1, "already done": 0, "failed": 1}
    assert [job["kind"] for job in summary["jobs"]] == ["InputError", ""]
    assert summary["jobs"][1]["result"]["n_filled"] == 8


def test_internal_errors_end_only_their_job(tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = _videos(tmp_path / "videos", 2)
    monkeypatch.setattr(work_module, "run_removal", _broken)
    result = batch(videos, tmp_path / "out", mask_pattern="{stem}_masks", settings=SETTINGS)
    assert [(job.status, job.kind, job.exit_code) for job in result.jobs] == [("failed", "ZeroDivisionError", 1)] * 2


def _broken(*args: object, **options: object) -> None:
    raise ZeroDivisionError("by zero")


def test_settings_that_are_no_mapping(tmp_path: Path) -> None:
    settings: Any = ["box"]
    with pytest.raises(UsageError, match="expected names and values"):
        batch("0.mkv", tmp_path, settings=settings)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"settings": {"dilation": 3}}, UsageError, "no setting 'dilation'.*dilate"),
        ({"settings": {"work_dir": "x"}}, UsageError, "no setting 'work_dir'"),
        ({"settings": {"box": ()}}, UsageError, "no mask.*--mask-pattern"),
        ({"settings": {"box": ("1,2,3",)}}, UsageError, "the box '1,2,3'"),
        ({"settings": {"start": "soon"}}, UsageError, "the time 'soon'"),
        ({"settings": {"mask": "m.png"}, "mask_pattern": "{stem}"}, UsageError, "Give one of them"),
        ({"settings": {"model": "vinet", "checkpoint": "none.safetensors"}}, WeightsError, "none.safetensors"),
        ({"settings": {"model": "nonsense"}}, UsageError, "no model 'nonsense'"),
        ({"settings": {"device": "tpu"}}, UsageError, "device 'tpu'"),
        ({"settings": {"working_size": "big"}}, UsageError, "working size 'big'"),
        ({"shard": "3/2"}, UsageError, "shard '3/2'"),
        ({"cluster": "auto"}, UsageError, "Ray is not installed.*vidfill.cluster"),
        ({"inputs": "missing.mp4"}, InputError, "no file missing.mp4"),
        ({"out": "0.mkv/out"}, OutputError, "cannot make the folder"),
    ],
)
def test_errors_before_any_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIDFILL_MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    write_clip(tmp_path / "0.mkv", n=2, size=(48, 64))
    options["settings"] = {"box": ("4,4,8,8",)} | options.get("settings", {})
    with pytest.raises(error, match=says):
        batch(options.pop("inputs", "0.mkv"), options.pop("out", "out"), **options)
    assert not (tmp_path / "out" / "report.html").exists()
