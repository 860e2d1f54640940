"""`vidfill mask`: one call of `vidfill.write_masks`."""

from __future__ import annotations

from typing import Annotated

import typer

from vidfill.cli import options as opt
from vidfill.cli.command import command
from vidfill.cli.session import Session
from vidfill.errors import UsageError
from vidfill.settings import ClickSettings, PromptSettings
from vidfill.settings.commands import WriteMasksSettings
from vidfill.settings.define import OUTPUT, converted


@command("mask")
def mask(
    run: Session,
    *,
    source: opt.Source,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A folder of PNGs, or an .mkv; white where the object is.",
            rich_help_panel=OUTPUT,
        ),
    ],
    clicks: ClickSettings,
    tracking: PromptSettings,
    settings: WriteMasksSettings,
) -> None:
    """Select an object with clicks, follow it through the video and write its masks.

    Exit code 4 where it is lost, with the time, the reason and the prompt that would help.
    """
    prompts = opt.parse_prompts(clicks, tracking)
    if prompts is None:
        raise UsageError("no prompts", expected="what is meant", todo="give --point or --object-box")
    from vidfill.removal.write_masks import WriteMasksArguments, run_write_masks

    arguments = converted(WriteMasksArguments, settings, prompts=prompts, progress=run.progress)
    result = run_write_masks(opt.parse_source(source), output, arguments)
    run.say(
        f"wrote {result.output}: {result.n_frames} masks, {result.n_masked} of them not empty; tracker {result.tracker}"
    )
    run.result(result=result)
