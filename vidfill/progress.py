"""What every run of the library has: progress, wall time by stage, and its warnings collected."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

_log = logging.getLogger("vidfill")
_T = TypeVar("_T")


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        stage: "track", "analyse", "layout" (of retargeting), "fill" or "assemble"; the last two go hand in
            hand.
        done: frames done.
        total: frames in all, 0 where not known.
    """

    stage: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]


def reporter(progress: OnProgress | None, stage: str) -> Callable[[int, int], None] | None:
    """The callback of one stage, from that of the whole run."""
    if progress is None:
        return None
    return lambda done, total: progress(Progress(stage, done, total))


class Clock:
    """Wall time by stage; time taken out for a stage within another counts for the inner one only.

    Attributes:
        seconds: what was counted so far, by stage.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a block, less what was taken out of it."""
        start, inner = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            spent = time.perf_counter() - start - (sum(self.seconds.values()) - inner)
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def taken_out(self, name: str, items: Iterator[_T]) -> Iterator[_T]:
        """Count the time that each item takes to come."""
        end = object()
        while True:
            with self.stage(name):
                item = next(items, end)
            if item is end:
                return
            yield item  # type: ignore[misc]


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Everything that vidfill warns of while a block runs, once each, in order."""
    texts: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if (text := record.getMessage()) not in texts:
                texts.append(text)

    collector = Collector(logging.WARNING)
    _log.addHandler(collector)
    try:
        yield texts
    finally:
        _log.removeHandler(collector)
