"""`vidfill train`: teach a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidfill.cli.command import command
from vidfill.cli.session import Session
from vidfill.models import LEARNED_NAMES
from vidfill.settings.commands import TrainSettings
from vidfill.train import RECIPE_NAMES
from vidfill.train import command as training

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="What to train: " + ", ".join(LEARNED_NAMES) + ".")]
Data = Annotated[
    list[Path], typer.Option("--data", metavar="PATH", help="Videos, archives of photos or shapes, or folders of them.")
]
Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The run: checkpoint, weights, metrics, pictures.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="One of " + ", ".join(RECIPE_NAMES) + ".")]


@command("train", voice=("as_json", "quiet", "verbose", "debug"), verbose=1)
def train(
    run: Session,
    *,
    model: ModelName,
    data: Data,
    out: Out,
    recipe: RecipeName = "gpu",
    settings: TrainSettings,
) -> None:
    """Train a network from real clips and from moving scenes made of photos.

    Ctrl-C, SIGTERM and --minutes stop it after the step at hand; --resume goes on. The folder of the run holds the
    averaged weights (MODEL.safetensors, for --checkpoint), metrics.jsonl, curves and sample sheets.
    """
    chosen = training.sized_recipe(model, recipe, settings)
    outcome = training.run_training(model, data, out, chosen, settings)
    weights = out / f"{model}.safetensors"
    run.result(outcome=outcome, weights=weights)
    run.say(f"{training.describe(outcome, chosen)}; weights in {weights}")
