"""`vidfill train`: teach a network."""

from __future__ import annotations

from vidfill.cli import options as opt
from vidfill.cli.session import Voice, session
from vidfill.train import command


def train(
    model: command.ModelName,
    data: command.Data,
    out: command.Out,
    recipe: command.RecipeName = "gpu",
    steps: command.Steps = 0,
    minutes: command.Minutes = 0,
    resume: command.Resume = False,
    device: command.DeviceName = "auto",
    threads: command.Threads = 0,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> None:
    """Train a network from real clips and from moving scenes made of photos.

    Ctrl-C, SIGTERM and --minutes stop it after the step at hand; --resume goes on. The folder of the run holds the
    averaged weights (MODEL.safetensors, for --checkpoint), metrics.jsonl, curves and sample sheets.
    """
    with session("train", Voice(as_json, quiet=quiet, verbose=verbose, debug=debug)) as run:
        chosen = command.sized_recipe(recipe, steps=steps)
        outcome = command.run_training(
            model, data, out, chosen, minutes=minutes or None, resume=resume, device=device, threads=threads
        )
        run.result(outcome=outcome, weights=out / f"{model}.safetensors")
        run.say(f"{command.describe(outcome, chosen)}; weights in {out / model}.safetensors")
