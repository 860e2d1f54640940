"""Removals, without a truth: sheets and slow videos to look at, and measures."""

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.evaluate.clips import write_clips
from tests.evaluate.workers import GreyWorker, colours
from vidfill.errors import OutputError, UsageError
from vidfill.evaluate import removal
from vidfill.evaluate.contenders import Contender
from vidfill.evaluate.removal import remove_objects
from vidfill.evaluate.results import Results
from vidfill.evaluate.run import make_task
from vidfill.progress import Progress
from vidfill.settings import EngineSettings

CONTENDERS = [Contender(label, label) for label in ("black", "white")]


@pytest.fixture(autouse=True)
def grey_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "FillerProcess", GreyWorker)


def test_a_sheet_and_a_slow_video_for_each_clip(tmp_path: Path) -> None:
    root, out = write_clips(tmp_path / "clips", n_frames=4), tmp_path / "new" / "out"
    task = make_task(root, only=["cow"], protocols=(), n_frames=4, machine=EngineSettings(), out=out)
    steps: list[Progress] = []
    results = Results(task.settings("removal"))
    tables = ["removal.json", "removal.md"]
    written = remove_objects(task, CONTENDERS, results, network=colours, progress=steps.append)
    assert [path.name for path in written] == [*tables, "removal-cow.png", "removal-cow.mp4"]
    found = json.loads(written[0].read_text())["scores"]["removal"]["black"]["cow"]
    assert {"flicker", "sharpness", "rc_s_lite", "residue_lite", "seconds_per_frame"} <= set(found)
    assert written[1].read_text().startswith("### removal\n\n| model | clip | flicker |")
    assert steps[-1] == ("white", 4, 4)
    sheet = cv2.imread(str(written[2]))
    assert sheet is not None and sheet.shape[1] == 3 * 438 + 6, "source, black, white and no truth"
    with av.open(str(written[3])) as video:
        assert video.streams.video[0].codec_context.pix_fmt == "yuv420p"
        frames = [(f.time, f.to_ndarray(format="rgb24")) for f in video.decode(video=0)]
    assert [time for time, _ in frames] == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6], abs=1e-3)
    picture = frames[2][1]
    assert picture.shape == (480, 864, 3)
    truth = cv2.imread(str(root / "cow" / "frames" / "00002.png"), cv2.IMREAD_COLOR_RGB)
    assert truth is not None
    inside = (slice(85, 115), slice(125, 165))  # of the cow's mask
    source, black, white = picture[:240, :432], picture[:240, 432:], picture[240:, :432]
    assert np.abs(black[inside].astype(int)).max() < 8 and white[inside].min() > 247
    # Its chroma is at half size, the painted scene's is not smooth: the brightness has to agree.
    difference = black[20:60, 20:60].mean(axis=2) - truth[20:60, 20:60].mean(axis=2)
    assert np.abs(difference).mean() < 6
    tinted = source[inside].astype(float).mean(axis=(0, 1)) - truth[inside].mean(axis=(0, 1)) / 2
    assert tinted == pytest.approx([127, 0, 100], abs=12)


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    root = write_clips(tmp_path / "clips", n_frames=1)
    task = make_task(root, only=["ant"], protocols=(), n_frames=1, machine=EngineSettings(), out=tmp_path)
    results = Results(task.settings("removal"))
    remove_objects(task, CONTENDERS, results, network=None)
    assert set(results.mean("removal", "black")) == {"flicker", "sharpness", "seconds_per_frame", "peak_memory_mb"}
    with pytest.raises(OutputError, match=r"removal\.json exists"):
        remove_objects(task, CONTENDERS, results, network=None)
    remove_objects(task, CONTENDERS, results, network=None, overwrite=True)
    nowhere = make_task(root, only=["ant"], protocols=(), n_frames=1, machine=EngineSettings(), out=None)
    with pytest.raises(UsageError, match="--out"):
        remove_objects(nowhere, CONTENDERS, results, network=None)
