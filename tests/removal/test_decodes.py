"""A source is opened at most four times, and each of its frames is decoded at most twice."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.clips import write_clip, write_images
from tests.decodes import Decodes, counted
from tests.engine.models import WINDOW, Raising, Recorder
from vidfill.engine.plan import SegmentLimits, analyse
from vidfill.masks.prompt import Prompting, Prompts
from vidfill.removal.run import remove
from vidfill.retarget.run import retarget

N = 90
POINTS = {"first": "15,32", "middle": "48,32@#45", "both scenes": "15,32;57,32@#55"}
OPTIONS: dict[str, Any] = {"codec": "ffv1", "device": "cpu", "threads": 1, "overwrite": True}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two scenes with B-frames and sound; five segments, whose contexts overlap."""
    limits = SegmentLimits(max_segment=20, context=12)
    monkeypatch.setattr("vidfill.removal.run.analyse", partial(analyse, limits=limits))
    clip = write_clip(tmp_path / "in.mp4", n=N, with_object=True, cut=50, gop=30, audio_tracks=1)
    write_images(tmp_path / "masks", clip.masks)
    return clip.path


def _removal(source: Path, model: Recorder | None = None, **options: Any) -> Decodes:
    model = model or Recorder(WINDOW)
    with counted(source) as found:
        remove(source, source.with_name("out.mkv"), load=lambda name, **_: model, **OPTIONS, **options)
    assert len(found.frames) == N
    return found


@pytest.mark.parametrize("options", [{"box": ["20,10,30,20"]}, {"box": ["20,10,30,20@0.4-1.2", "9,9,9,9@2-3"]}, {}])
def test_masks_and_boxes(source: Path, options: dict[str, Any]) -> None:
    found = _removal(source, **(options or {"mask": source.with_name("masks")}))
    assert found.openings <= 4
    assert max(found.frames.values()) <= 2


@pytest.mark.parametrize("points", POINTS.values(), ids=POINTS)
def test_prompts(source: Path, points: str) -> None:
    # Something must be removed even where a click selects nothing.
    prompting = Prompting(Prompts.parse(points.split(";")), allow_lost=True, shadow=points == POINTS["middle"])
    found = _removal(source, prompts=prompting, box=["60,40,20,15"])
    assert found.openings <= 4
    assert max(found.frames.values()) <= 2


def test_resume(source: Path) -> None:
    masks = source.with_name("masks")
    with pytest.raises(RuntimeError):
        _removal(source, Raising(WINDOW, RuntimeError("power"), calls=[60]), mask=masks)
    found = _removal(source, mask=masks, resume=True)
    assert found.openings <= 4
    assert max(found.frames.values()) == 1


def test_retargeting(source: Path) -> None:
    with counted(source) as found:
        retarget(
            source,
            source.with_name("out.mkv"),
            width=64,
            mask=source.with_name("masks"),
            load=lambda name, **_: Recorder(WINDOW),
            **OPTIONS,
        )
    assert found.openings <= 4
    assert max(found.frames.values()) <= 2
