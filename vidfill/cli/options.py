"""The options that several commands share, as annotated types, and the parsers of their values."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from vidfill.cli.progress import ProgressMode
from vidfill.errors import UsageError

MASKS, MODEL, OUTPUT, RUN, SPEECH = "Masks", "Model", "Output", "Run", "What is shown"

_MAX_THREADS = 512  # far more than help; each costs memory

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A video, or a folder of images with --fps.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.", rich_help_panel=SPEECH)]
Shown = Annotated[
    ProgressMode,
    typer.Option(
        "--progress",
        help="A bar on a terminal and plain lines elsewhere (auto), either of them, JSON lines, or nothing; on stderr.",
        rich_help_panel=SPEECH,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.", rich_help_panel=SPEECH)]
Verbose = Annotated[
    int,
    typer.Option("--verbose", "-v", count=True, help="Tell what is done; twice for more.", rich_help_panel=SPEECH),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.", rich_help_panel=SPEECH)]

Mask = Annotated[
    str | None,
    typer.Option(
        "--mask",
        "-m",
        metavar="PATH|alpha",
        help="What to remove, white on black: a folder of images (one a frame), one image for all frames, or a "
        'video. "alpha" takes what the source\'s own alpha channel leaves transparent; filled, it is opaque.',
        rich_help_panel=MASKS,
    ),
]
Boxes = Annotated[
    list[str] | None,
    typer.Option(
        "--box",
        metavar="X,Y,W,H[@START-END]",
        help="Remove a rectangle, in pixels; may be given several times. START and END are seconds (12.5), "
        "clock times (1:02.5) or frames (#120).",
        rich_help_panel=MASKS,
    ),
]
Invert = Annotated[bool, typer.Option("--invert", help="Remove what is black instead.", rich_help_panel=MASKS)]
Start = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="Remove nothing before this.", rich_help_panel=MASKS)
]
End = Annotated[
    str | None, typer.Option("--end", metavar="TIME", help="Remove nothing from here on.", rich_help_panel=MASKS)
]
Dilate = Annotated[
    int | None,
    typer.Option(
        "--dilate",
        min=0,
        metavar="PX",
        help="Grow the mask by this much; by default 1/120 of the picture's shorter side, less for thin masks (text).",
        rich_help_panel=MASKS,
    ),
]
Feather = Annotated[
    int | None,
    typer.Option(
        "--feather",
        min=0,
        metavar="PX",
        help="Soft rim around the grown mask; by default as wide as the mask is grown by default.",
        rich_help_panel=MASKS,
    ),
]
Fps = Annotated[
    str | None,
    typer.Option(
        "--fps", metavar="RATE", help="Frame rate of a folder of images: 25 or 30000/1001.", rich_help_panel=RUN
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", "-y", help="Replace the output if it exists.", rich_help_panel=OUTPUT)
]
ModelDir = Annotated[
    Path | None,
    typer.Option(
        "--model-dir",
        envvar="VIDFILL_MODEL_DIR",
        metavar="FOLDER",
        help="Where your own weights are kept.",
        rich_help_panel=MODEL,
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=MODEL)]
Precision = Annotated[str, typer.Option("--precision", help="auto, fp32, bf16 or fp16.", rich_help_panel=MODEL)]
Threads = Annotated[
    int,
    typer.Option(
        "--threads", min=0, max=_MAX_THREADS, metavar="N", help="CPU threads, 0 for all.", rich_help_panel=MODEL
    ),
]

ModelName = Annotated[
    str,
    typer.Option(metavar="NAME", help='See "vidfill info"; auto is the best there is.', rich_help_panel=MODEL),
]
Checkpoint = Annotated[Path | None, typer.Option(metavar="FILE", help="Weights of your own.", rich_help_panel=MODEL)]
WorkingSize = Annotated[
    str | None,
    typer.Option(
        metavar="WxH|native",
        help="How many pixels the model works on; the crop keeps its own shape. Default as many as 432x240.",
        rich_help_panel=MODEL,
    ),
]
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
OutputFill = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The fill as a layer for editors, beside or instead of --output: .mov (ProRes 4444), .mkv (FFV1) or a "
        "folder of PNGs; straight alpha, transparent but for the patches, no sound.",
        rich_help_panel=OUTPUT,
    ),
]
Codec = Annotated[
    str,
    typer.Option(
        help="auto stays in the source's codec; else h264, hevc, av1, vp9, prores, ffv1 or an encoder's name.",
        rich_help_panel=OUTPUT,
    ),
]
Crf = Annotated[
    float | None,
    typer.Option(help="Quality, lower is better; default looks like the source.", rich_help_panel=OUTPUT),
]
Preset = Annotated[str | None, typer.Option(help="Speed against size, in the encoder's words.", rich_help_panel=OUTPUT)]
EncoderOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder-option",
        "-e",
        metavar="KEY=VALUE",
        help="Any option of the encoder; may be repeated.",
        rich_help_panel=OUTPUT,
    ),
]
Blend = Annotated[bool, typer.Option(help="Level the fill's brightness to what is around it.", rich_help_panel=OUTPUT)]
Grain = Annotated[bool, typer.Option(help="Give the fill the grain of what is around it.", rich_help_panel=OUTPUT)]
Strict = Annotated[
    bool, typer.Option(help="Fail on damaged frames instead of holding the last good one.", rich_help_panel=RUN)
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing", "-n", help="Leave an output that exists as it is, with code 0.", rich_help_panel=RUN
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.", rich_help_panel=RUN)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.", rich_help_panel=RUN)]
WorkDir = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Where finished parts are kept for --resume.", rich_help_panel=RUN),
]
KeepWork = Annotated[bool, typer.Option("--keep-work", help="Keep them when all is done, too.", rich_help_panel=RUN)]


def parse_source(text: str) -> Path:
    """The path of a source; an empty text, as a shell makes of a variable that is not set, is none.

    Raises:
        UsageError: an empty text.
    """
    if not text:
        raise UsageError("no name for the source", expected="a video or a folder of images", todo="name one")
    return Path(text)


def parse_rate(text: str | None) -> Fraction | None:
    """A frame rate such as "25", "23.976" or "30000/1001", to six digits, as time bases of video files have them.

    Raises:
        UsageError: not a number from 0.001 to 1000.
    """
    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not Fraction(1, 1000) <= rate <= 1000:
        raise UsageError(f"--fps {text!r}", expected="0.001 to 1000 frames a second, such as 25 or 30000/1001")
    return rate.limit_denominator(1_000_000)


def parse_pairs(texts: Iterable[str]) -> dict[str, str]:
    """The options of the encoder from "key=value" texts.

    Raises:
        UsageError: a text without a key or without "=".
    """
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"-e {text!r}", expected="key=value", todo="write for example -e tune=film")
        pairs[key] = value
    return pairs


def check_model(
    model: str, checkpoint: Path | None, model_dir: Path | None, *, device: str, precision: str, threads: int
) -> None:
    """Refuse what the run itself would refuse: a model, its weights, a device.

    Raises:
        VidfillError: of the kind that says what is wrong.
    """
    from vidfill.engine.device import EngineSettings, check_settings, choose_runtime
    from vidfill.models import load_model

    settings = EngineSettings(device=device, precision=precision, threads=threads)
    check_settings(settings)
    choose_runtime(load_model(model, checkpoint=checkpoint, model_dir=model_dir), settings)
