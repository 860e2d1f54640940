"""`python -m vidfill` and the `vidfill` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; leaves with the exit codes of `vidfill.errors`."""
    from vidfill.cli import app
    from vidfill.cli.session import BROKEN_PIPE, mute_stdout

    try:
        try:
            app(prog_name="vidfill")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        mute_stdout()
        sys.exit(BROKEN_PIPE)


if __name__ == "__main__":
    main()
