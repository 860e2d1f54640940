"""The progress of a batch, on stderr: a live table on a terminal, lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from vidfill.cli.progress import JSON_EVERY_S, ProgressMode, resolved_mode, write_line
from vidfill.cli.session import Session, printable

if TYPE_CHECKING:
    from rich.console import Group

    from vidfill.batch.events import JobEvent, OnEvent, Status

N_ENDED_SHOWN = 8
"""How many ended jobs the table shows, the latest ones; running jobs are all shown."""
_ENDED = ("done", "already done", "failed")
_STYLES: dict[Status, str] = {
    "done": "green",
    "already done": "green",
    "failed": "bold red",
    "running": "",
    "held": "yellow",
    "waiting": "dim",
}
_DRAWN_PER_S = 4


@contextmanager
def batch_view(run: Session) -> Iterator[OnEvent]:
    """What shows the events of a batch, by --progress and --quiet."""
    mode = resolved_mode(run.voice.progress, run.console)
    if run.voice.quiet or mode is ProgressMode.none:
        yield lambda event: None
    elif mode is ProgressMode.bar:
        from rich.live import Live

        table = LiveTable()
        with Live(console=run.console, get_renderable=table.drawing, refresh_per_second=_DRAWN_PER_S):
            yield table
    else:
        describe = JsonLines() if mode is ProgressMode.json else plain_line
        yield EventLines(lambda line: write_line(run.console, line), describe)


class EventLines:
    """Writes a line for each event that is worth one.

    Args:
        write: takes one line.
        describe: makes the line from an event, ended jobs and all jobs; None for no line.
    """

    def __init__(self, write: Callable[[str], None], describe: Callable[[JobEvent, int, int], str | None]) -> None:
        self._write, self._describe = write, describe
        self._status: dict[str, str] = {}

    def __call__(self, event: JobEvent) -> None:
        """Write a line, or none."""
        is_new = self._status.get(event.job) != event.status
        self._status[event.job] = event.status
        n_ended = sum(status in _ENDED for status in self._status.values())
        if is_new or event.message or event.stage:
            line = self._describe(event, n_ended, len(self._status))
            if line is not None:
                self._write(line)


def plain_line(event: JobEvent, n_ended: int, n_jobs: int) -> str | None:
    """An event for people: "3/40 done a_filled.mp4"; None for mere progress."""
    if event.stage or (event.status == "waiting" and not event.message):
        return None
    line = f"{n_ended}/{n_jobs} {event.status} {event.job}"
    return printable(f"{line}: {event.message}" if event.message else line)


class JsonLines:
    """An event for programs: one JSON object; mere progress of a job only at intervals."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told_s: dict[str, float] = {}

    def __call__(self, event: JobEvent, n_ended: int, n_jobs: int) -> str | None:
        """The line, or None."""
        if event.stage:
            if self._clock() - self._told_s.get(event.job, float("-inf")) < JSON_EVERY_S:
                return None
            self._told_s[event.job] = self._clock()
        return json.dumps(
            {
                "event": "job",
                "job": event.job,
                "status": event.status,
                "stage": event.stage or None,
                "done": event.done if event.stage else None,
                "total": event.total or None,
                "message": event.message or None,
                "jobs_ended": n_ended,
                "jobs": n_jobs,
            }
        )


class LiveTable:
    """The running jobs, the last ended ones, and how many jobs there are of each status."""

    def __init__(self) -> None:
        self._events: dict[str, JobEvent] = {}
        self._ended: list[str] = []

    def __call__(self, event: JobEvent) -> None:
        """Keep an event for the next drawing."""
        self._events[event.job] = event
        if event.status in _ENDED:
            self._ended.append(event.job)

    def drawing(self) -> Group:
        """The counts, and the table below them."""
        from rich.console import Group
        from rich.table import Table

        counts = Counter(event.status for event in self._events.values())
        head = f"{len(self._ended)}/{len(self._events)} videos: " + ", ".join(
            f"{counts[status]} {status}" for status in _STYLES if counts[status]
        )
        table = Table("video", "status", "how far", box=None, pad_edge=False)
        shown = [self._events[job] for job in self._ended[-N_ENDED_SHOWN:]]
        shown += [event for event in self._events.values() if event.status in ("running", "held")]
        for event in shown:
            table.add_row(
                Text(printable(event.job)), Text(event.status, _STYLES.get(event.status, "")), _how_far(event)
            )
        return Group(Text(head, "bold"), table)


def _how_far(event: JobEvent) -> Text:
    if not event.stage:
        return Text(printable(event.message))
    percent = f" {100 * event.done // event.total} %" if event.total else ""
    return Text(f"{event.stage} {event.done}/{event.total or '?'}{percent}")
