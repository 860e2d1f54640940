"""Weight files: where they lie, what their manifest says of them, reading, checking, writing and fetching them.

This package knows files, not networks: which tensors a network wants is the network's business (`vidfill.models`).
"""

from vidfill.weights.files import Checkpoint as Checkpoint
from vidfill.weights.files import file_sha256 as file_sha256
from vidfill.weights.files import load_weights as load_weights
from vidfill.weights.files import read_torch_checkpoint as read_torch_checkpoint
from vidfill.weights.files import save_weights as save_weights
from vidfill.weights.manifest import Card as Card
from vidfill.weights.manifest import Installed as Installed
from vidfill.weights.manifest import default_model_dir as default_model_dir
from vidfill.weights.manifest import find_weights as find_weights
from vidfill.weights.manifest import install_weights as install_weights
from vidfill.weights.manifest import list_weights as list_weights
from vidfill.weights.manifest import read_manifest as read_manifest
from vidfill.weights.manifest import register_file as register_file
from vidfill.weights.manifest import shipped_dir as shipped_dir
from vidfill.weights.manifest import verify_weights as verify_weights
from vidfill.weights.manifest import write_manifest as write_manifest
