"""How far a batch is: a live table on a terminal, lines elsewhere, JSON lines for programs; on stderr."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from rich.text import Text

from vidfill.cli.progress import JSON_EVERY_S, ProgressMode
from vidfill.cli.session import Session, printable

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

N_ENDED_SHOWN = 8
"""Rows of jobs that have ended, the latest; running ones are all shown."""
_ENDED = ("done", "already done", "failed")
_STYLES = {
    "done": "green",
    "already done": "green",
    "failed": "bold red",
    "running": "",
    "held": "yellow",
    "waiting": "dim",
}
_DRAWN_PER_S = 4


class News(Protocol):
    """What the library tells of a job, see `vidfill.batch.events.JobEvent`."""

    @property
    def job(self) -> str:
        """Its name."""

    @property
    def status(self) -> str:
        """What it is now."""

    @property
    def stage(self) -> str:
        """Of a running one."""

    @property
    def done(self) -> int:
        """Of the stage's total."""

    @property
    def total(self) -> int:
        """0 where not known."""

    @property
    def message(self) -> str:
        """Why."""


class View(Protocol):
    """Takes the library's news; a context manager that leaves the terminal as it was."""

    def __call__(self, news: News) -> None:
        """Show it."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""


def make_view(run: Session) -> View:
    """The view for a command's --progress and --quiet."""
    mode, console = run.voice.progress, run.console
    if run.voice.quiet or mode is ProgressMode.none:
        return Lines(lambda line: None, lambda news, n_ended, n_jobs: None)
    if mode is ProgressMode.auto:
        mode = ProgressMode.bar if console.is_terminal else ProgressMode.plain
    if mode is ProgressMode.bar:
        return LiveTable(console)

    def write(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return Lines(write, JsonLines() if mode is ProgressMode.json else plain_line)


class Lines:
    """Writes a line for each piece of news that is worth one.

    Args:
        write: takes one line.
        describe: makes it, of the news, jobs that have ended and jobs in all; None for no line.
    """

    def __init__(self, write: Callable[[str], None], describe: Callable[[News, int, int], str | None]) -> None:
        self._write, self._describe = write, describe
        self._status: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Nothing to begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def __call__(self, news: News) -> None:
        """Write a line, or none."""
        is_new = self._status.get(news.job) != news.status
        self._status[news.job] = news.status
        n_ended = sum(status in _ENDED for status in self._status.values())
        if is_new or news.message or news.stage:
            line = self._describe(news, n_ended, len(self._status))
            if line is not None:
                self._write(line)


def plain_line(news: News, n_ended: int, n_jobs: int) -> str | None:
    """News as people read it: "3/40 done a_filled.mp4"; none of mere progress."""
    if news.stage or (news.status == "waiting" and not news.message):
        return None
    return printable(f"{n_ended}/{n_jobs} {news.status} {news.job}" + (f": {news.message}" if news.message else ""))


class JsonLines:
    """News as programs read it: one JSON object; of a job's mere progress now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told_s: dict[str, float] = {}

    def __call__(self, news: News, n_ended: int, n_jobs: int) -> str | None:
        """The line, or none."""
        if news.stage and self._clock() - self._told_s.get(news.job, float("-inf")) < JSON_EVERY_S:
            return None
        if news.stage:
            self._told_s[news.job] = self._clock()
        return json.dumps(
            {
                "event": "job",
                "job": news.job,
                "status": news.status,
                "stage": news.stage or None,
                "done": news.done if news.stage else None,
                "total": news.total or None,
                "message": news.message or None,
                "jobs_ended": n_ended,
                "jobs": n_jobs,
            }
        )


class LiveTable:
    """The jobs that run and the last that have ended, and how many there are of each kind."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._news: dict[str, News] = {}
        self._ended: list[str] = []
        self._live: Live = Live(console=console, get_renderable=self.drawing, refresh_per_second=_DRAWN_PER_S)

    def __enter__(self) -> Self:
        """Draw it."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw it a last time and give the cursor back."""
        self._live.stop()

    def __call__(self, news: News) -> None:
        """Keep it for the next drawing."""
        self._news[news.job] = news
        if news.status in _ENDED:
            self._ended.append(news.job)

    def drawing(self) -> Group:
        """The counts, and the table below them."""
        from rich.console import Group
        from rich.table import Table

        counts = Counter(news.status for news in self._news.values())
        head = f"{len(self._ended)}/{len(self._news)} videos: " + ", ".join(
            f"{counts[status]} {status}" for status in _STYLES if counts[status]
        )
        table = Table("video", "status", "how far", box=None, pad_edge=False)
        shown = self._ended[-N_ENDED_SHOWN:]
        shown += [job for job, news in self._news.items() if news.status in ("running", "held")]
        for job in shown:
            news = self._news[job]
            table.add_row(Text(printable(job)), Text(news.status, _STYLES.get(news.status, "")), _how_far(news))
        return Group(Text(head, "bold"), table)


def _how_far(news: News) -> Text:
    if not news.stage:
        return Text(printable(news.message))
    share = f" {100 * news.done // news.total} %" if news.total else ""
    return Text(f"{news.stage} {news.done}/{news.total or '?'}{share}")
