"""`vidfill remove`: one call of `vidfill.removal.run.remove`, or of `plan_removal` for `--dry-run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidfill.cli import options as opt
from vidfill.cli import prompts as pr
from vidfill.cli.progress import ProgressMode
from vidfill.cli.session import Session, Voice, invented_part, session
from vidfill.errors import UsageError

if TYPE_CHECKING:
    from vidfill.removal.run import RemoveResult


def remove(
    source: opt.Source,
    mask: opt.Mask = None,
    box: opt.Boxes = None,
    invert: opt.Invert = False,
    point: pr.Points = None,
    not_point: pr.NotPoints = None,
    object_box: pr.ObjectBoxes = None,
    prompts: pr.PromptFile = None,
    tracker: pr.Tracker = pr.TrackerName.auto,
    whole: pr.Whole = None,
    allow_lost: pr.AllowLost = False,
    grow: pr.Grow = None,
    shadow: pr.Shadow = False,
    start: opt.Start = None,
    end: opt.End = None,
    dilate: opt.Dilate = None,
    feather: opt.Feather = None,
    model: opt.ModelName = "auto",
    checkpoint: opt.Checkpoint = None,
    model_dir: opt.ModelDir = None,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    threads: opt.Threads = 0,
    working_size: opt.WorkingSize = None,
    output: opt.Output = None,
    output_fill: opt.OutputFill = None,
    overwrite: opt.Overwrite = False,
    codec: opt.Codec = "auto",
    crf: opt.Crf = None,
    preset: opt.Preset = None,
    encoder_option: opt.EncoderOptions = None,
    blend: opt.Blend = True,
    grain: opt.Grain = True,
    fps: opt.Fps = None,
    strict: opt.Strict = False,
    skip_existing: opt.SkipExisting = False,
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
    """Take what the mask covers out of a video and fill the hole with what was behind it.

    Everything else in the file stays as it is: sound, subtitles, timing, colour, every pixel outside the mask.
    """
    with session("remove", Voice(as_json, progress, quiet, verbose, debug)) as run:
        run.resume_hint = "run the same command again with --resume to go on from there"
        wanted: dict[str, Any] = {
            "output_fill": output_fill,
            "mask": mask,
            "box": tuple(box or ()),
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
        if dry_run:
            opt.check_model(model, checkpoint, model_dir, device=device, precision=precision, threads=threads)
            _plan(run, path, output, wanted | {"model_dir": model_dir, "device": device})
            return
        outputs = [name for name in (output, output_fill) if name is not None]
        if not outputs:
            raise UsageError("no output named", todo="name one with -o or --output-fill, or ask for --dry-run")
        there = _those_there(outputs, overwrite=overwrite) if skip_existing else []
        if there == outputs:
            run.say(f"{' and '.join(there)} exist{'s' if len(there) == 1 else ''}, nothing is done")
            run.result(result=None, skipped=True)
            return
        if there:
            run.say(f"{there[0]} exists and stays as it is")
            output, wanted["output_fill"] = (None if name in there else name for name in (output, output_fill))
        from vidfill.removal.run import remove as remove_from

        result = remove_from(
            path,
            output,
            model=model,
            checkpoint=checkpoint,
            model_dir=model_dir,
            device=device,
            precision=precision,
            threads=threads,
            blend=blend,
            grain=grain,
            resume=resume,
            work_dir=work_dir,
            keep_work=keep_work,
            **wanted,
        )
        run.say(_summary(result))
        run.say_licence(result.licence_notice)
        run.result(result=result)


def _plan(run: Session, source: Path, output: str | None, wanted: dict[str, Any]) -> None:
    from vidfill.removal.run import plan_removal

    plan = plan_removal(source, output=output, **wanted)
    run.show(plan.describe())
    run.result(plan=plan)


def _those_there(outputs: list[str], *, overwrite: bool) -> list[str]:
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
