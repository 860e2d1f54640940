"""What a scheduler is: workers that are given parts and report what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, Self

from vidfill.batch.work import JobPart, PartResult


class Progressed(NamedTuple):
    """A part has done `done` of `total` frames of a stage."""

    part: JobPart
    stage: str
    done: int
    total: int


class Ended(NamedTuple):
    """A part has succeeded or failed."""

    part: JobPart
    outcome: PartResult


class Died(NamedTuple):
    """The worker of a part is gone without a result.

    Attributes:
        part: what it was working on.
        cause: "killed" from outside, "crashed" by itself, or out of "memory".
        message: one line.
        has_begun: whether the worker had started on the part at all; if not, the part is not to blame.
    """

    part: JobPart
    cause: Literal["killed", "crashed", "memory"]
    message: str
    has_begun: bool = True


Event = Progressed | Ended | Died


class Scheduler(Protocol):
    """Workers, here or elsewhere; a context manager that starts and ends them.

    A scheduler knows nothing about jobs, states and retries: it only reports a part that fails.
    """

    @property
    def n_free(self) -> int:
        """Workers that could begin a part now."""

    def start(self, part: JobPart) -> None:
        """Give a part to a free worker."""

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What has happened since the last call; waits at most this long for something to happen."""

    def __enter__(self) -> Self:
        """Start the workers."""

    def __exit__(self, *error: object) -> None:
        """End the workers; parts in work are stopped, and can be resumed."""
