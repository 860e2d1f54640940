"""`vidfill mask`: one call of `vidfill.removal.write_masks.write_masks`."""

from __future__ import annotations

from typing import Annotated

import typer

from vidfill.cli import options as opt
from vidfill.cli import prompts as pr
from vidfill.cli.progress import ProgressMode
from vidfill.cli.session import Voice, session
from vidfill.errors import UsageError


def mask(
    source: opt.Source,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A folder of PNGs, or an .mkv; white where the object is.",
            rich_help_panel=opt.OUTPUT,
        ),
    ],
    point: pr.Points = None,
    not_point: pr.NotPoints = None,
    object_box: pr.ObjectBoxes = None,
    prompts: pr.PromptFile = None,
    tracker: pr.Tracker = pr.TrackerName.auto,
    whole: pr.Whole = None,
    allow_lost: pr.AllowLost = False,
    grow: pr.Grow = None,
    shadow: pr.Shadow = False,
    box: opt.Boxes = None,
    start: opt.Start = None,
    end: opt.End = None,
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
    """Select an object with clicks, follow it through the video and write its masks.

    Exit code 4 where it is lost, with the time, the reason and the prompt that would help.
    """
    with session("mask", Voice(as_json, progress, quiet, verbose, debug)) as run:
        given = pr.parse_prompting(
            point,
            not_point,
            object_box,
            prompts,
            tracker=tracker,
            whole=whole,
            allow_lost=allow_lost,
            grow=grow,
            shadow=shadow,
        )
        if given is None:
            raise UsageError("no prompts", expected="what is meant", todo="give --point or --object-box")
        from vidfill.removal.write_masks import write_masks

        result = write_masks(
            opt.parse_source(source),
            output,
            prompts=given,
            box=tuple(box or ()),
            start=start,
            end=end,
            model_dir=model_dir,
            device=device,
            fps=opt.parse_rate(fps),
            overwrite=overwrite,
            progress=run.progress,
        )
        run.say(
            f"wrote {result.output}: {result.n_frames} masks, {result.n_masked} of them not empty; "
            f"tracker {result.tracker}"
        )
        run.result(result=result)
