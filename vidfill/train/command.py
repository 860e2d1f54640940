"""`vidfill train`: the options of a run, and everything between them and the loop."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    from vidfill.train.trainer import Outcome

_log = logging.getLogger("vidfill")


ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="What to train: " + ", ".join(MODEL_NAMES) + ".")]
Data = Annotated[
    list[Path], typer.Option("--data", metavar="PATH", help="Videos, archives of photos or shapes, or folders of them.")
]
Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The run: checkpoint, weights, metrics, pictures.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="One of " + ", ".join(RECIPE_NAMES) + ".")]
Steps = Annotated[int, typer.Option("--steps", min=0, help="Length of the run in steps; 0 for the recipe's.")]
Minutes = Annotated[float, typer.Option("--minutes", min=0, help="Stop and save after so long; 0 for no limit.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint, if there is one.")]
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
    device: DeviceName = "auto",
    threads: Threads = 0,
) -> None:
    """Train a model from real clips and from moving scenes made of photos.

    Ctrl-C, SIGTERM and --minutes stop it after the step at hand; --resume goes on. Under torchrun the processes share
    each batch.
    """
    chosen = sized_recipe(recipe, steps=steps)
    outcome = run_training(
        model, data, out, chosen, minutes=minutes or None, resume=resume, device=device, threads=threads
    )
    _log.info("%s", describe(outcome, chosen))


def sized_recipe(name: str, *, steps: int) -> Recipe:
    """The recipe of that name, of another length unless `steps` is 0.

    Raises:
        UsageError: there is none of that name.
    """
    recipe = find_recipe(name)
    return replace(recipe, n_steps=steps) if steps else recipe


def describe(outcome: Outcome, recipe: Recipe) -> str:
    """One line on how a run ended."""
    state = "finished" if outcome.finished else "stopped; go on with --resume"
    scores = "".join(f", {name} {value:.2f}" for name, value in outcome.metrics.items())
    return f"{outcome.step} of {recipe.n_steps} steps, {state}{scores}"


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Tell whether SIGINT or SIGTERM has come since, in the place of dying of it; a second one does what it always did.

    Yields:
        The function that tells.
    """
    arrived: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(arrived)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
) -> Outcome:
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
    where = _device(device)
    with joined(where.type) as place, stop_signals() as should_stop:
        if where.type == "cuda" and place.n_ranks > 1:
            where = torch.device("cuda", place.local_rank)
            torch.cuda.set_device(where)
        loaded = load_data(data, recipe.data, device=where)
        counts = (len(loaded.clips), len(loaded.held_back), len(loaded.photos), len(loaded.silhouettes))
        _log.info("%d clips, %d held back, %d photos, %d shapes", *counts)
        torch.manual_seed(recipe.seed)
        network = build_network(model, recipe).to(where)
        trainer = Trainer(network, model, loaded, recipe, out, resume=resume, place=place)
        return trainer.run(minutes=minutes, should_stop=should_stop)


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
