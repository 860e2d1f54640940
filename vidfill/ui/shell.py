"""The shell command that does what the page does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from vidfill.settings import PromptSettings, RemoveSettings
from vidfill.settings.commands import UiSettings
from vidfill.settings.define import Setting, settings_of

_CHOSEN_LATER = ("shadow", "dilate", "allow_lost", "overwrite")  # on the page, or by the user of the command


def removal_command(source: Path, output: Path | str, prompts: Path, settings: UiSettings) -> str:
    """The line for a shell that removes what a file of prompts selects, with all settings that are not defaults."""
    words: list[object] = ["vidfill", "remove", source, "--prompts", prompts, "-o", output]
    for name, known in {**settings_of(RemoveSettings), **settings_of(PromptSettings)}.items():
        value = getattr(settings, name, known.default)
        if name not in _CHOSEN_LATER and value != known.default:
            words += _option(known, value)
    return shlex.join(str(word) for word in words)


def _option(known: Setting, value: object) -> list[object]:
    flag, _, off = known.flags[0].partition("/")
    if isinstance(value, bool):
        return [flag if value else off]
    if isinstance(value, Mapping):
        value = [f"{key}={item}" for key, item in value.items()]
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [word for item in several for word in (flag, item)]
