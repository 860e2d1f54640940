"""What workers do and die of: parts of a removal, models kept, errors as data, devices and threads shared out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.clips import write_clip
from tests.engine.models import WINDOW, Chained
from vidfill import remove
from vidfill.batch import local, work
from vidfill.batch.local import cause_of_death, share_out
from vidfill.batch.work import Done, Failure, JobPart, PartKind, PartWorker
from vidfill.engine.plan import Plan, Segment
from vidfill.errors import BusyError, InputError, OutOfMemoryError, OutputError, UsageError
from vidfill.models import load_model
from vidfill.removal.patches import runs_of
from vidfill.removal.work_folder import WorkFolder
from vidfill.settings import RemovalSettings
from vidfill.video.frame import Box

BOXES = ("20,10,20,16@#0-#3", "8,20,20,16@#16-#19")  # far enough apart for two segments
SETTINGS: dict[str, Any] = {"codec": "ffv1", "model": "propagate", "device": "cpu", "threads": 1, "box": BOXES}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "in.mkv", n=20, size=(48, 64)).path


def _part(
    source: Path, kind: PartKind, *, segments: tuple[int, ...] = (), resume: bool = True, name: str = "out.mkv"
) -> JobPart:
    folder = source.parent
    thumbnails = folder / "before.jpg", folder / "after.jpg"
    output, work_folder = str(folder / name), folder / f"{name}.work"
    settings = RemovalSettings(**SETTINGS)
    return JobPart(name, kind, source, output, work_folder, thumbnails, settings, resume, segments=segments)


def test_parts_by_independent_workers(source: Path) -> None:
    planned = PartWorker().do(_part(source, "plan", resume=False), lambda step: None)
    assert planned == Done(missing=((0,), (1,)))
    for segment in (1, 0):  # in any order
        assert isinstance(PartWorker().do(_part(source, "segments", segments=(segment,)), lambda step: None), Done)
    assert PartWorker().do(_part(source, "plan"), lambda step: None) == Done(missing=())
    stages: set[str] = set()
    done = PartWorker().do(_part(source, "assemble"), lambda step: stages.add(step.stage))
    assert isinstance(done, Done)
    assert done.result["n_filled"] == 6
    assert "analyse" not in stages
    whole = remove(source, source.with_name("whole.mkv"), **SETTINGS)
    assert source.with_name("out.mkv").read_bytes() == whole.output.read_bytes()
    assert source.with_name("before.jpg").stat().st_size > 500
    assert not source.with_name("out.mkv.work").exists()


def test_recurrent_models_fill_a_scene_in_order(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, **options: object) -> Chained:
        return Chained(WINDOW)

    monkeypatch.setattr(work, "load_model", load)
    monkeypatch.setattr("vidfill.removal.run.load_model", load)
    assert PartWorker().do(_part(source, "plan", resume=False), lambda step: None) == Done(missing=((0, 1),))
    early = PartWorker().do(_part(source, "segments", segments=(1,)), lambda step: None)
    assert isinstance(early, Failure)
    assert "segment 1 before segment 0, from which it goes on" in early.message
    assert isinstance(PartWorker().do(_part(source, "segments", segments=(0,)), lambda step: None), Done)
    assert PartWorker().do(_part(source, "plan"), lambda step: None) == Done(missing=((1,),))
    assert isinstance(PartWorker().do(_part(source, "segments", segments=(0, 1)), lambda step: None), Done)
    remove(source, source.with_name("whole.mkv"), keep_work=True, **SETTINGS)
    whole, split = (WorkFolder(source.with_name(name)) for name in (".whole.mkv.vidfill", "out.mkv.work"))
    for segment in (0, 1):
        for a, b in zip(whole.read(segment), split.read(segment), strict=True):
            assert np.array_equal(a.rgb, b.rgb)
            assert a.invented == b.invented == 0.25
    done = PartWorker().do(_part(source, "assemble"), lambda step: None)
    assert isinstance(done, Done)
    assert done.result["invented"] == 0.25
    assert source.with_name("out.mkv").read_bytes() == source.with_name("whole.mkv").read_bytes()


def test_only_segments_of_a_scene_depend_on_each_other() -> None:
    box = Box(0, 0, 32, 32)
    scenes = (0, 0, 1, 2, 2)
    segments = tuple(Segment(i, scene, i, i + 1, i, i + 1, 0, box, (32, 32)) for i, scene in enumerate(scenes))
    plan = Plan("in.mp4", 64, 64, 9, 0, ((0, 2), (2, 3), (3, 9)), segments, 5, 4, 4, 0)
    assert runs_of(plan, (1, 2, 3, 4), in_order=True) == ((1,), (2,), (3, 4))
    assert runs_of(plan, (1, 2, 3, 4), in_order=False) == ((1,), (2,), (3,), (4,))


def test_a_segment_needs_a_plan(source: Path) -> None:
    with pytest.raises(UsageError, match="no Plan in .*Make it first"):
        remove(source, source.with_name("out.mkv"), segments=[0], resume=True, **SETTINGS)
    assert not source.with_name("out.mkv").exists()


def test_only_segments_share_the_work_folder(source: Path) -> None:
    PartWorker().do(_part(source, "plan", resume=False), lambda step: None)
    with WorkFolder(source.with_name("out.mkv.work")).locked():
        assert isinstance(PartWorker().do(_part(source, "segments", segments=(0,)), lambda step: None), Done)
        for kind in ("plan", "assemble", "whole"):
            failure = PartWorker().do(_part(source, kind), lambda step: None)
            assert isinstance(failure, Failure)
            assert failure.is_busy


def test_the_model_is_loaded_once(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def counting(name: str, **options: Any) -> Any:
        loaded.append(name)
        return load_model(name, **options)

    monkeypatch.setattr(work, "load_model", counting)
    worker = PartWorker()
    for name in ("a.mkv", "b.mkv"):
        assert isinstance(worker.do(_part(source, "whole", name=name), lambda step: None), Done)
    assert loaded == ["propagate"]
    assert source.with_name("a.mkv").read_bytes() == source.with_name("b.mkv").read_bytes()


def test_interrupt_is_no_failure(source: Path) -> None:
    def stop(step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PartWorker().do(_part(source, "whole"), stop)
    assert not source.with_name("out.mkv").exists()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("no video"), ("InputError", "no video", 3, False, False)),
        (BusyError("in use"), ("BusyError", "in use", 5, False, True)),
        (OutputError("full"), ("OutputError", "full", 5, False, False)),
        (OutOfMemoryError("cpu ran out"), ("OutOfMemoryError", "cpu ran out", 7, True, False)),
        (MemoryError("x"), ("MemoryError", "out of memory: x", 7, True, False)),
        (torch.OutOfMemoryError("y"), ("OutOfMemoryError", "out of memory: y", 7, True, False)),
        (ZeroDivisionError("z"), ("ZeroDivisionError", "internal error: ZeroDivisionError: z", 1, False, False)),
    ],
)
def test_errors_as_data(error: Exception, expected: tuple[Any, ...]) -> None:
    found = Failure.of(error)
    assert (found.kind, found.message, found.exit_code, found.out_of_memory, found.is_busy) == expected


@pytest.mark.parametrize(
    ("exit_code", "n_oom_kills", "cause", "says"),
    [
        (-9, 0, "killed", "by SIGKILL"),
        (-9, 1, "memory", "memory ran out"),
        (-15, 1, "killed", "by SIGTERM"),
        (-11, 1, "crashed", "of SIGSEGV"),
        (-6, 0, "crashed", "of SIGABRT"),
        (1, 0, "crashed", "with exit code 1"),
        (0, 0, "crashed", "with exit code 0"),
    ],
)
def test_cause_of_death(exit_code: int, n_oom_kills: int, cause: str, says: str) -> None:
    death = cause_of_death(_part(Path("a"), "whole"), exit_code, n_oom_kills=n_oom_kills)
    assert death.cause == cause
    assert death.message.endswith(says)


@pytest.mark.parametrize(
    ("n_workers", "n_gpus", "threads", "devices", "each"),
    [
        (0, 0, 0, [""], 0),
        (2, 0, 0, ["", ""], 4),
        (3, 0, 0, ["", "", ""], 2),
        (16, 0, 0, [""] * 16, 1),
        (2, 0, 3, ["", ""], 3),
        (0, 2, 0, ["cuda:0", "cuda:1"], 0),
        (3, 2, 0, ["cuda:0", "cuda:1", "cuda:0"], 0),
        (1, 2, 5, ["cuda:0"], 5),
    ],
)
def test_share_out(
    monkeypatch: pytest.MonkeyPatch, n_workers: int, n_gpus: int, threads: int, devices: Sequence[str], each: int
) -> None:
    monkeypatch.setattr(local, "cpu_count", lambda: 8)
    assert share_out(n_workers, n_gpus=n_gpus, threads=threads) == (devices, each)
