"""Every setting that a user can give, defined once: its default, unit, range, help text and command-line flags.

A group is a frozen dataclass, and a larger set of settings inherits from its groups: `RemoveSettings` is a
`MaskSettings`, a `ModelSettings` and so on, so that one object is handed on whole to whatever asks for one of its
groups. The command line generates its options from the fields, and `vidfill.remove` its arguments and their
documentation. A new setting is one line here; what it does is written where its group is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from vidfill.errors import UsageError
from vidfill.settings.define import CLICKS, MASKS, MODEL, OUTPUT, RUN, Settings, setting

DEFAULT_WORKING_PIXELS = 432 * 240
MIN_WORKING_PIXELS = 8 * 8
MAX_THREADS = 512
"""Far more than help; each costs memory."""


@dataclass(frozen=True, kw_only=True)
class MaskSettings(Settings):
    """What is removed, and when."""

    mask: Path | str | None = setting(
        None,
        "What to remove, white on black: a folder of images (one a frame), one image for all frames, or a video. "
        '"alpha" takes what the source\'s own alpha channel leaves transparent; filled, it is opaque.',
        panel=MASKS,
        unit="PATH|alpha",
        flags=("--mask", "-m"),
    )
    box: Sequence[str] = setting(
        (),
        "Remove a rectangle, in pixels; may be given several times. START and END are seconds (12.5), clock times "
        "(1:02.5) or frames (#120).",
        panel=MASKS,
        unit="X,Y,W,H[@START-END]",
    )
    invert: bool = setting(False, "Remove what is black instead.", panel=MASKS, flags=("--invert",))
    start: str | None = setting(None, "Remove nothing before this.", panel=MASKS, unit="TIME")
    end: str | None = setting(None, "Remove nothing from here on.", panel=MASKS, unit="TIME")

    @property
    def uses_alpha(self) -> bool:
        """Whether the source's own alpha channel is the mask."""
        return self.mask == "alpha"

    @property
    def mask_path(self) -> Path | None:
        """The file or folder of the masks, None without one."""
        return None if self.mask is None or self.uses_alpha else Path(self.mask)


@dataclass(frozen=True, kw_only=True)
class TrackSettings(Settings):
    """How clicked objects are found and followed."""

    tracker: Literal["auto", "sam", "flow", "sam2"] = setting(
        "auto",
        "sam needs `vidfill weights fetch sam_vit_b`, sam2 the extra of that name, flow nothing; auto takes the best "
        "that is here.",
        panel=CLICKS,
    )
    whole: bool | None = setting(
        None, "Of what a click may mean take the largest or the smallest.", panel=CLICKS, flags=("--whole/--part",)
    )
    grow_px: int | None = setting(
        None,
        "Grow tracked masks for soft edges; default a pixel and a half of the size that tracking works at.",
        panel=CLICKS,
        unit="PX",
        min=0,
        flags=("--grow",),
    )
    shadow: bool = setting(False, "Take in the shadow that the object casts.", panel=CLICKS, flags=("--shadow",))


@dataclass(frozen=True, kw_only=True)
class PromptSettings(TrackSettings):
    """The same, and what happens where an object is lost."""

    allow_lost: bool = setting(
        False, "Go on, without a mask, where the object is lost.", panel=CLICKS, flags=("--allow-lost",)
    )


@dataclass(frozen=True, kw_only=True)
class ClickSettings(Settings):
    """Prompts as the command line spells them; `vidfill.Prompts.parse` reads them."""

    point: Sequence[str] = setting(
        (),
        "A point on the object, in pixels of the picture as a player shows it; -X,Y is one beside it. May be repeated, "
        "also at other times, which corrects the track. 2:X,Y is on a second object. TIME is seconds (12.5), a clock "
        "time (1:02.5) or a frame (#120); the first frame if left out.",
        panel=CLICKS,
        unit="[N:]X,Y[@TIME]",
    )
    not_point: Sequence[str] = setting((), "A point that is not on the object.", panel=CLICKS, unit="[N:]X,Y[@TIME]")
    object_box: Sequence[str] = setting(
        (),
        "A box round the object: left, top, right, bottom. (--box, x,y,w,h, is itself what goes.)",
        panel=CLICKS,
        unit="[N:]X0,Y0,X1,Y1[@TIME]",
    )
    prompts: Path | None = setting(None, "Prompts from a JSON file.", panel=CLICKS, unit="FILE")


@dataclass(frozen=True, kw_only=True)
class PlanSettings(Settings):
    """How large the holes are and at which size they are filled."""

    dilate: int | None = setting(
        None,
        "Grow the mask by this much; by default 1/120 of the picture's shorter side, less for thin masks (text).",
        panel=MASKS,
        unit="PX",
        min=0,
    )
    feather: int | None = setting(
        None,
        "Soft rim around the grown mask; by default as wide as the mask is grown by default.",
        panel=MASKS,
        unit="PX",
        min=0,
    )
    working_size: str | None = setting(
        None,
        "How many pixels the model works on; the crop keeps its own shape. Default as many as 432x240.",
        panel=MODEL,
        unit="WxH|native",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_working_size(self.working_size)


@dataclass(frozen=True, kw_only=True)
class WeightsSettings(Settings):
    """Where weights are looked for."""

    model_dir: Path | None = setting(
        None, "Where your own weights are kept.", panel=MODEL, unit="FOLDER", envvar="VIDFILL_MODEL_DIR"
    )


@dataclass(frozen=True, kw_only=True)
class DeviceSettings(WeightsSettings):
    """Where networks run and where their weights are looked for."""

    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps.", panel=MODEL)


@dataclass(frozen=True, kw_only=True)
class EngineSettings(DeviceSettings):
    """How a model is run; changes nothing of what it computes beyond the rounding of its number type."""

    precision: str = setting("auto", "auto, fp32, bf16 or fp16.", panel=MODEL)
    threads: int = setting(0, "CPU threads, 0 for all.", panel=MODEL, unit="N", min=0, max=MAX_THREADS)


@dataclass(frozen=True, kw_only=True)
class ModelSettings(EngineSettings):
    """Which model fills."""

    model: str = setting("auto", 'See "vidfill info"; auto is the best there is.', panel=MODEL, unit="NAME")
    checkpoint: Path | str | None = setting(None, "Weights of your own.", panel=MODEL, unit="FILE")


@dataclass(frozen=True, kw_only=True)
class EncodeSettings(Settings):
    """How the picture is encoded."""

    codec: str = setting(
        "auto",
        "auto stays in the source's codec; else h264, hevc, av1, vp9, prores, ffv1 or an encoder's name.",
        panel=OUTPUT,
    )
    crf: float | None = setting(None, "Quality, lower is better; default looks like the source.", panel=OUTPUT)
    preset: str | None = setting(None, "Speed against size, in the encoder's words.", panel=OUTPUT)
    encoder_options: Mapping[str, str] | None = setting(
        None,
        "Any option of the encoder; may be repeated.",
        panel=OUTPUT,
        unit="KEY=VALUE",
        flags=("--encoder-option", "-e"),
    )


@dataclass(frozen=True, kw_only=True)
class ComposeSettings(Settings):
    """What is done to a fill before it is put into the picture."""

    blend: bool = setting(True, "Level the fill's brightness to what is around it.", panel=OUTPUT)
    grain: bool = setting(True, "Give the fill the grain of what is around it.", panel=OUTPUT)

    @property
    def makes_opaque(self) -> bool:
        """Whether the picture's own alpha becomes opaque where the fill is, as for a hole that alpha itself marked."""
        return False


@dataclass(frozen=True, kw_only=True)
class SourceSettings(Settings):
    """How the source is read."""

    fps: Fraction | None = setting(None, "Frame rate of a folder of images: 25 or 30000/1001.", panel=RUN, unit="RATE")


@dataclass(frozen=True, kw_only=True)
class OverwriteSettings(Settings):
    """Whether an output may be replaced."""

    overwrite: bool = setting(False, "Replace the output if it exists.", panel=OUTPUT, flags=("--overwrite", "-y"))


@dataclass(frozen=True, kw_only=True)
class RunSettings(OverwriteSettings):
    """How one run treats what an earlier one left."""

    resume: bool = setting(False, "Go on where an interrupted run stopped.", panel=RUN, flags=("--resume",))
    work_dir: Path | str | None = setting(None, "Where finished parts are kept for --resume.", panel=RUN, unit="FOLDER")
    keep_work: bool = setting(False, "Keep them when all is done, too.", panel=RUN, flags=("--keep-work",))


@dataclass(frozen=True, kw_only=True)
class FillSettings(MaskSettings, ModelSettings, EncodeSettings, ComposeSettings, SourceSettings):
    """What removals and retargetings have in common."""

    strict: bool = setting(False, "Fail on damaged frames instead of holding the last good one.", panel=RUN)

    @property
    def makes_opaque(self) -> bool:
        """Whether the source's own alpha channel is the mask."""
        return self.uses_alpha


@dataclass(frozen=True, kw_only=True)
class RemovalSettings(FillSettings, PlanSettings):
    """How something is removed, from one video or from each of many."""


@dataclass(frozen=True, kw_only=True)
class RemoveSettings(RemovalSettings, RunSettings):
    """What `vidfill remove` takes beside the masks of clicked objects."""

    output_fill: Path | str | None = setting(
        None,
        "The fill as a layer for editors, beside or instead of --output: .mov (ProRes 4444), .mkv (FFV1) or a folder "
        "of PNGs; straight alpha, transparent but for the patches, no sound.",
        panel=OUTPUT,
        unit="PATH",
    )


def parse_working_size(text: str | None) -> int | None:
    """The number of pixels that a working size stands for; None for the crop's own.

    Raises:
        UsageError: for anything but "WxH", a number of pixels, or "native".
    """
    if text is None:
        return DEFAULT_WORKING_PIXELS
    if text == "native":
        return None
    numbers = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower(), re.ASCII)
    pixels = int(numbers[1]) * int(numbers[2] or 1) if numbers else 0
    if pixels < MIN_WORKING_PIXELS:
        raise UsageError(
            f"the working size {text!r}",
            expected='"WxH", a number of pixels, or "native", and at least 8x8',
            todo="write it like 432x240",
        )
    return pixels
