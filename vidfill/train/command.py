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
from vidfill.models import LEARNED_NAMES, MODEL_NAMES, network_class
from vidfill.train.recipes import Recipe, find_recipe

if TYPE_CHECKING:
    import torch

    from vidfill.models.base import Model
    from vidfill.train.trainer import Outcome

_log = logging.getLogger("vidfill")


def sized_recipe(name: str, *, model: str = "", steps: int = 0, compile_layers: bool = True) -> Recipe:
    """A model's recipe of that name, of another length unless `steps` is 0, and without torch.compile if so wished.

    Raises:
        UsageError: there is none of that name, or a negative length.
    """
    recipe = find_recipe(name, model=model)
    if steps < 0:
        raise UsageError(f"{steps} steps", expected="0 for the recipe's own number, or more")
    return replace(recipe, n_steps=steps or recipe.n_steps, compile_layers=recipe.compile_layers and compile_layers)


def describe(outcome: Outcome, recipe: Recipe) -> str:
    """One line on how a run ended."""
    state = "finished" if outcome.finished else "stopped; go on with --resume"
    steps = f"{outcome.step} steps" if recipe.minutes else f"{outcome.step} of {recipe.n_steps} steps"
    scores = "".join(f", {name} {value:.2f}" for name, value in outcome.metrics.items())
    return f"{steps}, {state}{scores}"


def start_files(text: str) -> tuple[Path, ...]:
    """The files of `--start FILE[,FILE]`."""
    return tuple(Path(part) for part in text.split(",") if part)


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
    start: Sequence[Path] = (),
    device: str = "auto",
    threads: int = 0,
) -> Outcome:
    """Train a model of the registry.

    Args:
        model: its name.
        data: videos, archives of photos or shapes, or folders of them.
        out: folder of the run.
        recipe: the whole run.
        minutes: stop and save after so long, decoding the data included; None for no limit, or the recipe's own.
        resume: go on from the folder's checkpoint, if there is one.
        start: weight files to begin with: of the same model or of the one it builds on, and of the discriminators of
            pictures.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: of the CPU; 0 leaves it to torch.

    Raises:
        UsageError: no such model or one with nothing to learn, one that builds on another without its weights to
            start with, or a folder that holds another run.
        InputError: no data, or data that cannot be read.
        DeviceError: no such device, or its memory is not enough.
        OutputError: the folder cannot be written.
        WeightsError: a checkpoint that cannot be read.
    """
    import cv2
    import torch

    from vidfill.models.cleanplate.painter import Painter
    from vidfill.train.data import load_data
    from vidfill.train.parallel import joined
    from vidfill.train.picture_trainer import PictureTrainer
    from vidfill.train.state import CHECKPOINT
    from vidfill.train.trainer import Trainer

    started = time.monotonic()
    if threads:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    where = _device(device)
    try:
        with joined(where.type) as place, stop_signals() as should_stop:
            if where.type == "cuda":
                index = place.local_rank if place.n_ranks > 1 else where.index or 0
                where = torch.device("cuda", index)
                torch.cuda.set_device(index)
                # The sizes change with the stage only. The painter's many convolutions take a minute to be timed.
                torch.backends.cudnn.benchmark = model != "painter"
            # Networks first: a name that does not exist must not cost the decoding of the data.
            torch.manual_seed(recipe.seed)
            is_resumed = resume and (out / CHECKPOINT).exists()
            weights, critics = sorted_starts(start)
            network = build_network(model, recipe, start=weights, is_resumed=is_resumed).to(where)
            loaded = load_data(data, recipe.data, device=where, threads=threads)
            counts = (len(loaded.clips), len(loaded.held_back), len(loaded.photos), len(loaded.silhouettes))
            _log.info("%d clips, %d held back, %d photos, %d shapes", *counts)
            if isinstance(network, Painter):
                trainer: Trainer = PictureTrainer(network, model, loaded, recipe, out, resume=resume, place=place)
            else:
                trainer = Trainer(network, model, loaded, recipe, out, resume=resume, place=place)
            if critics is not None and not is_resumed:
                trainer.state.begin_critics_with(critics)
            left = None if minutes is None else max(0.0, minutes - (time.monotonic() - started) / 60)
            return trainer.run(minutes=left, should_stop=should_stop)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"the memory of {where} is not enough for recipe {recipe.name}", todo="use a smaller recipe"
        ) from error


def sorted_starts(files: Sequence[Path]) -> tuple[Path | None, Path | None]:
    """Of the files to begin with, that of the model's weights and that of the discriminators of pictures.

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
    """A new network of the sizes that the recipe gives this model.

    Args:
        model: its name.
        recipe: its sizes.
        start: a weight file to begin with, None for none.
        is_resumed: whether all weights will be replaced by those of a run.

    Raises:
        UsageError: no such model, one without learned weights, or one that builds on another whose weights are missing.
        WeightsError: a weight file that cannot be read or does not fit.
    """
    from vidfill.models.checkpoint import LearnedModel, begin_with

    if model not in MODEL_NAMES:
        raise UsageError(f"no model {model!r}", expected="one of " + ", ".join(LEARNED_NAMES))
    if model not in LEARNED_NAMES:
        raise UsageError(f"model {model} has nothing to learn", expected="one of " + ", ".join(LEARNED_NAMES))
    found = network_class(model)
    assert issubclass(found, LearnedModel), f"{found.__name__} has no weights"
    if found.builds_on and start is None and not is_resumed:
        raise UsageError(
            f"model {model} builds on {found.builds_on}, which it does not train",
            expected=f"weights of {found.builds_on}",
            todo=f"pass --start FOLDER/{found.builds_on}.safetensors",
        )
    network = found.from_sizes(recipe.sizes.get(model, {}))
    if start is not None:
        begin_with(network, model, start)
    return network


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
