"""The settings of the single commands, made of the groups that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vidfill.settings import (
    ComposeSettings,
    DeviceSettings,
    EncodeSettings,
    EngineSettings,
    FillSettings,
    MaskSettings,
    ModelSettings,
    OverwriteSettings,
    PlanSettings,
    RunSettings,
    SourceSettings,
    TrackSettings,
)
from vidfill.settings.define import BATCH, MASKS, MODEL, OUTPUT, RUN, SCORED, SHAPE, Settings, restated, setting

Layout = Literal["overlay", "side-by-side", "stacked", "split"]
"""How a source and its mask or a result lie in one picture; "split" shows the left half of one and the right half of
the other."""
Anchor = Literal["bottom", "center", "top", "left", "right"]
"""The point of an object that stays at its proportional position."""
MIN_SIDE, MAX_SIDE = 16, 16384
"""Of a retargeted picture, in pixels: what encoders accept."""


@dataclass(frozen=True, kw_only=True)
class RetargetSettings(FillSettings, RunSettings):
    """What `vidfill retarget` takes; here masks say what keeps its shape."""

    width: int | None = setting(
        None, "Of the output; the height stays.", panel=SHAPE, unit="PX", min=MIN_SIDE, max=MAX_SIDE
    )
    height: int | None = setting(
        None, "Of the output; the width stays.", panel=SHAPE, unit="PX", min=MIN_SIDE, max=MAX_SIDE
    )
    aspect: str | None = setting(
        None,
        "Such as 9:16, with --width or --height, or alone: the picture then gets smaller, never larger.",
        panel=SHAPE,
        unit="W:H",
    )
    object_scale: float = setting(
        1.0,
        "Times the size that objects get by themselves; never larger than fits.",
        panel=SHAPE,
        unit="X",
        min=0.1,
        max=10,
    )
    anchor: Anchor = setting("bottom", "The point of an object that stays at its proportional place.", panel=SHAPE)
    mask: Path | str | None = setting(
        None,
        "What keeps its shape, white on black: a folder of images (one a frame), one image for all frames, or a video.",
        panel=MASKS,
        unit="PATH",
        flags=("--mask", "-m"),
    )
    box: Sequence[str] = restated(
        MaskSettings,
        "box",
        "A rectangle that keeps its shape, in pixels; may be given several times. Times are seconds (12.5), clock "
        "times (1:02.5) or frames (#120).",
    )
    invert: bool = restated(MaskSettings, "invert", "Take what is black in the mask instead.")
    start: str | None = restated(MaskSettings, "start", "No mask before this.")
    end: str | None = restated(MaskSettings, "end", "No mask from here on.")
    dilate: int | None = restated(
        PlanSettings, "dilate", "Fill the background so far beyond the mask; by default as `remove` does."
    )
    feather: int = setting(2, "Soft rim of the objects, outside the mask.", panel=MASKS, unit="PX", min=0)
    working_size: str | None = restated(PlanSettings, "working_size")


@dataclass(frozen=True, kw_only=True)
class WriteMasksSettings(DeviceSettings, SourceSettings, OverwriteSettings):
    """What `vidfill mask` takes beside the clicks."""

    box: Sequence[str] = restated(MaskSettings, "box")
    start: str | None = restated(MaskSettings, "start")
    end: str | None = restated(MaskSettings, "end")


@dataclass(frozen=True, kw_only=True)
class PreviewSettings(MaskSettings, DeviceSettings, SourceSettings, OverwriteSettings):
    """What `vidfill preview` takes beside the clicks."""

    result: Path | str | None = setting(
        None, "Show the source beside this result of a removal.", unit="RESULT", flags=("--with",)
    )
    layout: Layout | None = setting(None, "Default: side-by-side with a result, the overlay of the mask without.")
    n_cells: int = setting(12, "Frames on a sheet, spread over the video.", unit="N", min=1, flags=("--cells",))
    columns: int = setting(0, "Columns of a sheet, 0 for what fits.", unit="N", min=0)


@dataclass(frozen=True, kw_only=True)
class BatchSettings(OverwriteSettings):
    """How a batch is done, beside how each video is."""

    mask_pattern: str | None = setting(
        None,
        'Where the mask of a video is, from its own folder: "{stem}_masks", "masks/{stem}.mp4". Fields are {stem}, '
        "{ext}, {name} and {parent}.",
        panel=MASKS,
        unit="PATTERN",
    )
    name: str = setting("{stem}_filled{ext}", "Name of an output, with the same fields.", panel=OUTPUT, unit="PATTERN")
    n_workers: int = setting(
        0,
        "So many at a time; 0 for one a GPU, or one without a GPU. On a CPU they share its threads out.",
        panel=BATCH,
        unit="N",
        min=0,
        max=512,
        flags=("--jobs", "-j"),
    )
    shard: str | None = setting(None, "Do the I-th of N parts: for SLURM arrays.", panel=BATCH, unit="I/N")
    split: bool = setting(False, "Spread each video over the workers: for long ones.", panel=BATCH, flags=("--split",))
    cluster: str | None = setting(
        None,
        "Work on a Ray cluster that shares the folders (pip install 'vidfill[cluster]').",
        panel=BATCH,
        unit="auto|ADDRESS",
    )
    retry_failed: bool = setting(False, "Try again what was given up.", panel=BATCH, flags=("--retry-failed",))


@dataclass(frozen=True, kw_only=True)
class UiSettings(TrackSettings, ModelSettings, EncodeSettings, ComposeSettings, SourceSettings, OverwriteSettings):
    """What holds for as long as the page of `vidfill ui` is there."""

    prompts: Path | None = setting(
        None,
        "Where clicks are kept, and read from if it exists; by default NAME.prompts.json beside the output.",
        panel=OUTPUT,
        unit="FILE",
    )
    port: int = setting(0, "0 for one that is free.", panel=RUN, unit="N", min=0, max=65535)
    browser: bool = setting(True, "Open the page.", panel=RUN)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(EngineSettings, OverwriteSettings):
    """What `vidfill evaluate` takes beside the clips."""

    protocol: Literal["S", "O", "both"] = setting(
        "both",
        "S cuts one hole that stays where it is, O the moving silhouette of another clip's object.",
        panel=SCORED,
    )
    models: str = setting(
        "telea,ns,auto",
        "telea and ns (OpenCV, frame by frame), models, auto, or names from --checkpoint. NAME-without-memory, "
        "NAME-without-feedback and NAME-without-flow switch a part off.",
        panel=MODEL,
        unit="NAME,...",
    )
    checkpoint: Sequence[str] = setting(
        (),
        "Weights that are not installed, by a name for --models; may be repeated.",
        panel=MODEL,
        unit="NAME=FILE",
    )
    only: str | None = setting(None, "These clips alone.", panel=SCORED, unit="CLIP,...")
    frames: int = setting(50, "The first so many frames of each clip.", panel=SCORED, unit="N", min=1)
    drift: bool = setting(
        False, "Play each clip to and fro for 301 frames: do fills get worse?", panel=SCORED, flags=("--drift",)
    )
    removal: bool = setting(
        False,
        "Remove the clips' own objects, without a truth: sheets, slow videos and measures in --out.",
        flags=("--removal",),
    )
    out: Path | None = setting(
        None,
        "results.json and results.md, written after each clip, and a contact sheet for each clip.",
        panel=OUTPUT,
        unit="FOLDER",
    )
    resume: bool = setting(
        False, "Keep the scores that --out holds and add what is missing.", panel=OUTPUT, flags=("--resume",)
    )


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """What `vidfill train` takes beside the model, the data and the recipe."""

    steps: int = setting(0, "Length of the run in steps; 0 for the recipe's.", min=0)
    minutes: float = setting(0, "Stop and save after so long; 0 for no limit.", min=0)
    resume: bool = setting(False, "Go on from the folder's checkpoint, if there is one.", flags=("--resume",))
    start: str = setting(
        "", "Weights to begin with; opn-tcn needs those of opn; painter takes discriminators, too.", unit="FILE[,FILE]"
    )
    compile_layers: bool = setting(True, "torch.compile on CUDA.", flags=("--compile/--no-compile",))
    device: str = setting("auto", "auto, cpu, cuda or cuda:N.")
    threads: int = setting(0, "CPU threads; 0 leaves it to torch.", min=0)
