"""`vidfill remove`: one call of `vidfill.pipeline.remove`, or of `plan_removal` for `--dry-run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidfill.cli import options as opt
from vidfill.cli.progress import ProgressMode
from vidfill.cli.session import Session, Voice, session
from vidfill.errors import UsageError

if TYPE_CHECKING:
    from vidfill.adapt import Adaptation
    from vidfill.pipeline import RemoveResult


def remove(
    source: opt.Source,
    mask: opt.Mask = None,
    box: opt.Boxes = None,
    invert: opt.Invert = False,
    start: opt.Start = None,
    end: opt.End = None,
    dilate: opt.Dilate = 4,
    feather: Annotated[
        int,
        typer.Option(min=0, metavar="PX", help="Soft rim around the grown mask.", rich_help_panel=opt.MASKS),
    ] = 4,
    model: Annotated[
        str,
        typer.Option(metavar="NAME", help='See "vidfill info"; auto is the best there is.', rich_help_panel=opt.MODEL),
    ] = "auto",
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights of your own.", rich_help_panel=opt.MODEL)
    ] = None,
    model_dir: opt.ModelDir = None,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    threads: opt.Threads = 0,
    working_size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH|native",
            help="How many pixels the model works on; the crop keeps its own shape. Default as many as 432x240.",
            rich_help_panel=opt.MODEL,
        ),
    ] = None,
    adapt: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            help="First teach the network this very clip for so long, on holes cut beside the real one; dropped if "
            "holes held out of it are filled no better.",
            rich_help_panel=opt.MODEL,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A video, or a folder of PNGs if it ends in /.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = None,
    overwrite: opt.Overwrite = False,
    codec: Annotated[
        str,
        typer.Option(
            help="auto stays in the source's codec; else h264, hevc, av1, vp9, prores, ffv1 or an encoder's name.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = "auto",
    crf: Annotated[
        float | None,
        typer.Option(help="Quality, lower is better; default looks like the source.", rich_help_panel=opt.OUTPUT),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Speed against size, in the encoder's words.", rich_help_panel=opt.OUTPUT)
    ] = None,
    encoder_option: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder-option",
            "-e",
            metavar="KEY=VALUE",
            help="Any option of the encoder; may be repeated.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = None,
    blend: Annotated[
        bool, typer.Option(help="Level the fill's brightness to what is around it.", rich_help_panel=opt.OUTPUT)
    ] = True,
    grain: Annotated[
        bool, typer.Option(help="Give the fill the grain of what is around it.", rich_help_panel=opt.OUTPUT)
    ] = True,
    fps: opt.Fps = None,
    strict: Annotated[
        bool, typer.Option(help="Fail on damaged frames instead of holding the last good one.", rich_help_panel=opt.RUN)
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.", rich_help_panel=opt.RUN)
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted run stopped.", rich_help_panel=opt.RUN)
    ] = False,
    work_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where finished parts are kept for --resume.", rich_help_panel=opt.RUN),
    ] = None,
    keep_work: Annotated[
        bool, typer.Option("--keep-work", help="Keep them when all is done, too.", rich_help_panel=opt.RUN)
    ] = False,
    as_json: opt.Json = False,
    progress: opt.Shown = ProgressMode.auto,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> None:
    """Take what the mask covers out of a video and fill the hole with what was behind it.

    Everything else in the file stays as it is: sound, subtitles, timing, colour, every pixel outside the mask.
    """
    with session("remove", Voice(as_json, progress, quiet, verbose, debug)) as run:
        run.resume_hint = "run the same command again with --resume to go on from there"
        wanted: dict[str, Any] = {
            "mask": mask,
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
            "progress": run.progress,
        }
        path = opt.parse_source(source)
        adaptation = None if adapt is None else _adaptation(adapt, model, model_dir)
        if dry_run:
            _check_model(model, checkpoint, model_dir, (device, precision, threads))
            _plan(run, path, output, wanted)
            return
        if output is None:
            raise UsageError("no output named", todo="name one with -o, or ask for --dry-run")
        from vidfill.pipeline import remove as remove_from

        result = remove_from(
            path,
            output,
            model=model,
            checkpoint=checkpoint,
            model_dir=model_dir,
            device=device,
            precision=precision,
            threads=threads,
            adapt=adaptation,
            blend=blend,
            grain=grain,
            resume=resume,
            work_dir=work_dir,
            keep_work=keep_work,
            **wanted,
        )
        if result.adapted is not None:
            run.say(result.adapted.describe(result.model))
        run.say(_summary(result))
        run.result(result=result)


def _adaptation(minutes: float, model: str, model_dir: Path | None) -> Adaptation:
    """What is asked for, refused at once where it cannot be."""
    from vidfill.adapt import Adaptation
    from vidfill.models import resolve_model

    adaptation = Adaptation(minutes)
    adaptation.check(resolve_model(model, model_dir=model_dir))
    return adaptation


def _check_model(model: str, checkpoint: Path | None, model_dir: Path | None, machine: tuple[str, str, int]) -> None:
    """Refuse what the removal itself would refuse: a model, its weights, a device."""
    from vidfill.engine.device import EngineSettings, check_settings, choose_runtime
    from vidfill.models import load_model

    device, precision, threads = machine
    settings = EngineSettings(device=device, precision=precision, threads=threads)
    check_settings(settings)
    choose_runtime(load_model(model, checkpoint=checkpoint, model_dir=model_dir), settings)


def _plan(run: Session, source: Path, output: str | None, wanted: dict[str, Any]) -> None:
    from vidfill.pipeline import plan_removal

    plan = plan_removal(source, output=output, **wanted)
    run.show(plan.describe())
    run.result(plan=plan)


def _summary(result: RemoveResult) -> str:
    held = f", {result.n_held} damaged ones held" if result.n_held else ""
    return (
        f"wrote {result.output}: {result.n_frames} frames, {result.n_filled} filled{held}; "
        f"{result.model} on {result.device}, {sum(result.seconds.values()):.1f} s"
    )
