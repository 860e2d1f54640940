"""How far a run is: a bar on a terminal, a line now and then elsewhere, JSON lines for programs; always on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
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


class Step(Protocol):
    """What the library reports: `done` of `total` frames of a stage (total 0 where it is not known yet).

    Of "fetch" it is megabytes.
    """

    @property
    def stage(self) -> str:
        """The name of the stage."""
        ...

    @property
    def done(self) -> int:
        """Frames done."""
        ...

    @property
    def total(self) -> int:
        """Frames in all, 0 where not known."""
        ...


class Pace:
    """Frames a second of each stage since it was first heard of; what an earlier run had done counts for nothing."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: dict[str, tuple[float, int]] = {}

    def fps(self, step: Step) -> float | None:
        """Frames a second so far, None before two different reports."""
        began_s, already = self._first.setdefault(step.stage, (self._clock(), step.done))
        elapsed_s = self._clock() - began_s
        return (step.done - already) / elapsed_s if elapsed_s > 0 and step.done > already else None

    def eta_s(self, step: Step) -> float | None:
        """Seconds that the stage still needs at this pace, None where that cannot be said."""
        fps = self.fps(step)
        return (step.total - step.done) / fps if fps and step.total >= step.done > 0 else None


class Reporter(Protocol):
    """Takes the library's reports; `close` leaves the terminal as it was."""

    def __call__(self, step: Step) -> None:
        """Show one report."""
        ...

    def close(self) -> None:
        """No more reports will come."""
        ...


class Silent:
    """Shows nothing."""

    def __call__(self, step: Step) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to close."""


class Lines:
    """Writes a line for a stage's first and last report, and for those some time after the line before.

    Args:
        write: takes one line.
        describe: makes the line of a report, its frames a second and the seconds left, both None where not known.
        every_s: the least time between two lines, whatever their stage: stages that go hand in hand share a line.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        describe: Callable[[Step, float | None, float | None], str],
        *,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write, self._describe, self._every_s, self._clock = write, describe, every_s, clock
        self._written: dict[str, int] = {}
        self._written_s = float("-inf")
        self._pace = Pace(clock)

    def __call__(self, step: Step) -> None:
        """Write a line if it is time for one."""
        fps, eta_s, now_s = self._pace.fps(step), self._pace.eta_s(step), self._clock()
        is_first = step.stage not in self._written
        is_last = step.done == step.total != self._written.get(step.stage)
        if is_first or is_last or now_s - self._written_s >= self._every_s:
            self._written[step.stage], self._written_s = step.done, now_s
            self._write(self._describe(step, fps, eta_s))

    def close(self) -> None:
        """Nothing to close."""


def plain_line(step: Step, fps: float | None, eta_s: float | None) -> str:
    """A report as people read it: "fill 120/480 frames, 6.3 fps, 0:57 left"."""
    unit, pace = _UNITS.get(step.stage, _FRAMES)
    line = f"{step.stage} {step.done}/{step.total or '?'} {unit}"
    if fps is not None:
        line += f", {fps:.1f} {pace}"
    if eta_s is not None and step.done < step.total:
        line += f", {_clock_time(eta_s)} left"
    return line


def json_line(step: Step, fps: float | None, eta_s: float | None) -> str:
    """A report as programs read it: one JSON object, null where something is not known."""
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
    """One bar for each stage on a terminal, with frames, frames a second and the time left."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar: Bar = Progress(
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

    def __call__(self, step: Step) -> None:
        """Move the stage's bar."""
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
        """Draw the bars a last time and give the cursor back."""
        self._bar.stop()


def make_reporter(mode: ProgressMode, console: Console) -> Reporter:
    """The reporter for a mode; "auto" is a bar on a terminal and plain lines elsewhere."""
    if mode is ProgressMode.auto:
        mode = ProgressMode.bar if console.is_terminal else ProgressMode.plain
    if mode is ProgressMode.bar:
        return Bars(console)
    if mode is ProgressMode.none:
        return Silent()

    def write(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    if mode is ProgressMode.json:
        return Lines(write, json_line, every_s=JSON_EVERY_S)
    return Lines(write, plain_line, every_s=PLAIN_EVERY_S)


def _clock_time(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
