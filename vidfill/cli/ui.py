"""`vidfill ui`: the page, served on this machine until Ctrl-C."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from vidfill.cli import options as opt
from vidfill.cli.command import command
from vidfill.cli.session import Session
from vidfill.settings.commands import UiSettings
from vidfill.settings.define import OUTPUT


@command("ui", voice=("quiet", "verbose", "debug"))
def ui(
    run: Session,
    *,
    source: opt.Source,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="What the page writes; by default NAME-removed beside the source.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    settings: UiSettings,
) -> None:
    """Click on an object in a page of your browser, see its mask, follow it, look at the fill, remove it.

    The page is served to this machine alone; its address, on stdout, holds a token that each run makes anew. Clicks
    are kept in a file that vidfill remove --prompts takes. Ctrl-C ends it.
    """
    from vidfill.ui.server import check_installed, serve

    check_installed()
    from vidfill.ui.project import Project

    path = opt.parse_source(source)
    project = Project(path, output if output is not None else str(_beside(path)), settings)
    for warning in project.warnings:
        run.warn(warning)
    try:
        serve(project, port=settings.port, ready=lambda address: _show(run, address, browser=settings.browser))
    finally:
        if project.prompts_file.exists():
            run.resume_hint = f"the same command opens the prompts again that are kept in {project.prompts_file}"


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
