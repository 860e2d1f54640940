"""`vidfill evaluate`: scores against a truth, drift over time, or removals to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidfill.cli.command import command
from vidfill.cli.session import Session
from vidfill.errors import UsageError
from vidfill.settings.commands import EvaluateSettings

if TYPE_CHECKING:
    from vidfill.evaluate.contenders import Contender
    from vidfill.evaluate.protocol import ProtocolName
    from vidfill.evaluate.run import Task


@command("evaluate")
def evaluate(
    run: Session,
    *,
    clips: Annotated[
        Path,
        typer.Argument(
            metavar="CLIPS",
            help="A folder with a folder for each clip: CLIPS/NAME/frames/*.jpg (or .png), in the order of their "
            "names, and CLIPS/NAME/masks/*.png, white where the clip's object is, one for each frame.",
        ),
    ],
    settings: EvaluateSettings,
) -> None:
    """Score models on clips: holes are cut into them, so that what a model fills in can be compared with the truth.

    Frames are 432x240. The table has PSNR and SSIM of the frame, PSNR inside the hole, the distance of a network's
    features inside it, warp error along the true motion (times 1000), flicker beside the untouched picture (1: as
    steady), seconds a frame, and the peak memory of each model's own process.
    """
    from vidfill.evaluate.contenders import parse_contenders
    from vidfill.evaluate.run import make_task

    if settings.drift and settings.removal:
        raise UsageError("--drift together with --removal", todo="run them one after the other")
    if settings.out and not settings.removal:
        run.resume_hint = "run the same command again with --resume to go on from there"
    weights = _checkpoints(settings.checkpoint)
    protocols: tuple[ProtocolName, ...] = ("S", "O") if settings.protocol == "both" else (settings.protocol,)
    task = make_task(
        clips,
        only=_names(settings.only),
        protocols=() if settings.removal else protocols,
        n_frames=settings.frames,
        machine=settings,
        out=settings.out,
    )
    contenders = parse_contenders(_names(settings.models), weights, settings)
    if settings.removal:
        _remove(run, task, contenders, overwrite=settings.overwrite)
    else:
        _score(run, task, contenders, protocols, settings)


def _score(
    run: Session,
    task: Task,
    contenders: list[Contender],
    protocols: tuple[ProtocolName, ...],
    settings: EvaluateSettings,
) -> None:
    mode = "drift" if settings.drift else "quality"
    from vidfill.evaluate.drift import measure_drift
    from vidfill.evaluate.features import load_features
    from vidfill.evaluate.perceptual import find_perceptual
    from vidfill.evaluate.results import RESULTS, open_results
    from vidfill.evaluate.run import evaluate as score

    results = open_results(task.out, task.settings(mode), overwrite=settings.overwrite, resume=settings.resume)
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


def _checkpoints(texts: Sequence[str]) -> dict[str, Path]:
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
