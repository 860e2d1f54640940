"""The stage that knows networks and devices: it feeds a model the frames of a segment and gives out patches."""

from vidfill.engine.clip import fill_clip as fill_clip
from vidfill.engine.fill import fill as fill

__all__ = ["fill", "fill_clip"]
