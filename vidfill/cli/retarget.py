"""`vidfill retarget`: one call of `vidfill.retarget`, or of `plan_retarget` for `--dry-run`."""

from __future__ import annotations

from vidfill.cli import options as opt
from vidfill.cli.command import command
from vidfill.cli.session import Session, invented_part
from vidfill.errors import UsageError
from vidfill.settings import ClickSettings, PromptSettings
from vidfill.settings.commands import RetargetSettings
from vidfill.settings.define import converted


@command("retarget")
def retarget(
    run: Session,
    *,
    source: opt.Source,
    output: opt.Output = None,
    settings: RetargetSettings,
    clicks: ClickSettings,
    tracking: PromptSettings,
    dry_run: opt.DryRun = False,
) -> None:
    """Give a video another size or aspect ratio without squeezing what the mask covers.

    The objects are removed, the clean picture is resized as a whole, and the objects are put back in their own shape.
    """
    run.resume_hint = "run the same command again with --resume to go on from there"
    from vidfill.retarget.run import RetargetArguments, describe_objects, run_plan, run_retarget

    prompts = opt.parse_prompts(clicks, tracking)
    arguments = converted(RetargetArguments, settings, prompts=prompts, progress=run.progress)
    path = opt.parse_source(source)
    if dry_run:
        opt.check_model(settings)
        plan = run_plan(path, output, arguments)
        run.show(plan.describe())
        run.result(plan=plan)
        return
    if output is None:
        raise UsageError("no output named", todo="name one with -o, or ask for --dry-run")
    result = run_retarget(path, output, arguments)
    shown = describe_objects(result.width, result.height, result.n_objects, result.scale)
    run.say(
        f"wrote {result.output}: {shown}, {result.n_frames} frames, {result.n_filled} filled"
        f"{invented_part(result.invented)}; "
        f"{result.model} on {result.device}, {sum(result.seconds.values()):.1f} s"
    )
    run.say_licence(result.licence_notice)
    run.result(result=result)
