"""`vidfill train`: teach a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidfill.cli import options as opt
from vidfill.cli.session import Voice, session
from vidfill.models import LEARNED_NAMES
from vidfill.train import command
from vidfill.train.recipes import RECIPE_NAMES

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="What to train: " + ", ".join(LEARNED_NAMES) + ".")]
Data = Annotated[
    list[Path], typer.Option("--data", metavar="PATH", help="Videos, archives of photos or shapes, or folders of them.")
]
Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The run: checkpoint, weights, metrics, pictures.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="One of " + ", ".join(RECIPE_NAMES) + ".")]
Steps = Annotated[int, typer.Option("--steps", min=0, help="Length of the run in steps; 0 for the recipe's.")]
Minutes = Annotated[float, typer.Option("--minutes", min=0, help="Stop and save after so long; 0 for no limit.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint, if there is one.")]
Start = Annotated[
    str,
    typer.Option(
        "--start",
        metavar="FILE[,FILE]",
        help="Weights to begin with; opn-tcn needs those of opn; painter takes discriminators, too.",
    ),
]
Compile = Annotated[bool, typer.Option("--compile/--no-compile", help="torch.compile on CUDA.")]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="CPU threads; 0 leaves it to torch.")]


def train(
    model: ModelName,
    data: Data,
    out: Out,
    recipe: RecipeName = "gpu",
    steps: Steps = 0,
    minutes: Minutes = 0,
    resume: Resume = False,
    start: Start = "",
    compile_layers: Compile = True,
    device: DeviceName = "auto",
    threads: Threads = 0,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> None:
    """Train a network from real clips and from moving scenes made of photos.

    Ctrl-C, SIGTERM and --minutes stop it after the step at hand; --resume goes on. The folder of the run holds the
    averaged weights (MODEL.safetensors, for --checkpoint), metrics.jsonl, curves and sample sheets.
    """
    # Hours without a word are too many: what the library tells is shown without --verbose.
    with session("train", Voice(as_json, quiet=quiet, verbose=verbose + 1, debug=debug)) as run:
        chosen = command.sized_recipe(recipe, model=model, steps=steps, compile_layers=compile_layers)
        outcome = command.run_training(
            model, data, out, chosen,
            minutes=minutes or None, resume=resume, start=command.start_files(start), device=device, threads=threads,
        )  # fmt: skip
        weights = out / f"{model}.safetensors"
        run.result(outcome=outcome, weights=weights)
        run.say(f"{command.describe(outcome, chosen)}; weights in {weights}")
