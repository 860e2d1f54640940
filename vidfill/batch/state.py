"""What is known of a job, in a JSON file beside the outputs: what it was made from, its attempts, its result."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from vidfill import __version__
from vidfill.batch.inputs import BatchJob
from vidfill.errors import InputError
from vidfill.files.atomic import write_file
from vidfill.removal.work_folder import fingerprint_of

FOLDER = ".vidfill"
"""Where job files, locks, unfinished work and thumbnails lie, in the folder of outputs."""
MAX_FAILURES = 4
"""Failures after which a job is given up even if no two were equal."""
MAX_KILLS = 10
"""Deaths from outside, with nothing done in between, after which a job is given up: it may be what kills."""

KILLED = "Killed"
"""The kind of error of an attempt that was killed from outside."""
RESUMABLE = frozenset({"OutputError", "OSError", "TimeoutError", "ConnectionError"})
"""Kinds of errors, beside death, that have nothing to do with what has been computed so far."""

_SCHEMA_VERSION = 1
# Settings that say how fast an output comes to be and where things are, which differs from machine to machine.
_WITHOUT_EFFECT = frozenset({"device", "threads", "model_dir", "overwrite"})

Outcome = Literal["running", "done", "failed", "killed", "interrupted"]


@dataclass(slots=True)
class Attempt:
    """One try of a job.

    Attributes:
        at: when it began, UTC in ISO 8601.
        outcome: "running" until it has ended; "killed" from outside, "interrupted" by the user.
        seconds: how long it took, 0 where nobody saw its end.
        host: where the run was started.
        kind: of the error, as its class is named; "" without one.
        message: the error in one line.
        exit_code: of the error.
        out_of_memory: whether memory was what it lacked.
        is_halved: whether it worked with half as many pixels, since memory had run out.
        n_stored: segments that were finished and kept when it ended.
    """

    at: str
    outcome: Outcome = "running"
    seconds: float = 0.0
    host: str = ""
    kind: str = ""
    message: str = ""
    exit_code: int = 0
    out_of_memory: bool = False
    is_halved: bool = False
    n_stored: int = 0

    def fails_like(self, other: Attempt) -> bool:
        """Whether both failed for the same reason; numbers in the message do not count."""
        return (self.kind, _without_numbers(self.message)) == (other.kind, _without_numbers(other.message))


@dataclass(slots=True)
class JobState:
    """A job's file.

    Attributes:
        source: path of the source as given.
        made_from: what the output depends on, by name: source, mask, settings.
        status: "open" for one that is being worked on or waits for another attempt, "done", or "failed" for one that
            has been given up.
        attempts: since the job was last new, in order.
        output: what the output was known by after the last attempt, see `work_folder.fingerprint_of`; "" for none.
        result: of the finished job: frames, model, seconds by stage, warnings.
        vidfill: version that wrote it.
    """

    source: str
    made_from: dict[str, str]
    status: Literal["open", "done", "failed"] = "open"
    attempts: list[Attempt] = field(default_factory=list)
    output: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    vidfill: str = __version__

    @property
    def error(self) -> Attempt | None:
        """The last attempt that failed, None where none did."""
        return next((attempt for attempt in reversed(self.attempts) if attempt.outcome in ("failed", "killed")), None)

    @property
    def needs_half(self) -> bool:
        """Whether memory ran out: what follows works with half as many pixels."""
        return any(attempt.out_of_memory for attempt in self.attempts)

    @property
    def may_resume(self) -> bool:
        """Whether the next attempt goes on from the segments that the last one left.

        Not if these may be what it failed of, if memory ran out (they are of another size), or if another version
        of vidfill made them.
        """
        if not self.attempts or self.vidfill != __version__ or self.attempts[-1].is_halved != self.needs_half:
            return False
        last = self.attempts[-1]
        return last.outcome in ("killed", "interrupted") or last.kind in RESUMABLE

    def has_made(self, output: str) -> bool:
        """Whether an output that is there is what the last attempt left, or may have left when it was cut off."""
        return self.output == output or (bool(self.attempts) and self.attempts[-1].outcome == "running")

    def begin(self, host: str) -> Attempt:
        """Add an attempt."""
        self.status = "open"
        attempt = Attempt(datetime.now(UTC).isoformat(timespec="milliseconds"), host=host, is_halved=self.needs_half)
        self.attempts.append(attempt)
        return attempt

    def close_cut_off(self, n_stored: int) -> None:
        """Say of an attempt that nobody saw ending that it was killed, with so many segments finished."""
        if self.attempts and self.attempts[-1].outcome == "running":
            last = self.attempts[-1]
            last.n_stored = n_stored
            last.outcome, last.kind, last.message, last.exit_code = "killed", KILLED, "the batch was killed", 1


def may_retry(attempts: Sequence[Attempt]) -> bool:
    """Whether a job gets another attempt.

    - Memory ran out: once more, at half the working set.
    - It failed twice in a row for the same reason, or `MAX_FAILURES` times: no.
    - Its worker was killed from outside: yes, but not after `MAX_KILLS` times in a row without a segment finished.
    - It was interrupted: yes.
    """
    last = attempts[-1]
    if last.outcome == "killed":
        row = []
        for attempt in reversed(attempts):
            if attempt.outcome != "killed" or attempt.n_stored != last.n_stored:
                break
            row.append(attempt)
        return len(row) < MAX_KILLS
    if last.outcome != "failed":
        return last.outcome != "done"
    if last.out_of_memory:
        return not last.is_halved
    failures = [attempt for attempt in attempts if attempt.outcome == "failed" and not attempt.out_of_memory]
    if len(failures) >= 2 and failures[-1].fails_like(failures[-2]):
        return False
    return len(failures) < MAX_FAILURES


class JobFile:
    """Where a job's state, lock, unfinished work and thumbnails are.

    Args:
        out: the folder of outputs.
        job: whose.
    """

    def __init__(self, out: Path, job: BatchJob) -> None:
        self.output = out / job.name
        self._base = out / FOLDER / job.name

    @property
    def lock(self) -> Path:
        """Held by the run that works on the job."""
        return self._beside(".lock")

    @property
    def work(self) -> Path:
        """The work folder of its removal."""
        return self._beside(".work")

    @property
    def thumbnails(self) -> tuple[Path, Path]:
        """Small pictures of one frame before and after."""
        return self._beside(".before.jpg"), self._beside(".after.jpg")

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            OSError: they cannot be made.
        """
        self._base.parent.mkdir(parents=True, exist_ok=True)
        self.output.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> JobState | None:
        """The state; None where there is none, or one that is damaged or of another version of this file."""
        try:
            fields = json.loads(self._beside(".json").read_text(encoding="utf-8"))
            if fields.pop("schema_version") != _SCHEMA_VERSION:
                return None
            attempts = [Attempt(**attempt) for attempt in fields.pop("attempts")]
            return JobState(attempts=attempts, **fields)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def write(self, state: JobState) -> None:
        """Replace the state, all or nothing, also if the machine loses its power.

        Raises:
            OutputError: the disk is full or the folder is gone.
        """
        text = json.dumps({"schema_version": _SCHEMA_VERSION, **asdict(state)}, indent=1)
        write_file(self._beside(".json"), text.encode(), sync=True)

    def output_now(self) -> str:
        """What the output that is there is known by; "" where there is none, or an empty folder."""
        try:
            if self.output.is_dir() and not any(self.output.iterdir()):
                return ""
            return fingerprint_of(self.output)
        except (InputError, OSError):
            return ""

    def _beside(self, suffix: str) -> Path:
        return self._base.with_name(self._base.name + suffix)


def made_from(job: BatchJob, settings: Mapping[str, Any]) -> dict[str, str]:
    """What the output of a job depends on, by name, without reading more than sizes and times."""
    found = {name: _named(name, value) for name, value in sorted(settings.items()) if name not in _WITHOUT_EFFECT}
    digest = hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]
    mask = "" if job.mask is None or job.mask == "alpha" else _state_of(Path(job.mask))
    return {"source": _state_of(job.source), "mask": mask, "settings": digest} | {f"--{k}": v for k, v in found.items()}


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs, in words; "" for nothing."""
    names = [name for name in sorted(before.keys() | now.keys()) if name != "settings"]
    return "; ".join(
        f"{name} was {before.get(name, 'not given')}, is {now.get(name, 'not given')}"
        for name in names
        if before.get(name) != now.get(name)
    )


def _named(name: str, value: object) -> str:
    is_file = name in ("mask", "checkpoint") and value != "alpha"
    return _state_of(Path(str(value))) if is_file else str(value)


def _state_of(path: Path) -> str:
    try:
        return fingerprint_of(path)
    except InputError as error:
        return str(error)


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "#", text)
