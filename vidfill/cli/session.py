"""One run of a command: its output, its warnings and its exit code.

The library raises, logs and reports; here that becomes lines on stderr, one JSON object on stdout, and an exit code.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from vidfill import __version__
from vidfill.cli.progress import ProgressMode, Reporter, Silent, make_reporter
from vidfill.errors import Interrupted, OutputError, VidfillError
from vidfill.progress import Progress
from vidfill.settings.define import SHOWN, Settings, setting

if TYPE_CHECKING:
    from rich.console import RenderableType

SCHEMA_VERSION = 1
BROKEN_PIPE = 128 + 13
_FILE_WIDTH = 240  # columns of tables on a stdout that is no terminal; no line needs more


@dataclass(frozen=True, kw_only=True)
class Voice(Settings):
    """What a command shows."""

    as_json: bool = setting(False, "One JSON object on stdout.", panel=SHOWN, flags=("--json",))
    progress: ProgressMode = setting(
        ProgressMode.auto,
        "A bar on a terminal and plain lines elsewhere (auto), either of them, JSON lines, or nothing; on stderr.",
        panel=SHOWN,
    )
    quiet: bool = setting(False, "Show errors only.", panel=SHOWN, flags=("--quiet", "-q"))
    verbose: int = setting(0, "Tell what is done; twice for more.", panel=SHOWN, flags=("--verbose", "-v"))
    debug: bool = setting(False, "Show tracebacks of errors.", panel=SHOWN, flags=("--debug",))


class Session:
    """What a command writes through.

    Attributes:
        warnings: of the library so far, each once, in order.
        resume_hint: what to do after Ctrl-C or SIGTERM, in the imperative, "" for nothing.
    """

    def __init__(self, command: str, voice: Voice) -> None:
        self.command, self.voice = command, voice
        self.warnings: list[str] = []
        self.resume_hint = ""
        self._err = Console(stderr=True, highlight=False)
        self._reporter: Reporter = Silent() if voice.quiet else make_reporter(voice.progress, self._err)

    @property
    def console(self) -> Console:
        """Standard error."""
        return self._err

    def progress(self, step: Progress) -> None:
        """Show the library's progress."""
        self._reporter(step)

    def say(self, text: str) -> None:
        """Write the last line, on stderr; nothing with --quiet or --json."""
        self._reporter.close()
        if not self.voice.quiet and not self.voice.as_json:
            self._err.print(Text(text), soft_wrap=True)

    def say_licence(self, notice: str | None) -> None:
        """Write what the weights may be used for, if something limits it."""
        if notice is not None:
            self.say(f"licence: {notice}")

    def show(self, *renderables: RenderableType) -> None:
        """Write an answer (a table, a list) as text on stdout; nothing with --json."""
        if not self.voice.as_json:
            out = _Out(highlight=False)
            if not out.is_terminal:
                out.width = _FILE_WIDTH
            with _stdout_errors():
                for renderable in renderables:
                    out.print(renderable, soft_wrap=isinstance(renderable, str))
                sys.stdout.flush()

    def result(self, **content: Any) -> None:
        """Write the JSON object of a successful run; nothing without --json."""
        if self.voice.as_json:
            self._print_json("ok", 0, content)

    def warn(self, message: str) -> None:
        """Show a warning and keep it for the JSON object; a repeated one is ignored."""
        if message in self.warnings:
            return
        self.warnings.append(message)
        if self.voice.quiet:
            return
        if self.voice.progress is ProgressMode.json:
            line = json.dumps({"event": "warning", "message": message})
            self._err.print(line, markup=False, soft_wrap=True)
        else:
            self._err.print(Text.assemble(("warning: ", "yellow"), message), soft_wrap=True)

    def note(self, message: str) -> None:
        """Show a message of --verbose."""
        self._err.print(Text(message, style="dim"), soft_wrap=True)

    def fail(self, error: VidfillError, **content: Any) -> NoReturn:
        """Write an error, with --json also an object with `content`, and exit with its code."""
        self._reporter.close()
        if self.voice.debug:
            traceback.print_exception(error)
        self._err.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        if self.voice.as_json and not isinstance(error, _StdoutError):
            self._print_json("error", error.exit_code, {"error": plain_error(error), **content})
        raise typer.Exit(error.exit_code)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._reporter.close()

    def _print_json(self, status: str, exit_code: int, content: dict[str, Any]) -> None:
        head = {"schema_version": SCHEMA_VERSION, "vidfill": __version__, "command": self.command}
        body = {"status": status, "exit_code": exit_code, **plain(content), "warnings": self.warnings}
        with _stdout_errors():
            text = json.dumps(head | body, indent=2, ensure_ascii=False) + "\n"
            # Undecodable bytes of a file's name are \udcXX, from which JSON readers get the name again.
            sys.stdout.write(text.encode(errors="backslashreplace").decode())
            sys.stdout.flush()


@contextmanager
def session(command: str, voice: Voice, *, verbose: int = 0) -> Iterator[Session]:
    """Run a command's body: its errors become one line and an exit code, its warnings lines and JSON.

    Args:
        command: its name.
        voice: its options.
        verbose: how much it writes without --verbose.

    Raises:
        typer.Exit: with the exit code, for anything but success.
    """
    run = Session(command, voice)
    try:
        with _warnings_to(run, verbose + voice.verbose), _sigterm_raises():
            yield run
    except VidfillError as error:
        run.fail(error)
    except KeyboardInterrupt as stop:
        number = signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT
        run.fail(Interrupted(int(number), todo=run.resume_hint))
    except BrokenPipeError:
        mute_stdout()
        raise typer.Exit(BROKEN_PIPE) from None
    except typer.Exit:
        raise
    except Exception as error:  # noqa: BLE001 - a bug, too, ends in one line and an exit code
        fault = VidfillError(
            f"internal error: {type(error).__name__}: {error}", todo="run it again with --debug and report what it says"
        )
        fault.__cause__ = error
        run.fail(fault)
    finally:
        run.close()


def printable(text: str) -> str:
    """Text as one line that any output takes: other characters of a file's name are written with backslashes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def invented_part(ratio: float | None) -> str:
    """The ratio of the holes that no frame shows, for the last line, after a semicolon; "" if unknown."""
    if ratio is None:
        return ""
    shown = "less than 1" if 0 < ratio < 0.005 else f"{100 * ratio:.0f}"
    return f"; {shown} % of the hole is shown by no frame and was painted"


def plain(value: Any) -> Any:
    """A value for JSON: data classes and named tuples become objects, paths and fractions text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, (PurePath, Fraction)) else value


def plain_error(error: VidfillError) -> dict[str, str]:
    """An error for JSON."""
    parts = {"found": error.found, "expected": error.expected, "todo": error.todo}
    return {"kind": type(error).__name__, "message": str(error), **parts}


class _StdoutError(OutputError):
    """Standard output cannot be written, so neither can an error."""


@contextmanager
def _stdout_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        mute_stdout()
        raise _StdoutError(
            f"standard output cannot be written ({error.strerror})", todo="send it somewhere else"
        ) from error


class _Out(Console):
    """Standard output; the run ends if its reader goes away, as with any Unix tool."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which like Ctrl-C no `except Exception` catches."""


class _ToSession(logging.Handler):
    def __init__(self, run: Session) -> None:
        super().__init__()
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        is_warning = record.levelno >= logging.WARNING
        (self._run.warn if is_warning else self._run.note)(record.getMessage())


@contextmanager
def _warnings_to(run: Session, verbose: int) -> Iterator[None]:
    """Send what the library logs to the session."""
    logger = logging.getLogger("vidfill")
    before = logger.level, logger.propagate
    handler = _ToSession(run)
    logger.addHandler(handler)
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    logger.setLevel(logging.WARNING if run.voice.quiet else levels[min(verbose, 2)])
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM end the program like Ctrl-C, so that unfinished files are removed."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread, where signals are handled
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def mute_stdout() -> None:
    """Keep the interpreter from complaining at exit about a standard output that cannot be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
