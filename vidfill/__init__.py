"""vidfill removes objects from video and fills the hole with what was behind them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vidfill.batching.batch import BatchResult as BatchResult
    from vidfill.batching.batch import batch as batch
    from vidfill.masking import write_masks as write_masks
    from vidfill.masks.prompt import Prompting as Prompting
    from vidfill.masks.prompt import Prompts as Prompts
    from vidfill.pipeline import RemoveResult as RemoveResult
    from vidfill.pipeline import remove as remove
    from vidfill.retargeting.run import RetargetResult as RetargetResult
    from vidfill.retargeting.run import retarget as retarget
    from vidfill.video.read import probe as probe

# Where each public name lives. Imported on first use: `import vidfill` must not cost the import of torch.
_LAZY = {
    "BatchResult": "vidfill.batching.batch",
    "Prompting": "vidfill.masks.prompt",
    "Prompts": "vidfill.masks.prompt",
    "RemoveResult": "vidfill.pipeline",
    "RetargetResult": "vidfill.retargeting.run",
    "batch": "vidfill.batching.batch",
    "probe": "vidfill.video.read",
    "remove": "vidfill.pipeline",
    "retarget": "vidfill.retargeting.run",
    "write_masks": "vidfill.masking",
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
