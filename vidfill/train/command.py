"""`vidfill train`: the options of a run, and everything between them and the loop."""

from __future__ import annotations

import logging
import signal
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from vidfill.errors import DeviceError, UsageError
from vidfill.models import MODEL_NAMES, network_class
from vidfill.train.recipes import RECIPE_NAMES, Recipe, find_recipe

if TYPE_CHECKING:
    import torch

    from vidfill.models.base import Model

_log = logging.getLogger("vidfill")


class _StopSignals:
    """Whether SIGINT or SIGTERM has arrived; the run then saves and ends well. A second one ends it at once."""

    def __init__(self) -> None:
        self.arrived = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.arrived = True
        signal.signal(number, signal.SIG_DFL)


def train(
    model: Annotated[str, typer.Argument(help="What to train: one of " + ", ".join(MODEL_NAMES) + ".")],
    data: Annotated[list[Path], typer.Option(help="Videos, archives of photos or shapes, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoint, weights, metrics, pictures.")],
    recipe: Annotated[str, typer.Option(help="One of " + ", ".join(RECIPE_NAMES) + ".")] = "gpu",
    steps: Annotated[int, typer.Option(help="Length of the run in steps; 0 for the recipe's.", min=0)] = 0,
    minutes: Annotated[float, typer.Option(help="Stop and save after so long; 0 for no limit.", min=0)] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint, if any.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves it to torch.", min=0)] = 0,
) -> None:
    """Train a model from real clips and from moving scenes made of photos.

    Ctrl-C, SIGTERM and --minutes stop it after the step at hand; --resume goes on. Under torchrun the processes share
    each batch.
    """
    chosen = find_recipe(recipe)
    run_training(
        model,
        data,
        out,
        replace(chosen, n_steps=steps) if steps else chosen,
        minutes=minutes or None,
        resume=resume,
        device=device,
        threads=threads,
    )


def run_training(
    model: str,
    data: list[Path],
    out: Path,
    recipe: Recipe,
    *,
    minutes: float | None = None,
    resume: bool = False,
    device: str = "auto",
    threads: int = 0,
) -> None:
    """Train a model of the registry; see `train` for the options.

    Raises:
        UsageError: no such model or one with nothing to learn, or a folder that holds another run.
        InputError: no data, or data that cannot be read.
        DeviceError: no such device.
        OutputError: the folder cannot be written.
        WeightsError: a checkpoint that cannot be read.
    """
    import cv2
    import torch

    from vidfill.train.data import load_data
    from vidfill.train.parallel import joined
    from vidfill.train.trainer import Trainer

    if threads:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    stop = _StopSignals()
    with joined(_device(device).type) as place:
        where = torch.device("cuda", place.local_rank) if _device(device).type == "cuda" else _device(device)
        loaded = load_data(data, recipe.data, device=where)
        _log.info(
            "%d clips, %d held back, %d photos, %d shapes",
            len(loaded.clips), len(loaded.held_back), len(loaded.photos), len(loaded.silhouettes),
        )  # fmt: skip
        torch.manual_seed(recipe.seed)
        network = build_network(model, recipe).to(where)
        trainer = Trainer(network, model, loaded, recipe, out, resume=resume, place=place)
        outcome = trainer.run(minutes=minutes, should_stop=lambda: stop.arrived)
        state = "finished" if outcome.finished else "stopped, go on with --resume"
        _log.info("%d of %d steps: %s; %s", outcome.step, recipe.n_steps, state, outcome.metrics)


def build_network(model: str, recipe: Recipe) -> Model:
    """A new network of the sizes that the recipe gives this model.

    Raises:
        UsageError: no such model, or one without learned weights.
    """
    from vidfill.models.checkpoint import LearnedModel

    if model not in MODEL_NAMES:
        raise UsageError(f"no model {model!r}", expected="one of " + ", ".join(MODEL_NAMES))
    found = network_class(model)
    if not issubclass(found, LearnedModel):
        raise UsageError(f"model {model} has nothing to learn", todo="train another one")
    return found.from_sizes(recipe.sizes.get(model, {}))


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"no device {name!r}", expected="auto, cpu, cuda or cuda:N") from error
    return device
