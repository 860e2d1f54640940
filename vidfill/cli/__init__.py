"""The command line: thin commands over the library. The only place that prints, reads the environment or exits."""

from __future__ import annotations

from typing import Annotated

import typer

from vidfill import __version__
from vidfill.cli import weights
from vidfill.cli.batch import batch
from vidfill.cli.evaluate import evaluate
from vidfill.cli.info import info
from vidfill.cli.mask import mask
from vidfill.cli.preview import preview
from vidfill.cli.remove import remove
from vidfill.cli.retarget import retarget
from vidfill.cli.train import train
from vidfill.cli.ui import ui
from vidfill.cli.usage import Commands

app = typer.Typer(
    name="vidfill",
    cls=Commands,
    help="Remove objects from video and fill the hole with what was behind them.",
    epilog="Try: vidfill remove in.mp4 --mask masks/ -o out.mp4",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001
    if wanted:
        typer.echo(f"vidfill {__version__}")
        raise typer.Exit


@app.callback()
def _vidfill(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(remove)
app.command()(retarget)
app.command()(batch)
app.command()(mask)
app.command()(preview)
app.command()(ui)
app.command()(info)
app.command()(train)
app.command()(evaluate)
app.add_typer(weights.app, name="weights")
