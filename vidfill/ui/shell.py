"""The shell command that does what the page does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import Field
from pathlib import Path
from typing import Any

from vidfill.settings import PromptSettings, RemoveSettings
from vidfill.settings.commands import UiSettings
from vidfill.settings.define import about, settings_of

_CHOSEN_LATER = ("shadow", "dilate", "allow_lost", "overwrite")  # on the page, or by the user of the command


def removal_command(source: Path, output: Path | str, prompts: Path, settings: UiSettings) -> str:
    """The line for a shell that removes what a file of prompts selects, with all settings that are not defaults."""
    words: list[object] = ["vidfill", "remove", source, "--prompts", prompts, "-o", output]
    known = {**settings_of(RemoveSettings), **settings_of(PromptSettings)}
    for name, each in known.items():
        value = getattr(settings, name, each.default)
        if name not in _CHOSEN_LATER and value != each.default:
            words += _option(name, each, value)
    return shlex.join(str(word) for word in words)


def _option(name: str, each: Field[Any], value: object) -> list[object]:
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        on, _, off = (*about(each).flags, f"--{dashed}/--no-{dashed}")[0].partition("/")
        return [on if value else off]
    flag = (*about(each).flags, f"--{dashed}")[0]
    if isinstance(value, Mapping):
        value = [f"{key}={item}" for key, item in value.items()]
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [word for item in several for word in (flag, item)]
