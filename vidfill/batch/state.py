"""The state of a job, in a JSON file beside the outputs: what it was made from, its attempts, its result."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from vidfill import __version__
from vidfill.batch.inputs import BatchJob
from vidfill.batch.work import Failure
from vidfill.errors import InputError
from vidfill.files.atomic import write_file
from vidfill.removal.work_folder import fingerprint_of
from vidfill.settings import RemovalSettings
from vidfill.settings.define import settings_of

FOLDER = ".vidfill"
"""Folder in the folder of outputs for job files, locks, unfinished work and thumbnails."""
MAX_FAILURES = 4
"""Failures after which a job is given up even if no two in a row were equal."""
MAX_KILLS = 10
"""Times that a worker is killed with no progress in between, after which its job is given up as the likely cause."""

KILLED = "Killed"
"""The kind of error of an attempt that was killed from outside."""
RESUMABLE = frozenset({"OutputError", "OSError", "TimeoutError", "ConnectionError"})
"""Kinds of errors after which finished segments can be kept, besides being killed."""

_SCHEMA_VERSION = 1
# Settings that do not change the output, and may differ from machine to machine.
_WITHOUT_EFFECT = frozenset({"device", "threads", "model_dir"})

AttemptOutcome = Literal["running", "done", "failed", "killed", "interrupted"]


@dataclass(slots=True)
class Attempt:
    """One try of a job.

    Attributes:
        at: when it began, UTC in ISO 8601.
        outcome: "running" until it has ended; "killed" from outside, "interrupted" by the user.
        seconds: how long it took, 0 if its end was not recorded.
        host: where the run was started.
        kind: the error's class name, "" without one.
        message: the error in one line.
        is_halved: whether it worked with half as many pixels, because memory had run out before.
        n_stored: segments that were finished when it ended.
    """

    at: str
    outcome: AttemptOutcome = "running"
    seconds: float = 0.0
    host: str = ""
    kind: str = ""
    message: str = ""
    exit_code: int = 0
    out_of_memory: bool = False
    is_halved: bool = False
    n_stored: int = 0

    @property
    def keeps_segments(self) -> bool:
        """Whether the segments that it finished can be kept."""
        return self.outcome in ("killed", "interrupted") or self.kind in RESUMABLE

    def end(self, outcome: AttemptOutcome, *, n_stored: int, seconds: float = 0.0, why: Failure | None = None) -> None:
        """Record the end; `n_stored` segments are finished."""
        self.outcome, self.n_stored, self.seconds = outcome, n_stored, seconds
        if why is not None:
            self.kind, self.message, self.exit_code = why.kind, why.message, why.exit_code
            self.out_of_memory = why.out_of_memory

    def fails_like(self, other: Attempt) -> bool:
        """Whether both failed for the same reason, ignoring numbers in the messages."""
        first, second = (re.sub(r"\d+", "#", attempt.message) for attempt in (self, other))
        return self.kind == other.kind and first == second


@dataclass(slots=True)
class JobState:
    """The content of a job's file.

    Attributes:
        source: path as given.
        made_from: what the output depends on, by name: source, mask, settings.
        status: "open" while it is worked on or waits for another attempt, "done", or "failed" if it was given up.
        attempts: since the job was last new, in order.
        output: the output's `work_folder.fingerprint_of` after the last attempt; "" for none.
        result: of the finished job: frames, model, seconds by stage, warnings.
        vidfill: version that wrote the file.
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
        """The last attempt that failed or was killed."""
        return next((attempt for attempt in reversed(self.attempts) if attempt.outcome in ("failed", "killed")), None)

    @property
    def needs_half(self) -> bool:
        """Whether memory ran out: later attempts work with half as many pixels."""
        return any(attempt.out_of_memory for attempt in self.attempts)

    @property
    def may_resume(self) -> bool:
        """Whether the next attempt keeps the segments that the last one finished.

        Not if they may be why it failed, if memory ran out (they have another size), or if another version of vidfill
        made them.
        """
        if not self.attempts or self.vidfill != __version__ or self.attempts[-1].is_halved != self.needs_half:
            return False
        return self.attempts[-1].keeps_segments

    def has_made(self, output: str) -> bool:
        """Whether an existing output is what the last attempt left, or may have left when it was cut off."""
        return self.output == output or (bool(self.attempts) and self.attempts[-1].outcome == "running")

    def begin(self, host: str) -> Attempt:
        """Add an attempt."""
        self.status = "open"
        attempt = Attempt(datetime.now(UTC).isoformat(timespec="milliseconds"), host=host, is_halved=self.needs_half)
        self.attempts.append(attempt)
        return attempt

    def close_cut_off(self, n_stored: int) -> None:
        """Record an attempt whose end was not recorded as killed, with this many segments finished."""
        if self.attempts and self.attempts[-1].outcome == "running":
            self.attempts[-1].end("killed", n_stored=n_stored, why=Failure(KILLED, "the batch was killed"))

    @property
    def may_retry(self) -> bool:
        """Whether there is another attempt after the last one.

        - Memory ran out: once more, with half as many pixels.
        - It failed twice in a row for the same reason, or `MAX_FAILURES` times: no.
        - Its worker was killed from outside: yes, except after `MAX_KILLS` times in a row with no segment finished.
        - It was interrupted: yes.
        """
        last = self.attempts[-1]
        if last.outcome == "killed":
            same = ("killed", last.n_stored)
            alike = takewhile(lambda each: (each.outcome, each.n_stored) == same, reversed(self.attempts))
            return sum(1 for _ in alike) < MAX_KILLS
        if last.outcome != "failed":
            return last.outcome != "done"
        if last.out_of_memory:
            return not last.is_halved
        failures = [each for each in self.attempts if each.outcome == "failed" and not each.out_of_memory]
        return len(failures) < MAX_FAILURES and not (len(failures) >= 2 and failures[-1].fails_like(failures[-2]))


class JobFile:
    """The files of a job.

    Args:
        out: the folder of outputs.
        job: see there.

    Attributes:
        output: what the job makes.
        lock: held by the run that works on the job.
        work: the work folder of its removal.
        thumbnails: small pictures of one frame before and after.
    """

    def __init__(self, out: Path, job: BatchJob) -> None:
        self.job, self.output = job, out / job.name
        base = str(out / FOLDER / job.name)
        self.lock, self.work = Path(f"{base}.lock"), Path(f"{base}.work")
        self.thumbnails = Path(f"{base}.before.jpg"), Path(f"{base}.after.jpg")
        self._state = Path(f"{base}.json")

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            OSError: they cannot be made.
        """
        for path in (self.lock, self.output):
            path.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> JobState | None:
        """The state; None if there is none, or it is damaged or of another version of this file."""
        try:
            fields = json.loads(self._state.read_text(encoding="utf-8"))
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
        write_file(self._state, text.encode(), sync=True)

    def output_now(self) -> str:
        """The fingerprint of the existing output; "" if there is none, or an empty folder."""
        try:
            if self.output.is_dir() and not any(self.output.iterdir()):
                return ""
            return fingerprint_of(self.output)
        except (InputError, OSError):
            return ""


def made_from(job: BatchJob, settings: RemovalSettings) -> dict[str, str]:
    """What the output of a job depends on, by name; of files only sizes and times are read."""
    given = {name: (getattr(settings, name), each.default) for name, each in settings_of(RemovalSettings).items()}
    found = {
        name: _named(name, value)
        for name, (value, default) in sorted(given.items())
        if name not in _WITHOUT_EFFECT and value not in (default, (), [], {})
    }
    digest = hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]
    mask = "" if job.mask is None or job.mask == "alpha" else _state_of(Path(job.mask))
    return {"source": _state_of(job.source), "mask": mask, "settings": digest} | {f"--{k}": v for k, v in found.items()}


def objection(state: JobState | None, now: Mapping[str, str], present: str) -> str:
    """Why an existing output may not be replaced; "" if it is what an unfinished attempt left.

    Args:
        state: of the job.
        now: what its output depends on now, from `made_from`.
        present: the fingerprint of the existing output.
    """
    if state is None:
        return "exists"
    if not state.has_made(present):
        return "was not written by this batch, or was changed since"
    if state.status != "done":
        return ""
    before = state.made_from
    names = [name for name in sorted({*before, *now}) if name != "settings" and before.get(name) != now.get(name)]
    given = (f"{name} was {before.get(name, 'not given')}, is {now.get(name, 'not given')}" for name in names)
    return f"was made otherwise: {'; '.join(given)}"


def _named(name: str, value: object) -> str:
    is_file = name in ("mask", "checkpoint") and value != "alpha"
    return _state_of(Path(str(value))) if is_file else str(value)


def _state_of(path: Path) -> str:
    try:
        return fingerprint_of(path)
    except InputError as error:
        return str(error)
