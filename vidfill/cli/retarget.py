"""`vidfill retarget`: one call of `vidfill.retarget.run.retarget`, or of `plan_retarget` for `--dry-run`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from vidfill.cli import options as opt
from vidfill.cli import prompts as pr
from vidfill.cli.progress import ProgressMode
from vidfill.cli.session import Voice, invented_part, session
from vidfill.errors import UsageError

SHAPE = "New shape"


class AnchorName(Enum):
    """What `--anchor` takes: the values of `vidfill.retarget.layout.Anchor`, which is too heavy for `--help`."""

    bottom = "bottom"
    center = "center"
    top = "top"
    left = "left"
    right = "right"


def retarget(
    source: opt.Source,
    width: Annotated[
        int | None, typer.Option(metavar="PX", help="Of the output; the height stays.", rich_help_panel=SHAPE)
    ] = None,
    height: Annotated[
        int | None, typer.Option(metavar="PX", help="Of the output; the width stays.", rich_help_panel=SHAPE)
    ] = None,
    aspect: Annotated[
        str | None,
        typer.Option(
            metavar="W:H",
            help="Such as 9:16, with --width or --height, or alone: the picture then gets smaller, never larger.",
            rich_help_panel=SHAPE,
        ),
    ] = None,
    object_scale: Annotated[
        float,
        typer.Option(
            metavar="X",
            help="Times the size that objects get by themselves; never larger than fits.",
            rich_help_panel=SHAPE,
        ),
    ] = 1.0,
    anchor: Annotated[
        AnchorName,
        typer.Option(help="The point of an object that stays at its proportional place.", rich_help_panel=SHAPE),
    ] = AnchorName.bottom,
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",
            "-m",
            metavar="PATH",
            help="What keeps its shape, white on black: a folder of images (one a frame), one image for all frames, "
            "or a video.",
            rich_help_panel=opt.MASKS,
        ),
    ] = None,
    point: pr.Points = None,
    not_point: pr.NotPoints = None,
    object_box: pr.ObjectBoxes = None,
    prompts: pr.PromptFile = None,
    tracker: pr.Tracker = pr.TrackerName.auto,
    whole: pr.Whole = None,
    allow_lost: pr.AllowLost = False,
    grow: pr.Grow = None,
    shadow: pr.Shadow = False,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y,W,H[@START-END]",
            help="A rectangle that keeps its shape, in pixels; may be given several times. Times are seconds (12.5), "
            "clock times (1:02.5) or frames (#120).",
            rich_help_panel=opt.MASKS,
        ),
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="Take what is black in the mask instead.", rich_help_panel=opt.MASKS)
    ] = False,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="No mask before this.", rich_help_panel=opt.MASKS)
    ] = None,
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="No mask from here on.", rich_help_panel=opt.MASKS)
    ] = None,
    dilate: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="PX",
            help="Fill the background so far beyond the mask; by default as `remove` does.",
            rich_help_panel=opt.MASKS,
        ),
    ] = None,
    feather: Annotated[
        int,
        typer.Option(min=0, metavar="PX", help="Soft rim of the objects, outside the mask.", rich_help_panel=opt.MASKS),
    ] = 2,
    model: opt.ModelName = "auto",
    checkpoint: opt.Checkpoint = None,
    model_dir: opt.ModelDir = None,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    threads: opt.Threads = 0,
    working_size: opt.WorkingSize = None,
    output: opt.Output = None,
    overwrite: opt.Overwrite = False,
    codec: opt.Codec = "auto",
    crf: opt.Crf = None,
    preset: opt.Preset = None,
    encoder_option: opt.EncoderOptions = None,
    blend: opt.Blend = True,
    grain: opt.Grain = True,
    fps: opt.Fps = None,
    strict: opt.Strict = False,
    dry_run: opt.DryRun = False,
    resume: opt.Resume = False,
    work_dir: opt.WorkDir = None,
    keep_work: opt.KeepWork = False,
    as_json: opt.Json = False,
    progress: opt.Shown = ProgressMode.auto,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> None:
    """Give a video another size or aspect ratio without squeezing what the mask covers.

    The objects are removed, the clean picture is resized as a whole, and the objects are put back in their own shape.
    """
    with session("retarget", Voice(as_json, progress, quiet, verbose, debug)) as run:
        run.resume_hint = "run the same command again with --resume to go on from there"
        wanted: dict[str, Any] = {
            "width": width,
            "height": height,
            "aspect": aspect,
            "object_scale": object_scale,
            "anchor": anchor.value,
            "mask": mask,
            "prompts": pr.parse_prompting(
                point,
                not_point,
                object_box,
                prompts,
                tracker=tracker,
                whole=whole,
                allow_lost=allow_lost,
                grow=grow,
                shadow=shadow,
            ),
            "box": tuple(box or ()),
            "invert": invert,
            "start": start,
            "end": end,
            "dilate": dilate,
            "feather": feather,
            "working_size": working_size,
            "codec": codec,
            "crf": crf,
            "preset": preset,
            "encoder_options": opt.parse_pairs(encoder_option or ()),
            "fps": opt.parse_rate(fps),
            "strict": strict,
            "overwrite": overwrite,
            "model_dir": model_dir,
            "device": device,
            "progress": run.progress,
        }
        path = opt.parse_source(source)
        from vidfill.retarget.run import describe_objects, plan_retarget
        from vidfill.retarget.run import retarget as retarget_to

        if dry_run:
            opt.check_model(model, checkpoint, model_dir, device=device, precision=precision, threads=threads)
            plan = plan_retarget(path, output=output, **wanted)
            run.show(plan.describe())
            run.result(plan=plan)
            return
        if output is None:
            raise UsageError("no output named", todo="name one with -o, or ask for --dry-run")
        result = retarget_to(
            path,
            output,
            model=model,
            checkpoint=checkpoint,
            precision=precision,
            threads=threads,
            blend=blend,
            grain=grain,
            resume=resume,
            work_dir=work_dir,
            keep_work=keep_work,
            **wanted,
        )
        shown = describe_objects(result.width, result.height, result.n_objects, result.scale)
        run.say(
            f"wrote {result.output}: {shown}, {result.n_frames} frames, {result.n_filled} filled"
            f"{invented_part(result.invented)}; "
            f"{result.model} on {result.device}, {sum(result.seconds.values()):.1f} s"
        )
        run.say_licence(result.licence_notice)
        run.result(result=result)
