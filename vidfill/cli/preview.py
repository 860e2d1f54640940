"""`vidfill preview`: one call of `vidfill.removal.preview.preview`."""

from __future__ import annotations

from typing import Annotated

import typer

from vidfill.cli import options as opt
from vidfill.cli.command import command
from vidfill.cli.session import Session
from vidfill.settings import ClickSettings, TrackSettings
from vidfill.settings.commands import PreviewSettings
from vidfill.settings.define import converted


@command("preview")
def preview(
    run: Session,
    *,
    source: opt.Source,
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="PATH", help="A contact sheet (.png, .jpg) or a video (.mp4, ...)."),
    ],
    settings: PreviewSettings,
    clicks: ClickSettings,
    tracking: TrackSettings,
) -> None:
    """Look at a mask before a removal, or at its result beside the source, on a contact sheet or as a video."""
    from vidfill.removal.preview import PreviewArguments, run_preview

    prompts = opt.parse_prompts(clicks, tracking)
    arguments = converted(PreviewArguments, settings, prompts=prompts, progress=run.progress)
    result = run_preview(opt.parse_source(source), output, arguments)
    height, width = result.size
    run.say(f"wrote {result.output}: {width}x{height}, {result.n_frames} frames")
    run.result(result=result)
