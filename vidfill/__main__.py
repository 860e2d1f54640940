"""`python -m vidfill` and the `vidfill` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; leaves with the exit codes of `vidfill.errors`."""
    from vidfill.cli import app
    from vidfill.cli.session import BROKEN_PIPE, mute_stdout
    from vidfill.errors import OutputError

    try:
        try:
            app(prog_name="vidfill")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        mute_stdout()
        sys.exit(BROKEN_PIPE)
    except OSError as error:  # of help and completion, which no session prints
        mute_stdout()
        sys.stderr.write(f"error: standard output cannot be written ({error.strerror})\n")
        sys.exit(OutputError.exit_code)


if __name__ == "__main__":
    main()
