"""The progress of a run, on stderr: bars on a terminal, a line now and then elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from vidfill.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

PLAIN_EVERY_S = 5.0
JSON_EVERY_S = 0.25
_UNITS = {"fetch": ("MB", "MB/s")}
_FRAMES = ("frames", "fps")


class ProgressMode(StrEnum):
    """What `--progress` takes."""

    auto = "auto"
    bar = "bar"
    plain = "plain"
    json = "json"
    none = "none"


class Pace:
    """Frames per second of each stage since its first report; what an earlier run had done does not count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: dict[str, tuple[float, int]] = {}

    def fps(self, step: Progress) -> float | None:
        """Frames per second so far, None before two different reports."""
        began_s, already = self._first.setdefault(step.stage, (self._clock(), step.done))
        elapsed_s = self._clock() - began_s
        return (step.done - already) / elapsed_s if elapsed_s > 0 and step.done > already else None

    def eta_s(self, step: Progress) -> float | None:
        """Seconds that the stage still needs at this pace, None if unknown."""
        fps = self.fps(step)
        return (step.total - step.done) / fps if fps and step.total >= step.done > 0 else None


class Reporter(Protocol):
    """Takes the library's reports."""

    def __call__(self, step: Progress) -> None:
        """Show one report."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Silent:
    """Shows nothing."""

    def __call__(self, step: Progress) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to close."""


class Lines(Silent):
    """Writes a line for the first and the last report of a stage, and at intervals between them.

    Args:
        write: takes one line.
        describe: makes the line from a report, frames per second and seconds left, both None if unknown.
        every_s: least time between two lines, whatever their stage: stages that run together share the lines.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        describe: Callable[[Progress, float | None, float | None], str],
        *,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write, self._describe, self._every_s, self._clock = write, describe, every_s, clock
        self._written: dict[str, int] = {}
        self._written_s = float("-inf")
        self._pace = Pace(clock)

    def __call__(self, step: Progress) -> None:
        """Write a line if it is time for one."""
        fps, eta_s, now_s = self._pace.fps(step), self._pace.eta_s(step), self._clock()
        is_first = step.stage not in self._written
        is_last = step.done == step.total != self._written.get(step.stage)
        if is_first or is_last or now_s - self._written_s >= self._every_s:
            self._written[step.stage], self._written_s = step.done, now_s
            self._write(self._describe(step, fps, eta_s))


def plain_line(step: Progress, fps: float | None, eta_s: float | None) -> str:
    """A report for people: "fill 120/480 frames, 6.3 fps, 0:57 left"."""
    unit, pace = _UNITS.get(step.stage, _FRAMES)
    line = f"{step.stage} {step.done}/{step.total or '?'} {unit}"
    if fps is not None:
        line += f", {fps:.1f} {pace}"
    if eta_s is not None and step.done < step.total:
        line += f", {_clock_time(eta_s)} left"
    return line


def json_line(step: Progress, fps: float | None, eta_s: float | None) -> str:
    """A report for programs: one JSON object, null where something is unknown."""
    return json.dumps(
        {
            "event": "progress",
            "stage": step.stage,
            "done": step.done,
            "total": step.total or None,
            "fps": None if fps is None else round(fps, 2),
            "eta_s": None if eta_s is None else round(eta_s, 1),
        }
    )


class Bars:
    """A bar for each stage on a terminal, with frames, frames per second and the time left."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("[bold]{task.description:<8}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[frames]:>13}"),
            TextColumn("{task.fields[fps]:>9}"),
            TextColumn("{task.fields[left]:>13}"),
            console=console,
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._pace = Pace(clock)

    def __call__(self, step: Progress) -> None:
        """Move the bar of the stage."""
        fps, eta_s = self._pace.fps(step), self._pace.eta_s(step)
        if not self._tasks:
            self._bar.start()
        if step.stage not in self._tasks:
            self._tasks[step.stage] = self._bar.add_task(step.stage, frames="", fps="", left="")
        self._bar.update(
            self._tasks[step.stage],
            completed=step.done,
            total=step.total or None,
            frames=f"{step.done}/{step.total or '?'}",
            fps="" if fps is None else f"{fps:.1f} {_UNITS.get(step.stage, _FRAMES)[1]}",
            left="" if eta_s is None else f"{_clock_time(eta_s)} left" if step.done < step.total else "done",
        )

    def close(self) -> None:
        """Draw the bars a last time and show the cursor again."""
        self._bar.stop()


def resolved_mode(mode: ProgressMode, console: Console) -> ProgressMode:
    """What "auto" means here: a bar on a terminal and plain lines elsewhere."""
    if mode is not ProgressMode.auto:
        return mode
    return ProgressMode.bar if console.is_terminal else ProgressMode.plain


def write_line(console: Console, line: str) -> None:
    """Print a line as it is."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def make_reporter(mode: ProgressMode, console: Console) -> Reporter:
    """The reporter for a mode."""
    mode = resolved_mode(mode, console)
    if mode is ProgressMode.bar:
        return Bars(console)
    if mode is ProgressMode.none:
        return Silent()
    if mode is ProgressMode.json:
        return Lines(lambda line: write_line(console, line), json_line, every_s=JSON_EVERY_S)
    return Lines(lambda line: write_line(console, line), plain_line, every_s=PLAIN_EVERY_S)


def _clock_time(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
