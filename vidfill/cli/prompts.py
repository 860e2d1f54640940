"""The options that say which objects are meant and how they are followed, shared by remove, mask and preview."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vidfill.masks.prompt import Prompting

PROMPTS = "Masks from clicks"


class TrackerName(StrEnum):
    """What `--tracker` takes: `vidfill.track.tools.TRACKER_NAMES`, which is too heavy to import for `--help`."""

    auto = "auto"
    sam = "sam"
    flow = "flow"
    sam2 = "sam2"


Points = Annotated[
    list[str] | None,
    typer.Option(
        "--point",
        metavar="[N:]X,Y[@TIME]",
        help="A point on the object, in pixels of the picture as a player shows it; -X,Y is one beside it. May be "
        "repeated, also at other times, which corrects the track. 2:X,Y is on a second object. TIME is seconds (12.5), "
        "a clock time (1:02.5) or a frame (#120); the first frame if left out.",
        rich_help_panel=PROMPTS,
    ),
]
NotPoints = Annotated[
    list[str] | None,
    typer.Option(
        "--not-point", metavar="[N:]X,Y[@TIME]", help="A point that is not on the object.", rich_help_panel=PROMPTS
    ),
]
ObjectBoxes = Annotated[
    list[str] | None,
    typer.Option(
        "--object-box",
        metavar="[N:]X0,Y0,X1,Y1[@TIME]",
        help="A box round the object: left, top, right, bottom. (--box, x,y,w,h, is itself what goes.)",
        rich_help_panel=PROMPTS,
    ),
]
PromptFile = Annotated[
    Path | None, typer.Option("--prompts", metavar="FILE", help="Prompts from a JSON file.", rich_help_panel=PROMPTS)
]
Tracker = Annotated[
    TrackerName,
    typer.Option(
        help="sam needs `vidfill weights fetch sam_vit_b`, sam2 the extra of that name, flow nothing; auto takes the "
        "best that is here.",
        rich_help_panel=PROMPTS,
    ),
]
Whole = Annotated[
    bool | None,
    typer.Option(
        "--whole/--part",
        help="Of what a click may mean take the largest or the smallest.",
        show_default=False,
        rich_help_panel=PROMPTS,
    ),
]
AllowLost = Annotated[
    bool,
    typer.Option("--allow-lost", help="Go on, without a mask, where the object is lost.", rich_help_panel=PROMPTS),
]
Grow = Annotated[
    int | None,
    typer.Option(
        "--grow",
        min=0,
        metavar="PX",
        help="Grow tracked masks for soft edges; default a pixel and a half of the size that tracking works at.",
        rich_help_panel=PROMPTS,
    ),
]
Shadow = Annotated[
    bool, typer.Option("--shadow", help="Take in the shadow that the object casts.", rich_help_panel=PROMPTS)
]


def parse_prompting(
    points: Iterable[str] | None,
    not_points: Iterable[str] | None,
    boxes: Iterable[str] | None,
    file: Path | None,
    *,
    tracker: TrackerName,
    whole: bool | None,
    allow_lost: bool,
    grow: int | None,
    shadow: bool,
) -> Prompting | None:
    """The options as one value; None without any prompt.

    Raises:
        UsageError: prompts that cannot be read.
    """
    if not points and not not_points and not boxes and file is None:
        return None
    from vidfill.masks.prompt import Prompting, Prompts

    prompts = Prompts.parse(points or (), not_points or (), boxes or (), file=file)
    return Prompting(prompts, str(tracker), whole, allow_lost, grow, shadow)
