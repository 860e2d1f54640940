"""Reading and writing weight files: our own safetensors files, and checkpoints of PyTorch."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidfill.errors import WeightsError
from vidfill.files.atomic import atomic_write

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A weight file in memory: which model it is for, the sizes that build it, its tensors by name."""

    model: str
    sizes: dict[str, Any]
    tensors: dict[str, Tensor]


def save_weights(path: Path, checkpoint: Checkpoint) -> None:
    """Write a safetensors file whose header carries the model's name and sizes; it appears only when complete.

    Raises:
        WeightsError: the file cannot be written.
    """
    from safetensors.torch import save_file

    metadata = {"format": "pt", "vidfill_model": checkpoint.model, "vidfill_sizes": json.dumps(checkpoint.sizes)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    with writing(path) as partial:
        save_file(tensors, partial, metadata=metadata)


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
        return Checkpoint(metadata["vidfill_model"], dict(json.loads(metadata["vidfill_sizes"])), tensors)
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path.name} does not say which vidfill model it is for",
            expected="a file that vidfill wrote",
            todo="import the checkpoint with `vidfill weights import MODEL FILE`",
        ) from error


def read_torch_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint that `torch.save` wrote, without running any code that it holds.

    Takes a plain state dict or one under the key "state_dict", and drops the "module." that DataParallel puts before
    each name.

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


def file_sha256(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """`atomic_write` into a folder that is made where there is none.

    Raises:
        WeightsError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            yield partial
    except OSError as error:
        raise WeightsError(
            f"cannot write {path} ({error.strerror})", todo="name another folder, or free some space on the disk"
        ) from error
