"""What is known of the weights that are here.

Two folders hold weights, each with a `manifest.json` of the same form: the shipped one (`weights/` of a source
checkout, `vidfill/_weights` of an installed wheel) and the user's own, which `vidfill weights import` and `fetch`
fill. A model that lies in both is taken from the user's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from vidfill.errors import WeightsError
from vidfill.weights.files import Checkpoint, file_sha256, save_weights, writing

if TYPE_CHECKING:
    from torch import Tensor

_MANIFEST = "manifest.json"
_FORMAT = 1
Origin = Literal["shipped", "imported"]


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
    data: str = ""
    licence: str = ""
    research_only: bool = False
    scores: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def hole_psnr_db(self) -> float:
        """PSNR inside the hole, mean over the protocols; -inf where nothing was measured."""
        values = [measures["hole_psnr_db"] for measures in self.scores.values() if "hole_psnr_db" in measures]
        return fmean(values) if values else -math.inf

    @property
    def visible_error(self) -> float:
        """What people see of a fill, mean over the protocols: `feature_distance * sqrt(max(1, flicker))`.

        0 is perfect; inf where either was not measured. A fill that is steadier than the untouched picture gains
        nothing by that, or a grey cloud would win.
        """
        errors = [
            measures["feature_distance"] * max(1.0, measures["flicker"]) ** 0.5
            for measures in self.scores.values()
            if "feature_distance" in measures and "flicker" in measures
        ]
        return fmean(errors) if errors else math.inf


@dataclass(frozen=True, slots=True)
class Installed:
    """A card, which of the two folders it is from, and its weight file; None for a model without learned weights."""

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
    """Every model that a manifest names: those of `model_dir` (None for `default_model_dir()`), then the shipped ones.

    Raises:
        WeightsError: a manifest that cannot be read.
    """
    folders: tuple[tuple[Origin, Path], ...] = (
        ("imported", model_dir or default_model_dir()),
        ("shipped", shipped_dir()),
    )
    return tuple(
        Installed(card, origin, folder / card.file if card.file else None)
        for origin, folder in folders
        for card in read_manifest(folder)
    )


def find_weights(name: str, *, model_dir: Path | None = None) -> Installed | None:
    """The usable entry for a model, the user's own before the shipped one; None where there is none."""
    return next((item for item in list_weights(model_dir=model_dir) if item.card.name == name and item.is_usable), None)


def verify_weights(*, model_dir: Path | None = None) -> tuple[Verdict, ...]:
    """Check every weight file against its manifest: present, of the stated length, of the stated sha256."""
    return tuple(Verdict(item, _problem(item)) for item in list_weights(model_dir=model_dir))


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


def install_weights(card: Card, tensors: Mapping[str, Tensor], *, model_dir: Path | None = None) -> Installed:
    """Put a model's weights into the user's folder and its manifest, in the place of an earlier import.

    `file`, `sha256` and `n_bytes` of the card follow from what is written; tensors have the network's own names.

    Raises:
        WeightsError: the folder cannot be written, or its manifest cannot be read.
    """
    folder = model_dir or default_model_dir()
    path = folder / f"{card.name}.safetensors"
    read_manifest(folder)  # one that cannot be read is refused before anything is written
    save_weights(path, Checkpoint(card.name, card.sizes, dict(tensors)))
    written = replace(card, file=path.name, sha256=file_sha256(path), n_bytes=path.stat().st_size)
    return register_file(written, folder)


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
    path = folder / _MANIFEST
    if not path.is_file():
        return ()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}")
        return tuple(_card(entry) for entry in content["models"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} cannot be used ({error})",
            expected=f"a manifest of format {_FORMAT}",
            todo="delete it and import the weights again, or install vidfill again",
        ) from error


def write_manifest(folder: Path, cards: tuple[Card, ...]) -> None:
    """Write a folder's manifest; it appears only when complete."""
    models = []
    for card in cards:
        entry = asdict(card)
        entry |= {"file": card.file or None, "sha256": card.sha256 or None, "bytes": entry.pop("n_bytes")}
        models.append(entry)
    with writing(folder / _MANIFEST) as partial:
        partial.write_text(json.dumps({"format": _FORMAT, "models": models}, indent=2) + "\n", encoding="utf-8")


def _card(entry: dict[str, Any]) -> Card:
    card = Card(
        name=str(entry["name"]),
        file=entry["file"] or "",
        sha256=entry["sha256"] or "",
        n_bytes=int(entry["bytes"]),
        sizes=dict(entry["sizes"]),
        recipe=entry["recipe"],
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
