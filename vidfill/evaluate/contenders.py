"""What is compared: OpenCV's two inpainters, and models with their weights and parts; from a name to a filler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import UsageError
from vidfill.evaluate.protocol import Frames
from vidfill.models import MODEL_NAMES, load_model, resolve_model
from vidfill.settings import EngineSettings
from vidfill.video.frame import Bool
from vidfill.weights import file_sha256, find_weights, load_weights

if TYPE_CHECKING:
    from vidfill.models.base import Model

Filler = Callable[[Frames, Sequence[Bool]], Iterable[NDArray[np.uint8]]]

BASELINES = {"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS}
BASELINE_RADIUS_PX = 3.0
WITHOUT = "-without-"


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the table."""

    label: str  # as the user named it
    model: str  # a baseline, or a model's name
    checkpoint: Path | None = None  # weights to take in the place of the installed ones
    sha256: str = ""  # of the weight file
    without: str = ""  # the part that is switched off


def parse_contenders(
    labels: Sequence[str], checkpoints: Mapping[str, Path], machine: EngineSettings
) -> list[Contender]:
    """The rows that the user asked for, with everything they need found and loaded once on trial.

    Args:
        labels: baselines, models, "auto", or names of `checkpoints`; each may end in "-without-PART".
        checkpoints: weight files by name; the file says which model it is for.
        machine: how they will be run.

    Raises:
        UsageError: a name that is nothing, one that comes twice, a checkpoint that no label names.
        WeightsError: weights that are missing or do not fit.
        DeviceError: the device is not there.
    """
    if not labels:
        raise UsageError("no model named", todo="name some with --models")
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise UsageError(f"{twice[0]} is named twice in --models")
    unused = set(checkpoints) - {label.partition(WITHOUT)[0] for label in labels}
    if unused:
        name = min(unused)
        raise UsageError(f"the checkpoint {name} is not among --models", todo=f"add {name} to --models")
    contenders = [_contender(label, checkpoints, machine) for label in labels]
    if any(contender.model not in BASELINES for contender in contenders):
        from vidfill.engine.device import check_settings

        check_settings(machine)
    for contender in contenders:
        if contender.model not in BASELINES:
            load_contender(contender, machine)
    return contenders


def load_contender(contender: Contender, machine: EngineSettings) -> Model:
    """Build the model of a row, on the CPU; errors as `parse_contenders`."""
    model = load_model(contender.model, checkpoint=contender.checkpoint, model_dir=machine.model_dir)
    if not contender.without:
        return model
    from vidfill.evaluate.ablation import Ablated

    return Ablated(model, without=contender.without)


def make_filler(contender: Contender, machine: EngineSettings) -> Filler:
    """The function that fills a clip as this row's model does; loads the model now."""
    if contender.model in BASELINES:
        return _baseline(BASELINES[contender.model], machine.threads)
    model = load_contender(contender, machine)
    from vidfill.engine.clip import fill_clip

    def fill(frames: Frames, holes: Sequence[Bool]) -> Iterator[NDArray[np.uint8]]:
        return fill_clip(model, frames, holes, settings=machine)

    return fill


def _contender(label: str, checkpoints: Mapping[str, Path], machine: EngineSettings) -> Contender:
    name, _, without = label.partition(WITHOUT)
    if name in BASELINES:
        if without or name in checkpoints:
            raise UsageError(f"{name} has neither weights nor parts", todo=f"ask for {name} alone")
        return Contender(label, name)
    if name in checkpoints:
        path = checkpoints[name]
        model = load_weights(path).model
        if name in MODEL_NAMES and name != model:
            raise UsageError(f"{path.name} holds weights for {model}", todo=f"name it otherwise than {name}")
        return Contender(label, model, path, file_sha256(path), without)
    if name not in (*MODEL_NAMES, "auto"):
        known = ", ".join((*BASELINES, *MODEL_NAMES, "auto"))
        raise UsageError(f"no model {name!r}", expected=f"{known} or a name from --checkpoint NAME=FILE")
    model = resolve_model(name, model_dir=machine.model_dir)
    installed = find_weights(model, model_dir=machine.model_dir)
    return Contender(label, model, None, installed.card.sha256 if installed else "", without)


def inpaint_frame(frame: NDArray[np.uint8], hole: Bool, method: int = cv2.INPAINT_TELEA) -> NDArray[np.uint8]:
    """OpenCV's inpainting of a frame alone."""
    return np.asarray(cv2.inpaint(frame, hole.astype(np.uint8), BASELINE_RADIUS_PX, method), np.uint8)


def _baseline(method: int, threads: int) -> Filler:
    def fill(frames: Frames, holes: Sequence[Bool]) -> Iterator[NDArray[np.uint8]]:
        if threads:
            cv2.setNumThreads(threads)
        for frame, hole in zip(frames, holes, strict=True):
            yield inpaint_frame(frame, hole, method)

    return fill
