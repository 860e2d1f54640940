"""`vidfill weights`: list, verify, import, fetch; and where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from vidfill.cli.command import command
from vidfill.cli.session import Session
from vidfill.errors import WeightsError
from vidfill.settings import WeightsSettings

app = typer.Typer(help="The weights of the models: list, verify, import, fetch.", no_args_is_help=True)
_BRIEF = ("as_json", "debug")


@app.command("list")
@command("weights list", voice=_BRIEF)
def list_weights(run: Session, *, settings: WeightsSettings) -> None:
    """List the weights that are here, with their licence and what they were trained on."""
    from vidfill import weights

    found = weights.list_weights(model_dir=settings.model_dir)
    run.result(weights=found)
    table = Table(box=None)
    for column in ("model", "origin", "file", "licence", "trained on"):
        table.add_column(column, overflow="fold")
    for item in found:
        where = "needs none" if item.path is None else f"{item.path}{'' if item.is_usable else ' (missing)'}"
        table.add_row(*map(Text, (item.card.name, item.origin, where, item.card.licence, item.card.data)))
    run.show(table)


@app.command("verify")
@command("weights verify", voice=_BRIEF)
def verify_weights(run: Session, *, settings: WeightsSettings) -> None:
    """Check every weight file against its manifest: length and sha256. Exit code 6 if one is missing or differs."""
    from vidfill import weights

    verdicts = weights.verify_weights(model_dir=settings.model_dir)
    problems = [verdict.problem for verdict in verdicts if verdict.problem]
    if problems:
        raise WeightsError("; ".join(problems), todo="import or fetch them again")
    run.result(verdicts=verdicts)
    for verdict in verdicts:
        run.show(f"{verdict.installed.card.name}: {'sha256 is right' if verdict.installed.path else 'needs no file'}")


@app.command("import")
@command("weights import", voice=_BRIEF)
def import_weights(
    run: Session,
    *,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Which network it is for: vinet, opn, then opn-tcn.")],
    checkpoint: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint as its authors publish it.")],
    settings: WeightsSettings,
) -> None:
    """Convert an authors' checkpoint and keep it, so that --model finds it. Runs no code that the file may hold."""
    from vidfill.models import import_checkpoint

    installed = import_checkpoint(model, checkpoint, model_dir=settings.model_dir)
    run.result(installed=installed)
    run.say(f"imported {checkpoint} as {installed.path}; use it with --model {model}")


@app.command("fetch")
@command("weights fetch")
def fetch_weights(
    run: Session,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="sam_vit_b, sam_vit_l or sam_vit_h.")],
    settings: WeightsSettings,
    offline: Annotated[
        bool, typer.Option("--offline", envvar="VIDFILL_OFFLINE", help="Use no network: only what is here already.")
    ] = False,
) -> None:
    """Download a published checkpoint, after saying its size and licence. Nothing else in vidfill ever downloads."""
    from vidfill.progress import Progress
    from vidfill.weights.fetch import fetch, published

    item = published(name)
    run.resume_hint = "run the same command again to go on from there"
    run.say(item.describe())
    installed = fetch(
        item,
        model_dir=settings.model_dir,
        offline=offline,
        progress=lambda done, total: run.progress(Progress("fetch", done // 10**6, -(-total // 10**6))),
    )
    run.result(published=item, installed=installed)
    run.say(f"{installed.path}: sha256 is right")


@app.command("path")
@command("weights path", voice=_BRIEF)
def show_path(run: Session, *, settings: WeightsSettings) -> None:
    """Print the folder of your own weights."""
    from vidfill import weights

    folder = settings.model_dir or weights.default_model_dir()
    run.result(path=folder)
    run.show(str(folder))
