"""`vidfill batch`: one call of `vidfill.batch.run.batch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidfill.cli import options as opt
from vidfill.cli.batch_view import make_view
from vidfill.cli.progress import ProgressMode
from vidfill.cli.session import Session, Voice, printable, session
from vidfill.errors import BatchError

if TYPE_CHECKING:
    from vidfill.batch.events import BatchResult

BATCH = "Batch"


def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="IN", help="Videos, folders of videos (with --fps also of images), globs."),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where the outputs go.", rich_help_panel=opt.OUTPUT)
    ],
    mask_pattern: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help='Where the mask of a video is, from its own folder: "{stem}_masks", "masks/{stem}.mp4". '
            "Fields are {stem}, {ext}, {name} and {parent}.",
            rich_help_panel=opt.MASKS,
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(metavar="PATTERN", help="Name of an output, with the same fields.", rich_help_panel=opt.OUTPUT),
    ] = "{stem}_filled{ext}",
    workers: Annotated[
        int,
        typer.Option(
            "--jobs",
            "-j",
            min=0,
            max=512,
            metavar="N",
            help="So many at a time; 0 for one a GPU, or one without a GPU. On a CPU they share its threads out.",
            rich_help_panel=BATCH,
        ),
    ] = 0,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Do the I-th of N parts: for SLURM arrays.", rich_help_panel=BATCH),
    ] = None,
    split: Annotated[
        bool,
        typer.Option("--split", help="Spread each video over the workers: for long ones.", rich_help_panel=BATCH),
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="auto|ADDRESS",
            help="Work on a Ray cluster that shares the folders (pip install 'vidfill[cluster]').",
            rich_help_panel=BATCH,
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what was given up.", rich_help_panel=BATCH)
    ] = False,
    mask: opt.Mask = None,
    box: opt.Boxes = None,
    invert: opt.Invert = False,
    start: opt.Start = None,
    end: opt.End = None,
    dilate: opt.Dilate = None,
    feather: opt.Feather = None,
    model: opt.ModelName = "auto",
    checkpoint: opt.Checkpoint = None,
    model_dir: opt.ModelDir = None,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    threads: opt.Threads = 0,
    working_size: opt.WorkingSize = None,
    overwrite: opt.Overwrite = False,
    codec: opt.Codec = "auto",
    crf: opt.Crf = None,
    preset: opt.Preset = None,
    encoder_option: opt.EncoderOptions = None,
    blend: opt.Blend = True,
    grain: opt.Grain = True,
    fps: opt.Fps = None,
    strict: opt.Strict = False,
    as_json: opt.Json = False,
    progress: opt.Shown = ProgressMode.auto,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> None:
    """Remove objects from many videos; may be stopped, killed and run again: what is done is passed over.

    FOLDER gets the outputs, report.html and summary.json. The code is 8 if some videos failed, with a table of them.
    """
    with session("batch", Voice(as_json, progress, quiet, verbose, debug)) as run:
        run.resume_hint = "run the same command again to go on from there"
        settings: dict[str, Any] = {
            "mask": mask,
            "box": tuple(box or ()),
            "invert": invert,
            "start": start,
            "end": end,
            "dilate": dilate,
            "feather": feather,
            "model": model,
            "checkpoint": checkpoint,
            "model_dir": model_dir,
            "device": device,
            "precision": precision,
            "threads": threads,
            "working_size": working_size,
            "codec": codec,
            "crf": crf,
            "preset": preset,
            "encoder_options": opt.parse_pairs(encoder_option or ()),
            "blend": blend,
            "grain": grain,
            "fps": opt.parse_rate(fps),
            "strict": strict,
        }
        from vidfill.batch.run import batch as batch_of

        with make_view(run) as view:
            result = batch_of(
                inputs,
                out,
                mask_pattern=mask_pattern,
                name=name,
                settings=settings,
                n_workers=workers,
                shard=shard,
                split=split,
                cluster=cluster,
                overwrite=overwrite,
                retry_failed=retry_failed,
                progress=view,
            )
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
