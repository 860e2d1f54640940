"""One job at a time: its progress, how it ends, how it is stopped."""

import logging
import threading

import numpy as np
import pytest

from vidfill.errors import BusyError, MaskError
from vidfill.progress import OnProgress, Progress
from vidfill.ui.jobs import Job, Jobs
from vidfill.ui.views import N_COLUMNS, strip


def _ended(jobs: Jobs) -> Job:
    job = jobs.wait(10)
    assert job is not None
    assert not job.is_running
    return job


def test_progress_and_warnings_of_a_job() -> None:
    jobs, seen = Jobs(), []

    def work(report: OnProgress) -> None:
        logging.getLogger("vidfill").warning("careful")
        for done in range(3):
            report(Progress("fill", done, 3))
            seen.append(jobs.last)

    jobs.start("filling", work)
    job = _ended(jobs)
    assert (job.number, job.kind, job.state, job.error, job.warnings) == (1, "filling", "done", None, ("careful",))
    assert [(one.stage, one.done, one.total) for one in seen if one] == [("fill", i, 3) for i in range(3)]


def test_progress_counts_written_frames() -> None:
    jobs, seen = Jobs(), []

    def work(report: OnProgress) -> None:
        for stage, done in (("fill", 1), ("assemble", 1), ("fill", 2), ("assemble", 2)):
            report(Progress(stage, done, 9))
            seen.append((jobs.last and jobs.last.stage, jobs.last and jobs.last.done))

    jobs.start("removing", work)
    _ended(jobs)
    assert seen == [("fill", 1), ("assemble", 1), ("assemble", 1), ("assemble", 2)]


@pytest.mark.parametrize(
    ("error", "says"),
    [(MaskError("48 masks", expected="50"), "48 masks; expected 50"), (KeyError("x"), "internal error: KeyError: 'x'")],
)
def test_errors_of_a_job(error: Exception, says: str) -> None:
    jobs = Jobs()

    def work(report: OnProgress) -> None:
        raise error

    jobs.start("removing", work)
    job = _ended(jobs)
    assert job.state == "failed"
    assert str(job.error).startswith(says)
    jobs.start("removing", lambda report: None)
    assert (_ended(jobs).number, _ended(jobs).state) == (2, "done")


def test_cancel_and_close() -> None:
    jobs, has_begun, unwound = Jobs(), threading.Event(), []

    def work(report: OnProgress) -> None:
        try:
            while True:
                report(Progress("track", 0, 0))
                has_begun.set()
        finally:
            unwound.append(True)

    for stop in (jobs.cancel, jobs.close):
        has_begun.clear()
        jobs.start("tracking", work)
        assert has_begun.wait(10)
        with pytest.raises(BusyError, match="preview while tracking is running"):
            jobs.start("preview", work)
        stop()
        assert _ended(jobs).state == "cancelled"
    assert unwound == [True, True]
    with pytest.raises(BusyError, match="while the program ends"):
        jobs.start("preview", work)


def test_strip_has_the_minimum_of_each_column() -> None:
    short = strip(np.array([0.5, -1, 0.999, 1, 0.29], np.float32))
    assert short.tolist() == [50, -1, 99, 100, 29]
    values = np.random.default_rng(0).random(4 * N_COLUMNS + 7).astype(np.float32)
    values[1234] = -1
    columns = strip(values)
    assert len(columns) == N_COLUMNS
    edges = [i * len(values) // N_COLUMNS for i in range(N_COLUMNS + 1)]
    for column, (start, stop) in enumerate(zip(edges, edges[1:], strict=False)):
        lowest = min(values[start:stop])
        assert columns[column] == (-1 if lowest < 0 else int(100 * lowest + 1e-3))
