"""A run from what the user typed: the recipe, the device, the data, the network, the loop.

Both command lines (`vidfill train`, and `python -m vidfill.train` where Typer is missing) end in `run_training`.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from vidfill.errors import DeviceError, UsageError
from vidfill.models import network_class
from vidfill.settings.commands import TrainSettings
from vidfill.train import check_trainable, find_recipe, find_training
from vidfill.train.recipe import Recipe

if TYPE_CHECKING:
    from vidfill.models.base import Model
    from vidfill.train.trainer import TrainingResult

_log = logging.getLogger("vidfill")


def sized_recipe(model: str, name: str, settings: TrainSettings) -> Recipe:
    """A model's recipe of that name, with the length and the acceleration of the settings.

    Raises:
        UsageError: there is none of that name, or no such model.
    """
    recipe = find_recipe(model, name)
    acceleration = recipe.acceleration if settings.compile_layers else ""
    return replace(recipe, n_steps=settings.steps or recipe.n_steps, acceleration=acceleration)


def describe(result: TrainingResult, recipe: Recipe) -> str:
    """One line on how a run ended."""
    state = "finished" if result.finished else "stopped; go on with --resume"
    steps = f"{result.step} steps" if recipe.minutes else f"{result.step} of {recipe.n_steps} steps"
    scores = "".join(f", {name} {value:.2f}" for name, value in result.metrics.items())
    return f"{steps}, {state}{scores}"


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Note SIGINT or SIGTERM instead of dying of it, and tell; a second one does what it always did."""
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
    model: str, data: Sequence[Path], out: Path, recipe: Recipe, settings: TrainSettings
) -> TrainingResult:
    """Train a model of the registry.

    Args:
        model: its name.
        data: videos, archives of photos or shapes, or folders of them.
        out: folder of the run.
        recipe: the whole run.
        settings: its `minutes` include the decoding of the data.

    Raises:
        UsageError: nothing to learn, missing weights of the model that it builds on, or a folder with another run.
        InputError: no data, or data that cannot be read.
        DeviceError: no such device, or its memory is not enough.
        OutputError: the folder cannot be written.
        WeightsError: a checkpoint that cannot be read.
    """
    import torch

    from vidfill.engine.device import choose_device, limited_threads
    from vidfill.train.data import load_data
    from vidfill.train.parallel import joined
    from vidfill.train.state import CHECKPOINT
    from vidfill.train.trainer import Trainer

    started = time.monotonic()
    has_gpu = settings.device != "auto" or torch.cuda.is_available()
    where = choose_device(settings.device if has_gpu else "cpu")
    try:
        with limited_threads(settings.threads), joined(where.type) as ranks, stop_signals() as should_stop:
            if where.type == "cuda":
                index = ranks.local_rank if ranks.n_ranks > 1 else where.index or 0
                where = torch.device("cuda", index)
                torch.cuda.set_device(index)
                # Timing the convolutions takes up to a minute, which only pays in long runs.
                torch.backends.cudnn.benchmark = not recipe.minutes
            # Networks first: a name that does not exist must not cost the decoding of the data.
            torch.manual_seed(recipe.seed)
            is_resumed = settings.resume and (out / CHECKPOINT).exists()
            weights, critics = sorted_starts([Path(part) for part in settings.start.split(",") if part])
            network = build_network(model, recipe, start=weights, is_resumed=is_resumed).to(where)
            loaded = load_data(data, recipe.data, device=where)
            counts = (len(loaded.clips), len(loaded.held_back), len(loaded.photos), len(loaded.silhouettes))
            _log.info("%d clips, %d held back, %d photos, %d shapes", *counts)
            training = find_training(model)
            trainer = Trainer(network, model, training, loaded, recipe, out, resume=settings.resume, ranks=ranks)
            if critics is not None and not is_resumed:
                trainer.state.begin_critics_with(critics)
            left = max(0.0, settings.minutes - (time.monotonic() - started) / 60) if settings.minutes else None
            return trainer.run(minutes=left, should_stop=should_stop)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"the memory of {where} is not enough for recipe {recipe.name}", todo="use a smaller recipe"
        ) from error


def sorted_starts(files: Sequence[Path]) -> tuple[Path | None, Path | None]:
    """Of the files to begin with, that of the model's weights and that of the discriminators; each may be missing.

    Raises:
        UsageError: two of a kind.
        WeightsError: a file that cannot be read.
    """
    from vidfill.train.critics import FILE_KIND
    from vidfill.weights import load_weights

    found: dict[bool, Path] = {}
    for file in files:
        is_critics = load_weights(file).model == FILE_KIND
        if is_critics in found:
            raise UsageError(
                f"--start has two files of a kind, {found[is_critics]} and {file}", todo="name one of them"
            )
        found[is_critics] = file
    return found.get(False), found.get(True)


def build_network(model: str, recipe: Recipe, *, start: Path | None = None, is_resumed: bool = False) -> Model:
    """A new network of the recipe's sizes, with the weights of `start`.

    Raises:
        UsageError: no such model, one without learned weights, or one that builds on another whose weights are missing,
            unless it is resumed, so that all weights will be replaced.
        WeightsError: a weight file that cannot be read or does not fit.
    """
    from vidfill.models.checkpoint import LearnedModel, begin_with

    check_trainable(model)
    found = network_class(model)
    assert issubclass(found, LearnedModel), f"{found.__name__} has no weights"
    if found.builds_on and start is None and not is_resumed:
        raise UsageError(
            f"model {model} builds on {found.builds_on}, which it does not train",
            expected=f"weights of {found.builds_on}",
            todo=f"pass --start FOLDER/{found.builds_on}.safetensors",
        )
    network = found.from_sizes(recipe.sizes)
    if start is not None:
        begin_with(network, model, start)
    return network
