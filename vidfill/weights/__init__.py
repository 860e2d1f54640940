"""Weight files: where they lie, what their manifest says of them, reading, checking, writing and fetching them.

This package knows files, not networks: which tensors a network wants is the network's business (`vidfill.models`).
"""

from vidfill.weights.files import Checkpoint, file_sha256, load_weights, read_torch_checkpoint, save_weights
from vidfill.weights.manifest import (
    Card,
    Installed,
    Verdict,
    default_model_dir,
    find_weights,
    install_weights,
    list_weights,
    read_manifest,
    register_file,
    shipped_dir,
    verify_weights,
    write_manifest,
)

__all__ = [
    "Card",
    "Checkpoint",
    "Installed",
    "Verdict",
    "default_model_dir",
    "file_sha256",
    "find_weights",
    "install_weights",
    "list_weights",
    "load_weights",
    "read_manifest",
    "read_torch_checkpoint",
    "register_file",
    "save_weights",
    "shipped_dir",
    "verify_weights",
    "write_manifest",
]
