"""`vidfill remove`: one call of `vidfill.remove`, or of `plan_removal` for `--dry-run`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidfill.cli import options as opt
from vidfill.cli.command import command
from vidfill.cli.session import Session, invented_part
from vidfill.errors import UsageError
from vidfill.settings import ClickSettings, PromptSettings, RemoveSettings
from vidfill.settings.define import RUN, converted

if TYPE_CHECKING:
    from vidfill.removal.run import RemoveResult


@command("remove")
def remove(
    run: Session,
    *,
    source: opt.Source,
    output: opt.Output = None,
    settings: RemoveSettings,
    clicks: ClickSettings,
    tracking: PromptSettings,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing", "-n", help="Leave an output that exists as it is, with code 0.", rich_help_panel=RUN
        ),
    ] = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Take what the mask covers out of a video and fill the hole with what was behind it.

    Everything else in the file stays as it is: sound, subtitles, timing, colour, every pixel outside the mask.
    """
    run.resume_hint = "run the same command again with --resume to go on from there"
    path, prompts = opt.parse_source(source), opt.parse_prompts(clicks, tracking)
    if dry_run:
        opt.check_model(settings)
    else:
        outputs = [name for name in (output, settings.output_fill) if name is not None]
        if not outputs:
            raise UsageError("no output named", todo="name one with -o or --output-fill, or ask for --dry-run")
        present = _complete(outputs, overwrite=settings.overwrite) if skip_existing else []
        if present == outputs:
            run.say(f"{' and '.join(map(str, present))} exist{'s' if len(present) == 1 else ''}, nothing is done")
            run.result(result=None, skipped=True)
            return
        if present:
            run.say(f"{present[0]} exists and stays as it is")
            if output in present:
                output = None
            else:
                settings = replace(settings, output_fill=None)
    from vidfill.removal.request import RemoveArguments
    from vidfill.removal.run import run_plan, run_removal

    arguments = converted(RemoveArguments, settings, prompts=prompts, progress=run.progress)
    if dry_run:
        plan = run_plan(path, output, arguments)
        run.show(plan.describe())
        run.result(plan=plan)
        return
    result = run_removal(path, output, arguments)
    run.say(_summary(result))
    run.say_licence(result.licence_notice)
    run.result(result=result)


def _complete(outputs: list[str | Path], *, overwrite: bool) -> list[str | Path]:
    """Which outputs are complete: they have their names only then. An empty folder is none."""
    if overwrite:
        raise UsageError("--skip-existing together with --overwrite", todo="give one of them")
    return [name for name in outputs if name and _is_complete(Path(name))]


def _is_complete(path: Path) -> bool:
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _summary(result: RemoveResult) -> str:
    held = f", {result.n_held} damaged ones held" if result.n_held else ""
    layer = f" and the layer {result.output_fill}" if result.output_fill not in (None, result.output) else ""
    return (
        f"wrote {result.output}{layer}: {result.n_frames} frames, {result.n_filled} filled{held}"
        f"{invented_part(result.invented)}; "
        f"{result.model} on {result.device}, {sum(result.seconds.values()):.1f} s"
    )
