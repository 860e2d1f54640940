"""A batch on a Ray cluster of two nodes, one of which is killed in the middle: nothing is lost, nothing done twice.

Not part of `make test`: Ray is large, and a cluster takes its time. `make test-cluster` installs it and runs this.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from tests.clips import write_clip, write_images
from vidfill import batch, remove
from vidfill.batch.events import JobEvent
from vidfill.errors import DeviceError

SETTINGS: dict[str, Any] = {"codec": "ffv1", "model": "propagate", "device": "cpu", "threads": 1}
SIZE = (48, 64)


class TwoNodes:
    """A head without CPUs, so that all work is on two nodes that can die."""

    def __init__(self) -> None:
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(2)]
        self.address: str = self._cluster.address
        self.has_killed = False

    def kill_one(self) -> None:
        self.has_killed = True
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)

    def shut_down(self) -> None:
        self._cluster.shutdown()


@pytest.fixture
def nodes() -> Iterator[TwoNodes]:
    made = TwoNodes()
    yield made
    made.shut_down()


def _attempts(out: Path) -> list[list[str]]:
    files = sorted((out / ".vidfill").glob("*.json"))
    return [[attempt["outcome"] for attempt in json.loads(file.read_text())["attempts"]] for file in files]


def _litter(out: Path) -> list[str]:
    inside = [path.name for path in (out / ".vidfill").iterdir() if path.suffix not in (".json", ".jpg")]
    return inside + [path.name for path in out.iterdir() if path.suffix == ".part"]


def test_node_dies_among_many_videos(
    nodes: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # the nodes are elsewhere
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(6):
        clip = write_clip(videos / f"{number}.mkv", n=40, size=SIZE, seed=number, with_object=True)
        write_images(videos / f"{number}_masks", clip.masks)
    (videos / "text.mkv").write_text("no video")
    working: set[str] = set()

    def kill_when_both_work(news: JobEvent) -> None:
        working.add(news.job) if news.stage else working.discard(news.job)
        if len(working) == 2 and not nodes.has_killed:
            nodes.kill_one()

    out = tmp_path / "out"
    result = batch(
        "videos",
        "out",
        mask_pattern="{stem}_masks",
        settings=SETTINGS,
        cluster=nodes.address,
        progress=kill_when_both_work,
    )
    assert nodes.has_killed
    assert [job.status for job in result.jobs] == ["done"] * 6 + ["failed"]
    for number in range(6):
        alone = remove(
            videos / f"{number}.mkv", tmp_path / f"{number}.mkv", mask=videos / f"{number}_masks", **SETTINGS
        )
        assert (out / f"{number}_filled.mkv").read_bytes() == alone.output.read_bytes()
    attempts = _attempts(out)
    assert sum(outcomes.count("done") for outcomes in attempts) == 6
    assert sum(outcomes.count("killed") for outcomes in attempts) == 1
    assert _litter(out) == []
    assert capfd.readouterr().out == "", "standard output is for answers"


def test_node_dies_during_a_split_video(nodes: TwoNodes, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "long.mkv", n=320, size=SIZE, audio_tracks=1).path
    boxes = tuple(f"{10 + 4 * n},12,20,16@#{40 * n}-#{40 * n + 20}" for n in range(8))
    settings = SETTINGS | {"box": boxes}

    out = tmp_path / "out"
    work = out / ".vidfill" / "long_filled.mkv.work"

    def kill_after_two_segments(news: JobEvent) -> None:
        if len(list(work.glob("segment_*.patches"))) >= 2 and not nodes.has_killed:
            nodes.kill_one()

    result = batch(source, out, settings=settings, split=True, cluster=nodes.address, progress=kill_after_two_segments)
    assert nodes.has_killed
    assert [job.status for job in result.jobs] == ["done"]
    alone = remove(source, tmp_path / "alone.mkv", **settings)
    assert (out / "long_filled.mkv").read_bytes() == alone.output.read_bytes()
    assert _attempts(out)[0][-1] == "done"
    assert _attempts(out)[0].count("done") == 1
    assert _litter(out) == []


def test_no_cluster() -> None:
    with pytest.raises(DeviceError, match="no Ray cluster at '127.0.0.1:1'.*ray start"):
        from vidfill.batch.cluster import RayScheduler

        with RayScheduler("127.0.0.1:1", 1, threads=1, wants_gpu=False):
            logging.error("there is one")
