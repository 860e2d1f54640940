"""`vidfill preview`: one call of `vidfill.removal.preview.preview`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vidfill.cli import options as opt
from vidfill.cli import prompts as pr
from vidfill.cli.progress import ProgressMode
from vidfill.cli.session import Voice, session


class LayoutName(Enum):
    """What `--layout` takes: those of `removal.preview.Layout`, too heavy to import for `--help`."""

    overlay = "overlay"
    side_by_side = "side-by-side"
    stacked = "stacked"
    split = "split"


def preview(
    source: opt.Source,
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="PATH", help="A contact sheet (.png, .jpg) or a video (.mp4, ...)."),
    ],
    mask: opt.Mask = None,
    box: opt.Boxes = None,
    invert: opt.Invert = False,
    point: pr.Points = None,
    not_point: pr.NotPoints = None,
    object_box: pr.ObjectBoxes = None,
    prompts: pr.PromptFile = None,
    tracker: pr.Tracker = pr.TrackerName.auto,
    whole: pr.Whole = None,
    grow: pr.Grow = None,
    shadow: pr.Shadow = False,
    start: opt.Start = None,
    end: opt.End = None,
    result: Annotated[
        Path | None, typer.Option("--with", metavar="RESULT", help="Show the source beside this result of a removal.")
    ] = None,
    layout: Annotated[
        LayoutName | None,
        typer.Option(help="Default: side-by-side with a result, the overlay of the mask without.", show_default=False),
    ] = None,
    cells: Annotated[int, typer.Option(min=1, metavar="N", help="Frames on a sheet, spread over the video.")] = 12,
    columns: Annotated[int, typer.Option(min=0, metavar="N", help="Columns of a sheet, 0 for what fits.")] = 0,
    model_dir: opt.ModelDir = None,
    device: opt.Device = "auto",
    fps: opt.Fps = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    progress: opt.Shown = ProgressMode.auto,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> None:
    """Look at a mask before a removal, or at its result beside the source, on a contact sheet or as a video."""
    with session("preview", Voice(as_json, progress, quiet, verbose, debug)) as run:
        from vidfill.removal.preview import preview as show

        shown = show(
            opt.parse_source(source),
            output,
            mask=mask,
            box=tuple(box or ()),
            prompts=pr.parse_prompting(
                point,
                not_point,
                object_box,
                prompts,
                tracker=tracker,
                whole=whole,
                allow_lost=True,
                grow=grow,
                shadow=shadow,
            ),
            invert=invert,
            start=start,
            end=end,
            result=result,
            layout=layout.value if layout else None,
            n_cells=cells,
            columns=columns,
            model_dir=model_dir,
            device=device,
            fps=opt.parse_rate(fps),
            overwrite=overwrite,
            progress=run.progress,
        )
        height, width = shown.size
        run.say(f"wrote {shown.output}: {width}x{height}, {shown.n_frames} frames")
        run.result(result=shown)
