"""`vidfill info`: what this machine and this installation can do, and what a file is."""

from __future__ import annotations

import platform
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from vidfill import __version__
from vidfill.cli import options as opt
from vidfill.cli.command import command
from vidfill.cli.session import Session
from vidfill.settings import SourceSettings, WeightsSettings

if TYPE_CHECKING:
    from vidfill.video.frame import VideoInfo

# Names of the numbers of ITU-T H.273 that files mostly carry.
_MATRICES = {0: "RGB", 1: "BT.709", 2: "not stated", 5: "BT.601", 6: "BT.601", 9: "BT.2020"}
_PRIMARIES = {1: "BT.709", 2: "not stated", 5: "BT.601", 6: "BT.601", 9: "BT.2020", 12: "P3"}
_TRANSFERS = {1: "BT.709", 2: "not stated", 6: "BT.601", 13: "sRGB", 16: "PQ", 18: "HLG"}
_RANGES = {0: "not stated", 1: "limited", 2: "full"}
_PACKAGES = ("torch", "av", "numpy", "opencv-python-headless")


@command("info", voice=("as_json", "quiet", "verbose", "debug"))
def info(
    run: Session,
    *,
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A video, or a folder of images with --fps.")
    ] = None,
    reading: SourceSettings,
    weights: WeightsSettings,
) -> None:
    """Show devices, encoders, models and versions; with FILE, what the file is and what will be kept of it."""
    if file is None:
        _show_machine(run, weights.model_dir)
    else:
        _show_file(run, opt.parse_source(file), reading.fps)


def _show_machine(run: Session, model_dir: Path | None) -> None:
    machine = {
        "devices": _devices(),
        "encoders": _encoders(),
        "models": _models(model_dir),
        "versions": _versions(),
    }
    run.result(**machine)
    for title, rows in machine.items():
        table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
        for row in rows:
            table.add_row(*(Text(str(cell)) for cell in row.values()))
        run.show(table, "")


def _devices() -> list[dict[str, str]]:
    import torch

    found = [{"name": "cpu", "what": f"{platform.machine()}, torch uses {torch.get_num_threads()} threads"}]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(index)
        found.append({"name": f"cuda:{index}", "what": f"{about.name}, {about.total_memory / 2**30:.0f} GiB"})
    if torch.backends.mps.is_available():
        found.append({"name": "mps", "what": "Apple GPU"})
    return found


def _encoders() -> list[dict[str, str]]:
    """The codec families that `--codec` takes and the encoder that this build of FFmpeg has for each."""
    import av
    from av.codec import codecs_available

    from vidfill.video.codecs import FAMILIES

    found = []
    for family, names in FAMILIES.items():
        present = [name for name in names if name in codecs_available]
        if present:
            found.append({"codec": family, "encoder": present[0], "what": av.Codec(present[0], "w").long_name})
    return found


def _models(model_dir: Path | None) -> list[dict[str, str]]:
    from vidfill.models import MODEL_NAMES, resolve_model
    from vidfill.weights import list_weights

    usable = {item.card.name: item for item in list_weights(model_dir=model_dir) if item.is_usable}
    default = resolve_model("auto", model_dir=model_dir)
    found = []
    for name in MODEL_NAMES:
        item = usable.get(name)
        state = "no weights yet" if item is None else "needs no weights" if item.path is None else f"{item.origin}"
        found.append({"name": name, "weights": state, "default": "default (auto)" if name == default else ""})
    return found


def _versions() -> list[dict[str, str]]:
    import av

    found = [{"name": "vidfill", "version": __version__}, {"name": "python", "version": platform.python_version()}]
    for package in _PACKAGES:
        try:
            found.append({"name": package, "version": version(package)})
        except PackageNotFoundError:  # OpenCV under another of its package names
            found.append({"name": package, "version": "not installed under this name"})
    return [*found, {"name": "ffmpeg", "version": av.ffmpeg_version_info}]


def _show_file(run: Session, file: Path, fps: Fraction | None) -> None:
    from vidfill.video.read import probe

    about = probe(file, fps=fps)
    for warning in about.warnings:
        run.warn(warning)
    facts = _facts(about)
    run.result(file=about, facts=facts)
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(Text(name, style="bold"), Text(str(value)))
    run.show(table)


def _facts(about: VideoInfo) -> dict[str, Any]:
    """What a person wants to know of a file before removing something from it, as short texts."""
    height, width = about.display_size
    color = about.color
    frames = about.n_frames or "not stated"
    masks = f"{width}x{height}, white where something is to go"
    return {
        "path": str(about.path),
        "picture": f"{about.width}x{about.height} {about.codec} {about.profile}".rstrip(),
        "pixels": f"{about.pixel_format.name}, {about.pixel_format.depth} bits",
        "colour": ", ".join(
            f"{what} {names.get(number, number)}"
            for what, names, number in (
                ("matrix", _MATRICES, color.matrix),
                ("primaries", _PRIMARIES, color.primaries),
                ("transfer", _TRANSFERS, color.transfer),
                ("range", _RANGES, color.range),
            )
        ),
        "hdr": "HDR10 metadata" if about.hdr else "none",
        "frames": f"{frames} at {float(about.rate):.3f} a second, {about.duration_s:.2f} s",
        "shown as": f"{width}x{height}" + (" (turned by the player)" if about.orientation.matrix else ""),
        "masks": f"{masks}, one for each frame or one for all",
        "other streams": ", ".join(f"{s.kind} ({s.codec})" for s in about.streams) or "none",
    }
