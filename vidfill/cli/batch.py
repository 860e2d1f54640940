"""`vidfill batch`: one call of `vidfill.batch.run.run_batch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidfill.cli.batch_view import batch_view
from vidfill.cli.command import command
from vidfill.cli.session import Session, printable
from vidfill.errors import BatchError
from vidfill.settings import RemovalSettings
from vidfill.settings.commands import BatchSettings
from vidfill.settings.define import OUTPUT, converted

if TYPE_CHECKING:
    from vidfill.batch.events import BatchResult


@command("batch")
def batch(
    run: Session,
    *,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="IN", help="Videos, folders of videos (with --fps also of images), globs."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the outputs go.", rich_help_panel=OUTPUT)],
    rules: BatchSettings,
    settings: RemovalSettings,
) -> None:
    """Remove objects from many videos; may be stopped, killed and run again: what is done is passed over.

    FOLDER gets the outputs, report.html and summary.json. The code is 8 if some videos failed, with a table of them.
    """
    run.resume_hint = "run the same command again to go on from there"
    from vidfill.batch.run import BatchArguments, run_batch

    with batch_view(run) as view:
        result = run_batch(inputs, out, converted(BatchArguments, rules, settings=settings, progress=view))
    _tell(run, result)


def _tell(run: Session, result: BatchResult) -> None:
    """The end of a batch: a line, and if something failed a table and the exit code."""
    n_failed, n_done = len(result.failed), len(result.jobs) - len(result.failed)
    run.say(f"{n_done} of {len(result.jobs)} videos done in {result.seconds:.1f} s; see {result.report}")
    run.say_licence(result.licence_notice)
    if not n_failed:
        run.result(result=result)
        return
    run.show(_table(result))
    error = BatchError(
        f"{n_failed} of {len(result.jobs)} videos failed",
        todo=f"mend what {result.report} says, then run the same command again with --retry-failed",
    )
    run.fail(error, result=result)


def _table(result: BatchResult) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("video", "attempts", "why", box=None, pad_edge=False)
    for job in result.failed:
        table.add_row(Text(printable(str(job.source))), str(job.n_attempts), Text(printable(job.message)))
    return table
