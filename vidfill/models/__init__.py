"""The models by name. Importing this module imports no network and no torch.

Example:
    >>> from vidfill.models import load_model
    >>> load_model("propagate").spec.previous
    False
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vidfill.errors import UsageError, WeightsError
from vidfill.weights import Card, Installed, find_weights, list_weights

if TYPE_CHECKING:
    from vidfill.models.base import Model


@dataclass(frozen=True, slots=True)
class _Listed:
    module: str
    class_name: str
    needs_weights: bool
    weights_of: str = ""  # the model whose weights it uses; "" for its own


_REGISTRY = {
    "vinet": _Listed("vidfill.models.vinet.model", "VINet", needs_weights=True),
    "opn": _Listed("vidfill.models.opn.model", "OPN", needs_weights=True),
    "opn-tcn": _Listed("vidfill.models.opn.tcn", "OPNTCN", needs_weights=True),
    "painter": _Listed("vidfill.models.cleanplate.painter", "Painter", needs_weights=True),
    "cleanplate": _Listed("vidfill.models.cleanplate.model", "CleanPlate", needs_weights=True, weights_of="painter"),
    "propagate": _Listed("vidfill.models.propagate.model", "Propagate", needs_weights=False),
}

MODEL_NAMES: tuple[str, ...] = tuple(_REGISTRY)
# Models with weights of their own, which can be trained.
LEARNED_NAMES: tuple[str, ...] = tuple(
    n for n, entry in _REGISTRY.items() if entry.needs_weights and not entry.weights_of
)


def resolve_model(name: str, *, model_dir: Path | None = None) -> str:
    """The name of a model, with "auto" resolved.

    "auto" is the usable model (that needs no weights or has them) with the lowest `visible_error` in the manifests (see
    `vidfill.weights.Card`): feature distance from the truth, times the square root of its flicker where that is above
    1, mean over the protocols. Models without that score come after those with it, by PSNR inside the hole; of equals
    one that needs no weights, then the first.

    Args:
        name: one of `MODEL_NAMES`, or "auto".
        model_dir: the user's folder of weights; None for the default one.

    Raises:
        UsageError: no model of that name.
        WeightsError: a manifest that cannot be read, or none that names a usable model.
    """
    if name in _REGISTRY:
        return name
    if name != "auto":
        raise UsageError(f"no model {name!r}", expected="one of auto, " + ", ".join(MODEL_NAMES))
    installed = list_weights(model_dir=model_dir)
    usable = [item.card for item in installed if item.card.name in _REGISTRY and item.is_usable]
    if not usable:
        raise WeightsError("no manifest names a usable model", todo="install vidfill again")
    without_weights_first = sorted(usable, key=lambda card: bool(card.file))
    # min takes the first of equals. PSNR decides only between cards whose error is unknown.
    return min(without_weights_first, key=_badness).name


def load_model(name: str, *, checkpoint: Path | None = None, model_dir: Path | None = None) -> Model:
    """Build a model and load its weights; on the CPU, in evaluation mode.

    Args:
        name: one of `MODEL_NAMES`, or "auto".
        checkpoint: a weight file that vidfill wrote, instead of the installed one.
        model_dir: the user's folder of weights; None for the default one.

    Raises:
        UsageError: no model of that name, or a checkpoint for a model that has no weights.
        WeightsError: no weights, damaged ones, or ones that do not fit.
    """
    name = resolve_model(name, model_dir=model_dir)
    entry = _REGISTRY[name]
    if not entry.needs_weights:
        if checkpoint is not None:
            raise UsageError(f"model {name} has no weights to load from {checkpoint}", todo="leave the checkpoint out")
        return network_class(name)().eval()
    from vidfill.models.checkpoint import build

    if checkpoint is not None:
        return build(name, checkpoint, sha256="")
    installed = find_weights(name, model_dir=model_dir)
    if installed is None or installed.path is None:
        raise WeightsError(
            f"no weights for model {name}",
            todo=f"import a checkpoint with `vidfill weights import {name} FILE`, or use --model propagate, "
            "which needs none",
        )
    return build(name, installed.path, sha256=installed.card.sha256)


def import_checkpoint(name: str, checkpoint: Path, *, model_dir: Path | None = None) -> Installed:
    """Convert a checkpoint of a paper's authors and install it, so that `load_model(name)` finds it.

    Args:
        name: "vinet", "opn", or "opn-tcn" after "opn".
        checkpoint: a file written by `torch.save`; no code in it is run.
        model_dir: the user's folder of weights; None for the default one.

    Raises:
        UsageError: no model of that name, or one without learned weights.
        WeightsError: not a checkpoint, one of another network, or a folder that cannot be written.
    """
    if name not in LEARNED_NAMES:
        raise UsageError(f"no weights can be imported for {name!r}", expected="one of " + ", ".join(LEARNED_NAMES))
    from vidfill.models.checkpoint import convert

    return convert(name, checkpoint, model_dir=model_dir)


def network_class(name: str) -> type[Model]:
    """The class of a model, imported now."""
    entry = _REGISTRY[name]
    found: type[Model] = getattr(importlib.import_module(entry.module), entry.class_name)
    return found


def has_network(name: str) -> bool:
    """Whether a model has a network, which an accelerator makes faster."""
    return _REGISTRY[name].needs_weights


def weights_owner(name: str) -> str:
    """The model whose weights a model uses, mostly itself; their file carries its name."""
    return _REGISTRY[name].weights_of or name


def _badness(card: Card) -> tuple[float, float]:
    error = card.visible_error
    return error, 0.0 if error < float("inf") else -card.hole_psnr_db
