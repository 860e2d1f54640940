"""What several commands share: arguments and options that are no settings, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidfill.errors import UsageError
from vidfill.settings import ClickSettings, ModelSettings, TrackSettings
from vidfill.settings.define import OUTPUT, RUN, converted

if TYPE_CHECKING:
    from vidfill.masks.prompt import Prompting

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A video, or a folder of images with --fps.")]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="A video, or a folder of PNGs if it ends in /.",
        rich_help_panel=OUTPUT,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.", rich_help_panel=RUN)]


def parse_source(text: str) -> Path:
    """The path of a source; an empty text, as a shell makes of a variable that is not set, is none.

    Raises:
        UsageError: an empty text.
    """
    if not text:
        raise UsageError("no name for the source", expected="a video or a folder of images", todo="name one")
    return Path(text)


def parse_prompts(clicks: ClickSettings, tracking: TrackSettings) -> Prompting | None:
    """The prompts with how they are followed; None without any.

    Raises:
        UsageError: prompts that cannot be read.
    """
    if not (clicks.point or clicks.not_point or clicks.object_box or clicks.prompts):
        return None
    from vidfill.masks.prompt import Prompting, Prompts

    prompts = Prompts.parse(clicks.point, clicks.not_point, clicks.object_box, file=clicks.prompts)
    return converted(Prompting, tracking, prompts=prompts)


def check_model(settings: ModelSettings) -> None:
    """Refuse what the run itself would refuse: a model, its weights, a device.

    Raises:
        VidfillError: of the kind that says what is wrong.
    """
    from vidfill.engine.device import check_settings, choose_runtime
    from vidfill.models import load_model
    from vidfill.removal.request import Weights

    check_settings(settings)
    choose_runtime(Weights.chosen(settings).load(load_model), settings)
