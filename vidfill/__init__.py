"""vidfill removes objects from video and fills the hole with what was behind them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vidfill.batch.events import BatchResult as BatchResult
    from vidfill.batch.run import batch as batch
    from vidfill.masks.prompt import Prompting as Prompting
    from vidfill.masks.prompt import Prompts as Prompts
    from vidfill.removal.run import RemoveResult as RemoveResult
    from vidfill.removal.run import remove as remove
    from vidfill.removal.write_masks import write_masks as write_masks
    from vidfill.retarget.run import RetargetResult as RetargetResult
    from vidfill.retarget.run import retarget as retarget
    from vidfill.video.read import probe as probe

# `vidfill.batch` and `vidfill.retarget` are functions, in packages of the same names. A package is bound to its name
# when it is first imported; taking the names away right after that leaves them to `__getattr__`.
for _name in ("batch", "retarget"):
    import_module(f"vidfill.{_name}")
    globals().pop(_name, None)

# Where each public name lives. Imported on first use: `import vidfill` must not cost the import of torch.
_LAZY = {
    "BatchResult": "vidfill.batch.events",
    "Prompting": "vidfill.masks.prompt",
    "Prompts": "vidfill.masks.prompt",
    "RemoveResult": "vidfill.removal.run",
    "RetargetResult": "vidfill.retarget.run",
    "batch": "vidfill.batch.run",
    "probe": "vidfill.video.read",
    "remove": "vidfill.removal.run",
    "retarget": "vidfill.retarget.run",
    "write_masks": "vidfill.removal.write_masks",
}

__all__ = [
    "BatchResult",
    "Prompting",
    "Prompts",
    "RemoveResult",
    "RetargetResult",
    "__version__",
    "batch",
    "probe",
    "remove",
    "retarget",
    "write_masks",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
