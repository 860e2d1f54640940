"""`vidfill evaluate`: scores against a truth, drift over time, or removals to look at."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidfill.cli import options as opt
from vidfill.cli.progress import ProgressMode
from vidfill.cli.session import Session, Voice, session
from vidfill.errors import UsageError

if TYPE_CHECKING:
    from vidfill.evaluate.contenders import Contender
    from vidfill.evaluate.protocol import Protocol
    from vidfill.evaluate.run import Task

WHAT = "What is scored"


class ProtocolName(StrEnum):
    """What `--protocol` takes."""

    S = "S"
    O = "O"  # noqa: E741 - the protocol's own name
    both = "both"


def evaluate(
    clips: Annotated[
        Path,
        typer.Argument(
            metavar="CLIPS",
            help="A folder with a folder for each clip: CLIPS/NAME/frames/*.jpg (or .png), in the order of their "
            "names, and CLIPS/NAME/masks/*.png, white where the clip's object is, one for each frame.",
        ),
    ],
    protocol: Annotated[
        ProtocolName,
        typer.Option(
            help="S cuts one hole that stays where it is, O the moving silhouette of another clip's object.",
            rich_help_panel=WHAT,
        ),
    ] = ProtocolName.both,
    models: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="telea and ns (OpenCV, frame by frame), models, auto, or names from --checkpoint. "
            "NAME-without-memory, NAME-without-feedback and NAME-without-flow switch a part off.",
            rich_help_panel=opt.MODEL,
        ),
    ] = "telea,ns,auto",
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Weights that are not installed, by a name for --models; may be repeated.",
            rich_help_panel=opt.MODEL,
        ),
    ] = None,
    model_dir: opt.ModelDir = None,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    threads: opt.Threads = 0,
    only: Annotated[
        str | None, typer.Option(metavar="CLIP,...", help="These clips alone.", rich_help_panel=WHAT)
    ] = None,
    frames: Annotated[
        int, typer.Option(min=1, metavar="N", help="The first so many frames of each clip.", rich_help_panel=WHAT)
    ] = 50,
    drift: Annotated[
        bool,
        typer.Option(
            "--drift", help="Play each clip to and fro for 301 frames: do fills get worse?", rich_help_panel=WHAT
        ),
    ] = False,
    removal: Annotated[
        bool,
        typer.Option(
            "--removal",
            help="Remove the clips' own objects, without a truth: sheets, slow videos and measures in --out.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="results.json and results.md, written after each clip, and a contact sheet for each clip.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = None,
    overwrite: opt.Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Keep the scores that --out holds and add what is missing.", rich_help_panel=opt.OUTPUT
        ),
    ] = False,
    as_json: opt.Json = False,
    progress: opt.Shown = ProgressMode.auto,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> None:
    """Score models on clips: holes are cut into them, so that what a model fills in can be compared with the truth.

    Frames are 432x240. The table has PSNR and SSIM of the frame, PSNR inside the hole, the distance of a network's
    features inside it, warp error along the true motion (times 1000), flicker beside the untouched picture (1: as
    steady), seconds a frame, and the peak memory of each model's own process.
    """
    with session("evaluate", Voice(as_json, progress, quiet, verbose, debug)) as run:
        from vidfill.evaluate.contenders import Machine, parse_contenders
        from vidfill.evaluate.run import make_task

        if drift and removal:
            raise UsageError("--drift together with --removal", todo="run them one after the other")
        run.resume_hint = "run the same command again with --resume to go on from there" if out and not removal else ""
        machine = Machine(device, precision, threads, model_dir)
        weights = _checkpoints(checkpoint or [])
        protocols = _protocols(protocol)
        task = make_task(
            clips,
            only=_names(only),
            protocols=() if removal else protocols,
            n_frames=frames,
            machine=machine,
            out=out,
        )
        contenders = parse_contenders(_names(models), weights, machine)
        if removal:
            _remove(run, task, contenders, overwrite=overwrite)
        else:
            mode = "drift" if drift else "quality"
            _score(run, task, contenders, protocols, mode=mode, overwrite=overwrite, resume=resume)


def _score(
    run: Session,
    task: Task,
    contenders: list[Contender],
    protocols: tuple[Protocol, ...],
    *,
    mode: str,
    overwrite: bool,
    resume: bool,
) -> None:
    from vidfill.evaluate.drift import measure_drift
    from vidfill.evaluate.features import load_features
    from vidfill.evaluate.perceptual import find_perceptual
    from vidfill.evaluate.results import RESULTS, open_results
    from vidfill.evaluate.run import evaluate as score

    results = open_results(task.out, task.settings(mode), overwrite=overwrite, resume=resume)
    left_out: list[str] = []
    try:
        if mode == "drift":
            measure_drift(task, contenders, protocols, results, progress=run.progress)
        else:
            perceptual, left_out = find_perceptual(task.machine.model_dir)
            network = load_features()
            score(task, contenders, protocols, results, network=network, perceptual=perceptual, progress=run.progress)
    finally:  # what was done before an interruption is worth showing
        run.close()
        if results.scores:
            run.show(results.markdown())
    for line in left_out:
        run.say(line)
    if task.out is not None:
        run.say(f"wrote {task.out / RESULTS}; a table {'and sheets lie' if mode == 'quality' else 'lies'} beside it")
    run.result(result=results.as_json(), left_out=left_out)


def _remove(run: Session, task: Task, contenders: list[Contender], *, overwrite: bool) -> None:
    from vidfill.evaluate.features import load_features
    from vidfill.evaluate.removal import remove_objects
    from vidfill.evaluate.results import open_results

    results = open_results(None, task.settings("removal"), overwrite=overwrite, resume=False)
    left_out: list[str] = []
    try:
        network = load_features()
    except UsageError as error:  # pictures and the other measures need no extra
        network, left_out = None, [f"measures of features are left out: {error}"]
    written = remove_objects(task, contenders, results, network=network, overwrite=overwrite, progress=run.progress)
    run.close()
    run.show(results.markdown())
    for line in left_out:
        run.say(line)
    run.say(f"wrote {len(written)} files: {written[0]}, ...")
    run.result(written=written, result=results.as_json(), left_out=left_out)


def _protocols(name: ProtocolName) -> tuple[Protocol, ...]:
    chosen: dict[ProtocolName, tuple[Protocol, ...]] = {ProtocolName.S: ("S",), ProtocolName.O: ("O",)}
    return chosen.get(name, ("S", "O"))


def _checkpoints(texts: list[str]) -> dict[str, Path]:
    pairs = [text.partition("=") for text in texts]
    for text, (name, _, file) in zip(texts, pairs, strict=True):
        if not name or not file:
            raise UsageError(
                f"--checkpoint {text!r}",
                expected="NAME=FILE",
                todo="write for example --checkpoint mine=vinet.safetensors",
            )
    return {name: Path(file) for name, _, file in pairs}


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]
