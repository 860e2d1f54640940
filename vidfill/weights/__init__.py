"""Weight files: where they lie, what the manifest says of them, reading, checking and writing them.

This module knows files, not networks: which tensors a network wants is the network's business (`vidfill.models`).

Two folders hold weights, each with a `manifest.json` of the same form: the shipped one (`weights/` of a source
checkout, `vidfill/_weights` of an installed wheel) and the user's own, which `vidfill weights import` fills. A model
that lies in both is taken from the user's.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vidfill.errors import WeightsError
from vidfill.files.atomic import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = "manifest.json"
FORMAT = 1
FLICKER_EXPONENT = 0.5  # in `Card.visible_error`
Origin = Literal["shipped", "imported"]
Scores = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Card:
    """What a manifest says of one model.

    Attributes:
        name: of the model, as `--model` takes it.
        file: name of the weight file beside the manifest, "" for a model without learned weights.
        sha256: of the file, 64 hexadecimal digits, "" without a file.
        n_bytes: length of the file.
        sizes: the JSON-able arguments that build the network.
        recipe: how the weights were made: the training recipe, or the checkpoint that was imported.
        steps: of training here; 0 for what was not trained here.
        minutes: of training.
        device: trained on.
        data: what they were trained on.
        licence: of the weights.
        research_only: whether that allows no other use than research.
        scores: protocol of the evaluation ("stationary", "object") -> measure ("hole_psnr_db",
            "feature_distance", "flicker", ...) -> value; empty where nothing was measured.
    """

    name: str
    file: str = ""
    sha256: str = ""
    n_bytes: int = 0
    sizes: dict[str, Any] = field(default_factory=dict)
    recipe: str = ""
    steps: int = 0
    minutes: float = 0
    device: str = ""
    data: str = ""
    licence: str = ""
    research_only: bool = False
    scores: Scores = field(default_factory=dict)

    @property
    def hole_psnr_db(self) -> float:
        """PSNR inside the hole, mean over the protocols; -inf where nothing was measured."""
        values = [measures["hole_psnr_db"] for measures in self.scores.values() if "hole_psnr_db" in measures]
        return sum(values) / len(values) if values else float("-inf")

    @property
    def visible_error(self) -> float:
        """What people see of a fill, mean over the protocols: `feature_distance * sqrt(max(1, flicker))`.

        0 is perfect; inf where either was not measured. A fill that is steadier than the untouched picture gains
        nothing by that, or a grey cloud would win.
        """
        errors = [
            measures["feature_distance"] * max(1.0, measures["flicker"]) ** FLICKER_EXPONENT
            for measures in self.scores.values()
            if "feature_distance" in measures and "flicker" in measures
        ]
        return sum(errors) / len(errors) if errors else float("inf")


@dataclass(frozen=True, slots=True)
class Installed:
    """A card and where its file is.

    Attributes:
        card: what the manifest says.
        origin: which of the two folders.
        path: of the weight file, None for a model without learned weights.
    """

    card: Card
    origin: Origin
    path: Path | None

    @property
    def is_usable(self) -> bool:
        """Whether the model needs no file, or its file lies where it should."""
        return self.path is None or self.path.is_file()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of checking one file; `problem` is one line, empty where all is well."""

    installed: Installed
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A weight file in memory: which model it is for, the sizes that build it, its tensors by name."""

    model: str
    sizes: dict[str, Any]
    tensors: dict[str, Tensor]


def shipped_dir() -> Path:
    """The folder of the weights that come with vidfill: in an installed wheel or in a source checkout."""
    package = Path(__file__).parent.parent
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def default_model_dir() -> Path:
    """The user's own folder of weights, by the custom of the platform (~/.local/share/vidfill/models on Linux)."""
    import platformdirs

    return platformdirs.user_data_path("vidfill", appauthor=False) / "models"


def list_weights(*, model_dir: Path | None = None) -> tuple[Installed, ...]:
    """Every model that a manifest names, the user's own first.

    Args:
        model_dir: the user's folder of weights; None for `default_model_dir()`.

    Raises:
        WeightsError: a manifest that cannot be read.
    """
    own = model_dir or default_model_dir()
    return (*_listed(own, "imported"), *_listed(shipped_dir(), "shipped"))


def find_weights(name: str, *, model_dir: Path | None = None) -> Installed | None:
    """The usable entry for a model, the user's own before the shipped one; None where there is none."""
    return next((item for item in list_weights(model_dir=model_dir) if item.card.name == name and item.is_usable), None)


def verify_weights(*, model_dir: Path | None = None) -> tuple[Verdict, ...]:
    """Check every weight file against its manifest: present, of the stated length, of the stated sha256."""
    return tuple(Verdict(item, _problem(item)) for item in list_weights(model_dir=model_dir))


def save_weights(path: Path, checkpoint: Checkpoint) -> None:
    """Write a safetensors file whose header carries the model's name and sizes; it appears only when complete.

    Raises:
        WeightsError: the file cannot be written.
    """
    from safetensors.torch import save_file

    metadata = {"format": "pt", "vidfill_model": checkpoint.model, "vidfill_sizes": json.dumps(checkpoint.sizes)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    with _appears_complete(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_weights(path: Path, *, sha256: str = "") -> Checkpoint:
    """Read a weight file that `save_weights` wrote.

    Args:
        path: the safetensors file.
        sha256: what the file must hash to; "" to take it as it is.

    Raises:
        WeightsError: no such file, another hash, not a whole safetensors file, or not one of vidfill's.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError(f"no weight file at {path}", todo="check the path, or see `vidfill weights list`")
    if sha256 and (found := file_sha256(path)) != sha256:
        raise WeightsError(
            f"{path.name} has sha256 {found}", expected=sha256, todo="delete the file and fetch or import it again"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path.name} is not a whole safetensors file ({error})",
            todo="import an authors' checkpoint with `vidfill weights import`, or fetch the file again",
        ) from error
    try:
        sizes = json.loads(metadata["vidfill_sizes"])
        return Checkpoint(metadata["vidfill_model"], dict(sizes), tensors)
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path.name} does not say which vidfill model it is for",
            expected="a file that vidfill wrote",
            todo="import the checkpoint with `vidfill weights import MODEL FILE`",
        ) from error


def read_torch_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint that `torch.save` wrote, without running any code that it holds.

    Takes a plain state dict or one under the key "state_dict"; the "module." that DataParallel puts before each
    name is taken off.

    Raises:
        WeightsError: no such file, not a checkpoint, truncated, one that holds code, or one without tensors.
    """
    import torch

    if not path.is_file():
        raise WeightsError(f"no checkpoint at {path}", todo="check the path")
    try:
        with warnings.catch_warnings(action="ignore"):  # about strange files, which are answered below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path.name} is no checkpoint, or holds more than tensors and plain data, which is not loaded",
            expected="a state dict saved by torch.save",
            todo="save its state_dict() alone and import that",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, struct.error) as error:
        first_line = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{path.name} is damaged or not a checkpoint ({first_line})", todo="fetch the file again"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    tensors = content.items() if isinstance(content, Mapping) else ()
    if not tensors or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in tensors):
        raise WeightsError(
            f"{path.name} holds no state dict", expected="a mapping of names to tensors", todo="import another file"
        )
    return {name.removeprefix("module."): tensor for name, tensor in tensors}


def install_weights(card: Card, tensors: Mapping[str, Tensor], *, model_dir: Path | None = None) -> Installed:
    """Put a model's weights into the user's folder and its manifest, in the place of an earlier import.

    Args:
        card: all but `file`, `sha256` and `n_bytes`, which follow from what is written.
        tensors: by the network's own names.
        model_dir: the user's folder of weights; None for `default_model_dir()`.

    Raises:
        WeightsError: the folder cannot be written, or its manifest cannot be read.
    """
    folder = model_dir or default_model_dir()
    others = [item.card for item in _listed(folder, "imported") if item.card.name != card.name]
    path = folder / f"{card.name}.safetensors"
    save_weights(path, Checkpoint(card.name, card.sizes, dict(tensors)))
    written = replace(card, file=path.name, sha256=file_sha256(path), n_bytes=path.stat().st_size)
    write_manifest(folder, (*others, written))
    return Installed(written, "imported", path)


def register_file(card: Card, folder: Path) -> Installed:
    """Enter a weight file that lies in a folder into the folder's manifest, in the place of one of the same name.

    Raises:
        WeightsError: the manifest cannot be read or written.
    """
    cards = read_manifest(folder)
    if card not in cards:
        write_manifest(folder, (*(other for other in cards if other.name != card.name), card))
    return Installed(card, "imported", folder / card.file)


def read_manifest(folder: Path) -> tuple[Card, ...]:
    """The cards of a folder's manifest, in its order; none where there is no manifest.

    Raises:
        WeightsError: a manifest that is not JSON, of another format, or with a card that lacks a field.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return ()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        return tuple(_card(entry) for entry in content["models"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} cannot be used ({error})",
            expected=f"a manifest of format {FORMAT}",
            todo="delete it and import the weights again, or install vidfill again",
        ) from error


def write_manifest(folder: Path, cards: tuple[Card, ...]) -> None:
    """Write a folder's manifest; it appears only when complete."""
    models = [
        {
            "name": card.name,
            "file": card.file or None,
            "sha256": card.sha256 or None,
            "bytes": card.n_bytes,
            "sizes": card.sizes,
            "recipe": card.recipe,
            "steps": card.steps,
            "minutes": card.minutes,
            "device": card.device,
            "data": card.data,
            "licence": card.licence,
            "research_only": card.research_only,
            "scores": card.scores,
        }
        for card in cards
    ]
    text = json.dumps({"format": FORMAT, "models": models}, indent=2) + "\n"
    with _appears_complete(folder / MANIFEST) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_sha256(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _card(entry: dict[str, Any]) -> Card:
    card = Card(
        name=str(entry["name"]),
        file=entry["file"] or "",
        sha256=entry["sha256"] or "",
        n_bytes=int(entry["bytes"]),
        sizes=dict(entry["sizes"]),
        recipe=entry["recipe"],
        steps=int(entry.get("steps", 0)),
        minutes=float(entry.get("minutes", 0)),
        device=entry.get("device", ""),
        data=entry["data"],
        licence=entry["licence"],
        research_only=entry.get("research_only", False),
        scores=dict(entry["scores"]),
    )
    if not isinstance(card.research_only, bool):
        raise ValueError(f"{card.name}: research_only is {card.research_only!r}, expected true or false")
    if card.file and (Path(card.file).name != card.file or len(card.sha256) != 64):
        raise ValueError(f"{card.name}: file must be a plain name and come with a sha256")
    return card


def _listed(folder: Path, origin: Origin) -> Iterator[Installed]:
    for card in read_manifest(folder):
        yield Installed(card, origin, folder / card.file if card.file else None)


def _problem(item: Installed) -> str:
    if item.path is None:
        return ""
    if not item.path.is_file():
        return f"{item.path} is missing"
    if (n_bytes := item.path.stat().st_size) != item.card.n_bytes:
        return f"{item.path} has {n_bytes} bytes; expected {item.card.n_bytes}"
    if (found := file_sha256(item.path)) != item.card.sha256:
        return f"{item.path} has sha256 {found}; expected {item.card.sha256}"
    return ""


@contextmanager
def _appears_complete(path: Path) -> Iterator[Path]:
    """`atomic_write` with a folder that is made, and errors in plain words."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            yield partial
    except OSError as error:
        raise WeightsError(
            f"cannot write {path} ({error.strerror})", todo="name another folder, or free some space on the disk"
        ) from error
