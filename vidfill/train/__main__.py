"""`python -m vidfill.train`: training alone, for machines without PyAV."""

import logging
import sys

import typer

from vidfill.errors import VidfillError
from vidfill.train.command import train


def main() -> None:
    """Run the command; an error meant for the user is one line and its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    app = typer.Typer(add_completion=False)
    app.command()(train)
    try:
        app()
    except VidfillError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
