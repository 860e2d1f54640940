"""From weight files to networks: build what the sizes say, load strictly, convert what the papers' authors gave."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from vidfill import weights
from vidfill.errors import WeightsError
from vidfill.models import network_class, weights_owner
from vidfill.models.base import Model


class LearnedModel(Model):
    """A model with weights: what its class offers beside the contract, so that they can be loaded and converted."""

    sizes_type: ClassVar[type[Any]]  # dataclass, the one argument of the constructor; default sizes where it is None
    builds_on: ClassVar[str] = ""  # a model with weights of its own that is a submodule of this one by that name

    @classmethod
    def from_sizes(cls, sizes: Mapping[str, Any]) -> Self:
        """Build the network that `sizes` (of JSON) describes; TypeError or ValueError for sizes that describe none."""
        return cls(cls.sizes_type(**{name: _tuples(value) for name, value in sizes.items()}))

    @abstractmethod
    def load_authors(self, tensors: Mapping[str, Tensor], *, source: str) -> None:
        """Load a state dict with the names (without "module.") and shapes of the paper's authors.

        Raises:
            WeightsError: names every missing and every unexpected key and every key of another shape.
        """


def plain_sizes(sizes: Any) -> dict[str, Any]:
    """A dataclass of sizes as JSON gives it back, with lists for tuples."""
    return {name: _lists(value) for name, value in asdict(sizes).items()}


def build(name: str, path: Path, *, sha256: str) -> Model:
    """The network of a weight file that vidfill wrote, on the CPU and in evaluation mode; "" skips the hash.

    Raises:
        WeightsError: a file that is missing, damaged, for another model, or does not fit its own sizes.
    """
    checkpoint = weights.load_weights(path, sha256=sha256)
    owner = weights_owner(name)
    if checkpoint.model != owner:
        raise WeightsError(
            f"{path.name} holds weights for {checkpoint.model}", expected=owner, todo=f"use --model {checkpoint.model}"
        )
    try:
        network = _network_class(name).from_sizes(checkpoint.sizes)
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"{path.name} describes no {name} network ({error})", todo="fetch or import the weights again"
        ) from error
    load_strict(network, checkpoint.tensors, source=path.name)
    return network.eval()


def convert(name: str, path: Path, *, model_dir: Path | None) -> weights.Installed:
    """Convert a checkpoint of the paper's authors and install it in the user's folder of weights.

    Raises:
        WeightsError: not a checkpoint, one of another network, one that builds on weights that are not there, or a
            folder that cannot be written.
    """
    network = _network_class(name)()
    network.load_authors(weights.read_torch_checkpoint(path), source=path.name)
    if network.builds_on:
        base = weights.find_weights(network.builds_on, model_dir=model_dir)
        if base is None or base.path is None:
            raise WeightsError(
                f"{name} builds on {network.builds_on}, which has no weights yet",
                todo=f"import them first with `vidfill weights import {network.builds_on} FILE`",
            )
        begin_with(network, name, base.path, sha256=base.card.sha256)
    card = weights.Card(
        name=name,
        sizes=network.sizes,
        recipe=f"imported from {path.name}, sha256 {weights.file_sha256(path)}",
        data="as the authors of the checkpoint state",
        licence="as the authors of the checkpoint state",
    )
    return weights.install_weights(card, network.state_dict(), model_dir=model_dir)


def begin_with(network: LearnedModel, name: str, path: Path, *, sha256: str = "") -> None:
    """Load the weights of a model called `name` or of the part that it builds on, whichever the file holds.

    Raises:
        WeightsError: a file that is missing, damaged, for another model or of other sizes.
    """
    found = weights.load_weights(path, sha256=sha256)
    if found.model == name:
        load_strict(network, found.tensors, source=path.name)
    elif found.model == network.builds_on:
        load_strict(network.get_submodule(found.model), found.tensors, source=path.name)
    else:
        raise WeightsError(
            f"{path.name} holds weights for {found.model}",
            expected=" or ".join(filter(None, (name, network.builds_on))),
        )


def load_strict(network: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Load a state dict that must fit exactly; `source` names it in messages.

    Raises:
        WeightsError: names every missing and every unexpected key and every key of another shape.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    check_keys(wanted, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, source=source)
    network.load_state_dict(dict(tensors), strict=True)


def check_keys(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], *, source: str) -> None:
    """Compare the names and shapes of a state dict with those of a network.

    Raises:
        WeightsError: names every missing and every unexpected key and every key of another shape.
    """
    other = [f"{k} {found[k]} for {wanted[k]}" for k in sorted(wanted) if k in found and found[k] != wanted[k]]
    problems = {
        "missing": sorted(set(wanted) - set(found)),
        "unexpected": sorted(set(found) - set(wanted)),
        "of another shape": other,
    }
    text = "; ".join(f"{what}: {', '.join(keys)}" for what, keys in problems.items() if keys)
    if text:
        raise WeightsError(f"{source} does not fit the network ({text})", todo="use weights made for this network")


def _network_class(name: str) -> type[LearnedModel]:
    found = network_class(name)
    assert issubclass(found, LearnedModel), f"{found.__name__} has no weights"
    return found


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
