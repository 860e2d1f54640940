"""`vidfill weights`: list, verify, import, fetch; and where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from vidfill.cli import options as opt
from vidfill.cli.progress import ProgressMode
from vidfill.cli.session import Voice, session
from vidfill.errors import WeightsError

app = typer.Typer(help="The weights of the models: list, verify, import, fetch.", no_args_is_help=True)


@app.command("list")
def list_weights(model_dir: opt.ModelDir = None, as_json: opt.Json = False, debug: opt.Debug = False) -> None:
    """List the weights that are here, with their licence and what they were trained on."""
    with session("weights list", Voice(as_json, debug=debug)) as run:
        from vidfill import weights

        found = weights.list_weights(model_dir=model_dir)
        run.result(weights=found)
        table = Table(box=None)
        for column in ("model", "origin", "file", "licence", "trained on"):
            table.add_column(column, overflow="fold")
        for item in found:
            where = "needs none" if item.path is None else f"{item.path}{'' if item.is_usable else ' (missing)'}"
            table.add_row(*map(Text, (item.card.name, item.origin, where, item.card.licence, item.card.data)))
        run.show(table)


@app.command("verify")
def verify_weights(model_dir: opt.ModelDir = None, as_json: opt.Json = False, debug: opt.Debug = False) -> None:
    """Check every weight file against its manifest: length and sha256. Exit code 6 if one is missing or differs."""
    with session("weights verify", Voice(as_json, debug=debug)) as run:
        from vidfill import weights

        verdicts = weights.verify_weights(model_dir=model_dir)
        problems = [verdict.problem for verdict in verdicts if verdict.problem]
        if problems:
            raise WeightsError("; ".join(problems), todo="import or fetch them again")
        run.result(verdicts=verdicts)
        for verdict in verdicts:
            run.show(
                f"{verdict.installed.card.name}: {'sha256 is right' if verdict.installed.path else 'needs no file'}"
            )


@app.command("import")
def import_weights(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Which network it is for: vinet, opn, then opn-tcn.")],
    checkpoint: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint as its authors publish it.")],
    model_dir: opt.ModelDir = None,
    as_json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Convert an authors' checkpoint and keep it, so that --model finds it. Runs no code that the file may hold."""
    with session("weights import", Voice(as_json, debug=debug)) as run:
        from vidfill.models import import_checkpoint

        installed = import_checkpoint(model, checkpoint, model_dir=model_dir)
        run.result(installed=installed)
        run.say(f"imported {checkpoint} as {installed.path}; use it with --model {model}")


@app.command("fetch")
def fetch_weights(
    name: Annotated[str, typer.Argument(metavar="NAME", help="sam_vit_b, sam_vit_l or sam_vit_h.")],
    model_dir: opt.ModelDir = None,
    offline: Annotated[
        bool, typer.Option("--offline", envvar="VIDFILL_OFFLINE", help="Use no network: only what is here already.")
    ] = False,
    as_json: opt.Json = False,
    progress: opt.Shown = ProgressMode.auto,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> None:
    """Download a published checkpoint, after saying its size and licence. Nothing else in vidfill ever downloads."""
    with session("weights fetch", Voice(as_json, progress, quiet, verbose, debug)) as run:
        from vidfill.progress import Progress
        from vidfill.weights.fetch import fetch, published

        item = published(name)
        run.resume_hint = "run the same command again to go on from there"
        run.say(item.describe())
        installed = fetch(
            item,
            model_dir=model_dir,
            offline=offline,
            progress=lambda done, total: run.progress(Progress("fetch", done // 10**6, -(-total // 10**6))),
        )
        run.result(published=item, installed=installed)
        run.say(f"{installed.path}: sha256 is right")


@app.command("path")
def show_path(model_dir: opt.ModelDir = None, as_json: opt.Json = False, debug: opt.Debug = False) -> None:
    """Print the folder of your own weights."""
    with session("weights path", Voice(as_json, debug=debug)) as run:
        from vidfill import weights

        folder = model_dir or weights.default_model_dir()
        run.result(path=folder)
        run.show(str(folder))
