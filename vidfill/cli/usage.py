"""Errors in the command line itself, reported like every other: one line, one JSON object with --json, code 2."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from vidfill.cli.session import Session, Voice
from vidfill.errors import UsageError

# What Typer raises for options that it cannot read. It has no public name; BadParameter is derived from it.
_ParserError: Any = typer.BadParameter.__mro__[1]


class Commands(TyperGroup):
    """The commands; errors in their use become vidfill's own."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and exit with its code; see `typer.core.TyperGroup.main`."""
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(words, prog_name, complete_var, False, windows_expand_args, **extra)
        except _ParserError as error:
            if not standalone_mode:
                raise
            _fail(error, words)
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def _fail(error: Any, words: Sequence[str]) -> None:
    """Report a usage error. No option has been read, so --json and --debug are searched for."""
    context = error.ctx
    path = context.command_path.partition(" ")[2] if context is not None else ""
    session = Session(path, Voice(as_json="--json" in words, debug="--debug" in words, quiet=True))
    message = " ".join(str(error.format_message()).split()).rstrip(".")
    if not message:  # no arguments at all: the help has been shown
        sys.exit(error.exit_code)
    hint = f"see vidfill {path} --help".replace("  ", " ")
    try:
        session.fail(UsageError(f"{message[:1].lower()}{message[1:]}", todo=hint))
    except typer.Exit as end:
        sys.exit(end.exit_code)
