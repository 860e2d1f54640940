"""Jobs end done or given up, once each, whatever happens to workers, runs and machines."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.batch.fakes import Answer, Script, crashed, fail, killed, killed_for_memory, run_batch, succeed
from vidfill.batch import driver as driver_module
from vidfill.batch.events import JobEvent
from vidfill.batch.inputs import BatchJob
from vidfill.batch.scheduling import Died
from vidfill.batch.state import MAX_FAILURES, MAX_KILLS, JobFile
from vidfill.batch.work import Done, Failure, JobPart
from vidfill.errors import DeviceError
from vidfill.files.lock import FileLock
from vidfill.settings import RemovalSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One video, which is a text."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_text("video")
    return tmp_path


def _state(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / ".vidfill" / "a_filled.mp4.json").read_text())
    return found


def _each(*answers: Answer | Script) -> Script:
    """One answer after another; the last for ever."""
    coming = iter(answers)
    last: list[Answer | Script] = []

    def script(part: JobPart) -> Answer:
        last[:] = [next(coming, *last)]
        answer = last[0]
        return answer if isinstance(answer, Done | Failure | Died) else answer(part)

    return script


def _age(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("length", [235, 255])
def test_longest_names(folder: Path, length: int) -> None:
    name = "b" * (length - len("_filled.mp4"))
    (folder / "in" / f"{name}.mp4").write_text("video")
    reports, _ = run_batch(folder)
    assert [report.status for report in reports] == ["done", "done" if length < 240 else "failed"]
    if reports[1].status == "failed":
        assert "File name too long" in reports[1].message
        assert "--name" in reports[1].message


def test_done_jobs_are_skipped(folder: Path) -> None:
    (first,), started = run_batch(folder)
    assert (first.status, first.n_attempts, len(started.parts)) == ("done", 1, 1)
    (again,), started = run_batch(folder)
    assert (again.status, again.result, started.parts) == ("already done", {"n_frames": 4}, [])
    assert sorted(path.name for path in (folder / "out" / ".vidfill").iterdir()) == ["a_filled.mp4.json"]


def test_missing_output_is_made_again(folder: Path) -> None:
    run_batch(folder)
    (folder / "out" / "a_filled.mp4").unlink()
    (report,), _ = run_batch(folder)
    assert report.status == "done"
    assert (folder / "out" / "a_filled.mp4").read_text() == "filled"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / "out" / "a_filled.mp4").write_text("mine"), "was not written by this batch, or was changed"),
        (lambda f: (f / "out" / ".vidfill" / "a_filled.mp4.json").unlink(), "a_filled.mp4 exists"),
        (lambda f: (f / "out" / ".vidfill" / "a_filled.mp4.json").write_text("{"), "a_filled.mp4 exists"),
        (lambda f: _age(f / "in" / "a.mp4"), "was made otherwise: source was"),
    ],
    ids=["output changed", "no state", "damaged state", "source changed"],
)
def test_outputs_are_not_replaced_without_overwrite(folder: Path, change: Callable[[Path], object], says: str) -> None:
    run_batch(folder)
    change(folder)
    before = (folder / "out" / "a_filled.mp4").read_text()
    (report,), started = run_batch(folder)
    assert (report.status, report.exit_code, started.parts) == ("failed", 5, [])
    assert says in report.message
    assert (folder / "out" / "a_filled.mp4").read_text() == before
    (report,), _ = run_batch(folder, overwrite=True)
    assert report.status == "done"
    assert (folder / "out" / "a_filled.mp4").read_text() == "filled"
    assert run_batch(folder, overwrite=True)[0][0].status == "already done"


def test_changed_settings_are_reported(folder: Path) -> None:
    run_batch(folder, settings=RemovalSettings(dilate=4, threads=1))
    assert run_batch(folder, settings=RemovalSettings(dilate=4, threads=2, device="cpu"))[0][0].status == "already done"
    (report,), _ = run_batch(folder, settings=RemovalSettings(dilate=6))
    assert "--dilate was 4, is 6" in report.message


def test_two_equal_failures_fail_the_job(folder: Path) -> None:
    (report,), started = run_batch(folder, _each(fail("3 of 7 lost"), fail("4 of 7 lost"), succeed))
    assert (report.status, report.kind, report.message, report.exit_code) == ("failed", "InputError", "4 of 7 lost", 3)
    assert (report.n_attempts, len(started.parts)) == (2, 2)
    assert _state(folder)["status"] == "failed"
    (report,), started = run_batch(folder)
    assert (report.status, report.message, started.parts) == ("failed", "4 of 7 lost", [])
    (report,), started = run_batch(folder, retry_failed=True)
    assert (report.status, report.n_attempts) == ("done", 1)


def test_transient_failure(folder: Path) -> None:
    (report,), started = run_batch(folder, _each(fail("once"), succeed))
    assert (report.status, report.n_attempts, report.message) == ("done", 2, "")
    assert [part.resume for part in started.parts] == [False, False], "it may have failed of what it had computed"


def test_too_many_failures(folder: Path) -> None:
    (report,), started = run_batch(folder, _each(*(fail(word) for word in "abcdefgh")))
    assert (report.status, len(started.parts)) == ("failed", MAX_FAILURES)


def test_changed_source_is_a_new_job(folder: Path) -> None:
    run_batch(folder, _each(fail("broken")))
    _age(folder / "in" / "a.mp4")
    assert run_batch(folder)[0][0].status == "done"


def test_killed_worker_does_not_fail_the_job(folder: Path) -> None:
    (report,), started = run_batch(folder, _each(killed, killed, killed, succeed))
    assert (report.status, report.n_attempts) == ("done", 4)
    assert [part.resume for part in started.parts] == [False, True, True, True]


def test_endless_kills_fail_the_job_without_progress(folder: Path) -> None:
    (report,), started = run_batch(folder, _each(killed))
    assert (report.status, report.message, len(started.parts)) == (
        "failed",
        "the worker was killed by SIGKILL",
        MAX_KILLS,
    )

    def gets_on(part: JobPart) -> Answer:
        part.work.mkdir(exist_ok=True)
        n_stored = len(list(part.work.iterdir()))
        (part.work / f"segment_{n_stored:05d}.patches").write_text("")
        return killed(part) if n_stored < 2 * MAX_KILLS else succeed(part)

    assert run_batch(folder, gets_on, retry_failed=True)[0][0].status == "done"


def _stillborn(part: JobPart) -> Answer:
    return Died(part, "killed", "the worker was killed by SIGKILL", has_begun=False)


def test_worker_killed_before_it_begins_is_no_attempt(folder: Path) -> None:
    (report,), started = run_batch(folder, _each(*[_stillborn] * 20, killed, *[_stillborn] * 20, succeed))
    assert (report.status, report.n_attempts, len(started.parts)) == ("done", 2, 42)


def test_batch_stops_if_workers_never_begin(folder: Path) -> None:
    with pytest.raises(DeviceError, match="100 workers in a row died.*SIGKILL"):
        run_batch(folder, _each(_stillborn))
    assert [attempt["outcome"] for attempt in _state(folder)["attempts"]] == ["interrupted"]
    assert run_batch(folder)[0][0].status == "done"


def test_two_crashes_fail_the_job(folder: Path) -> None:
    (report,), started = run_batch(folder, _each(crashed))
    assert (report.status, report.kind, len(started.parts)) == ("failed", "Crashed", 2)


OUT_OF_MEMORY = Failure("OutOfMemoryError", "cpu ran out of memory", 7, out_of_memory=True)


@pytest.mark.parametrize("how", [OUT_OF_MEMORY, killed_for_memory], ids=["told", "killed"])
@pytest.mark.parametrize(
    ("given", "half"), [(None, str(432 * 240 // 2)), ("320x200", "32000"), ("500", "250"), ("8x8", "64")]
)
def test_out_of_memory_is_retried_at_half_size(
    folder: Path, how: Answer | Script, given: str | None, half: str
) -> None:
    settings = RemovalSettings(working_size=given)
    (report,), started = run_batch(folder, _each(how, succeed), settings=settings)
    assert report.status == "done"
    assert [(part.settings.working_size, part.resume) for part in started.parts] == [(given, False), (half, False)]
    assert run_batch(folder, settings=settings)[0][0].status == "already done"


def test_out_of_memory_at_half_size_fails(folder: Path) -> None:
    (report,), started = run_batch(folder, _each(OUT_OF_MEMORY, killed, OUT_OF_MEMORY))
    assert (report.status, report.exit_code) == ("failed", 7)
    assert [(part.settings.working_size, part.resume) for part in started.parts] == [
        (None, False),
        (str(432 * 240 // 2), False),
        (str(432 * 240 // 2), True),
    ]


def test_killed_run_is_taken_over(folder: Path) -> None:
    class Dead(BaseException):
        pass

    def dies(part: JobPart) -> Answer:
        succeed(part)  # the output is there, but nobody has written down that it is done
        raise Dead

    def never_closes(self: object) -> None:
        lock = folder / "out" / ".vidfill" / "a_filled.mp4.lock"
        lock.write_text(json.dumps(json.loads(lock.read_text()) | {"started": "1"}))

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Dead):
        patch.setattr(driver_module.Driver, "close", never_closes)
        run_batch(folder, dies)
    assert _state(folder)["attempts"][-1]["outcome"] == "running"
    (report,), started = run_batch(folder)
    assert (report.status, report.n_attempts) == ("done", 2)
    assert started.parts[0].resume
    assert [attempt["outcome"] for attempt in _state(folder)["attempts"]] == ["killed", "done"]


def test_ctrl_c_leaves_the_job_resumable(folder: Path) -> None:
    def stopped(part: JobPart) -> Answer:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(folder, stopped)
    assert [attempt["outcome"] for attempt in _state(folder)["attempts"]] == ["interrupted"]
    assert not list((folder / "out" / ".vidfill").glob("*.lock*"))
    (report,), started = run_batch(folder)
    assert (report.status, started.parts[0].resume) == ("done", True)


def test_foreign_output_after_ctrl_c_is_kept(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_batch(folder, _each(_interrupt))
    (folder / "out" / "a_filled.mp4").write_text("mine")
    (report,), _ = run_batch(folder)
    assert (report.status, report.exit_code) == ("failed", 5)
    assert (folder / "out" / "a_filled.mp4").read_text() == "mine"


def _interrupt(part: JobPart) -> Answer:
    raise KeyboardInterrupt


def test_job_held_by_another_run_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "_HELD_RETRY_S", 0.01)
    lock = FileLock(folder / "out" / ".vidfill" / "a_filled.mp4.lock")
    (folder / "out" / ".vidfill").mkdir(parents=True)
    assert lock.acquire()
    releasing = threading.Timer(0.1, lock.release)
    releasing.start()
    news: list[JobEvent] = []
    (report,), _ = run_batch(folder, news=news)
    releasing.join()
    assert report.status == "done"
    assert f"held by process {os.getpid()} on" in next(item.message for item in news if item.status == "held")


def test_busy_work_folder_is_no_attempt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "_HELD_RETRY_S", 0.0)
    busy = Failure("BusyError", "in use by process 7", 5, is_busy=True)
    (report,), started = run_batch(folder, _each(busy, busy, busy, succeed))
    assert (report.status, report.n_attempts, len(started.parts)) == ("done", 1, 4)


def test_lost_lock_writes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loses(part: JobPart) -> Answer:
        JobFile(folder / "out", started_job).lock.unlink()
        return fail("late news")

    started_job = BatchJob(folder / "in" / "a.mp4", "a_filled.mp4", None, makes_folder=False)
    (report,), _ = run_batch(folder, _each(loses, succeed))
    assert report.status == "done"
    assert [attempt["outcome"] for attempt in _state(folder)["attempts"]] == ["killed", "done"]


def test_dependent_segments_are_one_part(folder: Path) -> None:
    def script(part: JobPart) -> Answer:
        answer = succeed(part)
        return Done(missing=((0, 1), (2,))) if part.kind == "plan" else answer

    news: list[JobEvent] = []
    _, started = run_batch(folder, script, split=True, news=news)
    assert [part.segments for part in started.parts] == [(), (0, 1), (2,), ()]
    assert [(item.done, item.total) for item in news if item.stage == "fill"] == [(0, 3), (2, 3), (3, 3)]


def test_split_job_is_planned_and_assembled_once(folder: Path) -> None:
    (report,), started = run_batch(folder, split=True, n_workers=4)
    assert report.status == "done"
    assert [(part.kind, part.segments, part.resume) for part in started.parts] == [
        ("plan", (), False),
        ("segments", (0,), True),
        ("segments", (1,), True),
        ("segments", (2,), True),
        ("assemble", (), True),
    ]
    assert report.n_attempts == 1


def test_split_job_repeats_only_killed_parts(folder: Path) -> None:
    died: list[tuple[int, ...]] = []

    def script(part: JobPart) -> Answer:
        if part.kind == "segments" and part.segments != (1,) and part.segments not in died:
            died.append(part.segments)
            return killed(part)
        return succeed(part)

    (report,), started = run_batch(folder, script, split=True, n_workers=2)
    assert report.status == "done"
    done = [(part.kind, part.segments) for part in started.parts]
    assert sorted(done) == [
        ("assemble", ()),
        ("plan", ()),
        *[("segments", (s,)) for s in (0, 0, 1, 2, 2)],
    ]
    assert done[-1] == ("assemble", ())


def test_failed_segment_restarts_a_split_job(folder: Path) -> None:
    running: set[int] = set()
    failed: list[tuple[int, ...]] = []

    def script(part: JobPart) -> Answer:
        if part.kind == "plan" and failed:
            assert not part.resume
            assert not running
        if part.kind == "segments" and not failed:
            failed.append(part.segments)
            return fail("damaged patches")
        return succeed(part)

    (report,), started = run_batch(folder, script, split=True, n_workers=3)
    assert (report.status, report.n_attempts) == ("done", 2)
    assert [part.kind for part in started.parts].count("plan") == 2
    assert [part.kind for part in started.parts].count("assemble") == 1


def test_killed_split_job_keeps_its_segments(folder: Path) -> None:
    def script(part: JobPart) -> Answer:
        if part.kind == "segments" and part.segments == (0,):
            raise KeyboardInterrupt
        return succeed(part)

    with pytest.raises(KeyboardInterrupt):
        run_batch(folder, script, split=True, n_workers=3)  # answers come last in, first out
    (report,), started = run_batch(folder, split=True)
    assert report.status == "done"
    assert [(part.kind, part.segments) for part in started.parts] == [
        ("plan", ()),
        ("segments", (0,)),
        ("assemble", ()),
    ]


def test_events_of_every_job(folder: Path) -> None:
    for name in ("b.mp4", "c.mp4"):
        (folder / "in" / name).write_text("video")

    def script(part: JobPart) -> Answer:
        return fail("no good") if part.source.name == "b.mp4" else succeed(part)

    news: list[JobEvent] = []
    reports, _ = run_batch(folder, script, news=news)
    assert [(report.output.name, report.status) for report in reports] == [
        ("a_filled.mp4", "done"),
        ("b_filled.mp4", "failed"),
        ("c_filled.mp4", "done"),
    ]
    assert {item.job: item.status for item in news} == {
        "a_filled.mp4": "done",
        "b_filled.mp4": "failed",
        "c_filled.mp4": "done",
    }
    assert [item.message for item in news if item.job == "b_filled.mp4" and item.message] == [
        "trying again: no good",
        "no good",
    ]
