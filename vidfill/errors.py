"""The errors that vidfill raises on purpose, each with the exit code that the command line gives it.

An error message is one line: what was found, what was expected, what to do.
"""

from __future__ import annotations

from typing import ClassVar


class VidfillError(Exception):
    """Base of all errors raised on purpose; on its own it means a fault inside vidfill.

    Args:
        found: what was found, as a phrase without a final stop ("48 masks for 50 frames").
        expected: what was expected instead, as a phrase; may be left out where `found` says it all.
        todo: what the user can do about it, as a sentence in the imperative without a final stop.

    Example:
        >>> str(MaskError("48 masks", expected="50, one for each frame", todo="add the missing ones"))
        '48 masks; expected 50, one for each frame. Add the missing ones.'
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, found: str, *, expected: str = "", todo: str = "") -> None:
        self.found = found
        self.expected = expected
        self.todo = todo
        text = found + (f"; expected {expected}" if expected else "")
        if todo:
            text = f"{text}. {todo[0].upper()}{todo[1:]}."
        super().__init__(text)


class UsageError(VidfillError):
    """Options that contradict each other or a value that no option takes."""

    exit_code = 2


class InputError(VidfillError):
    """The source cannot be read, is not a video, or is damaged where `strict` forbids it."""

    exit_code = 3


class MaskError(VidfillError):
    """Masks of the wrong count, size or kind, masks that are empty everywhere, a lost track."""

    exit_code = 4


class OutputError(VidfillError):
    """The output exists, cannot be written, does not fit on the disk, or cannot hold what was asked."""

    exit_code = 5


class BusyError(OutputError):
    """Another run is working on the same output; nothing is wrong otherwise."""


class WeightsError(VidfillError):
    """Weights that are missing, do not match their sha256, or do not fit their network."""

    exit_code = 6


class DeviceError(VidfillError):
    """A device that is not there, or whose memory is not enough even at half the working set."""

    exit_code = 7


class OutOfMemoryError(DeviceError):
    """Memory was not enough, even at half the working set."""


class BatchError(VidfillError):
    """A batch that finished with failures."""

    exit_code = 8


class Interrupted(VidfillError):  # noqa: N818 - not a fault, the user's wish
    """SIGINT or SIGTERM arrived; what was done is in the work folder.

    Args:
        signal_number: 2 or 15; the exit code is 128 more.
    """

    def __init__(self, signal_number: int, *, todo: str = "") -> None:
        super().__init__(
            "stopped by " + {2: "Ctrl-C", 15: "SIGTERM"}.get(signal_number, f"signal {signal_number}"), todo=todo
        )
        self.exit_code = 128 + signal_number  # type: ignore[misc]
