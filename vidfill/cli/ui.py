"""`vidfill ui`: the page, served on this machine until Ctrl-C."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from vidfill.cli import options as opt
from vidfill.cli import prompts as pr
from vidfill.cli.session import Session, Voice, session


def ui(
    source: opt.Source,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="What the page writes; by default NAME-removed beside the source.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where clicks are kept, and read from if it exists; by default NAME.prompts.json beside the output.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = None,
    overwrite: opt.Overwrite = False,
    tracker: pr.Tracker = pr.TrackerName.auto,
    whole: pr.Whole = None,
    grow: pr.Grow = None,
    shadow: pr.Shadow = False,
    model: opt.ModelName = "auto",
    model_dir: opt.ModelDir = None,
    device: opt.Device = "auto",
    fps: opt.Fps = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="0 for one that is free.", rich_help_panel=opt.RUN)
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page.", rich_help_panel=opt.RUN)
    ] = True,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> None:
    """Click on an object in a page of your browser, see its mask, follow it, look at the fill, remove it.

    The page is served to this machine alone; its address, on stdout, holds a token that each run makes anew. Clicks
    are kept in a file that vidfill remove --prompts takes. Ctrl-C ends it.
    """
    with session("ui", Voice(quiet=quiet, verbose=verbose, debug=debug)) as run:
        from vidfill.ui.server import check_installed, serve

        check_installed()
        from vidfill.ui.project import Project
        from vidfill.ui.settings import Settings

        path = opt.parse_source(source)
        target = output if output is not None else str(_beside(path))
        file = prompts or Path(target).parent / f"{path.stem}.prompts.json"
        settings = Settings(
            source=path,
            output=target,
            prompts=file,
            fps=opt.parse_rate(fps),
            tracker=str(tracker),
            whole=whole,
            grow=grow,
            shadow=shadow,
            model=model,
            model_dir=model_dir,
            device=device,
            overwrite=overwrite,
        )
        project = Project(settings)
        for warning in project.warnings:
            run.warn(warning)
        try:
            serve(project, port=port, ready=lambda address: _show(run, address, browser=browser))
        finally:
            if file.exists():
                run.resume_hint = f"the same command opens the prompts again that are kept in {file}"


def _beside(source: Path) -> Path:
    """The output where none is named."""
    return source.with_name(f"{source.stem}-removed{source.suffix}")


def _show(run: Session, address: str, *, browser: bool) -> None:
    run.show(address)
    run.say("the page is there until Ctrl-C")
    if browser and _has_screen():
        import webbrowser

        webbrowser.open(address)


def _has_screen() -> bool:
    """Whether a browser has a screen to show itself on; without one a text browser might take the terminal."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
