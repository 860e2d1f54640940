"""What a scheduler is: workers that are given parts and tell what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self

from vidfill.batch.work import Outcome, Part


class Progressed(NamedTuple):
    """A part is so far: `done` of `total` frames of a stage."""

    part: Part
    stage: str
    done: int
    total: int


class Ended(NamedTuple):
    """A part is over, well or not."""

    part: Part
    outcome: Outcome


class Died(NamedTuple):
    """The worker of a part is gone without a word.

    Attributes:
        part: what it was at.
        cause: "killed" from outside, "crashed" of its own, or out of "memory".
        message: what is known, in one line.
        has_begun: whether the worker had come to the part at all; else it is not the part's doing.
    """

    part: Part
    cause: Literal["killed", "crashed", "memory"]
    message: str
    has_begun: bool = True


Event = Progressed | Ended | Died


class Scheduler(Protocol):
    """Workers, here or elsewhere; a context manager that starts and ends them.

    A scheduler knows nothing of jobs, states and retries: a part that ends badly is only told of.
    """

    @property
    def n_free(self) -> int:
        """Workers that could begin a part now."""

    def start(self, part: Part) -> None:
        """Give a part to a free worker."""

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What has happened since the last call; waits for something to happen, but not longer than this."""

    def __enter__(self) -> Self:
        """Start the workers."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers; parts in work are stopped, and can be resumed."""
