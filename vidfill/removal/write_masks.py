"""Masks of clicked objects as files, for other tools: one white-on-black picture for each frame."""

from __future__ import annotations

import tempfile
from dataclasses import MISSING, dataclass, replace
from pathlib import Path

import numpy as np

from vidfill.errors import MaskError, UsageError
from vidfill.masks.prompt import Prompting
from vidfill.progress import OnProgress, collected_warnings, reporter
from vidfill.removal.request import FillArguments, Request
from vidfill.settings import PlanSettings
from vidfill.settings.commands import WriteMasksSettings
from vidfill.settings.define import converted, flat, setting
from vidfill.track.result import Lost, Track
from vidfill.video.formats import pixel_format
from vidfill.video.frame import Bool, ColorTags, Frame, Orientation, VideoInfo
from vidfill.video.write import open_writer
from vidfill.video.write_images import is_folder_output

_FULL_RANGE = 2  # AVColorRange


@dataclass(frozen=True, slots=True)
class MaskResult:
    """What was written."""

    output: Path
    n_frames: int
    n_masked: int  # masks that are not empty
    tracker: str
    lost: tuple[Lost, ...]  # where objects are lost, if that was allowed
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WriteMasksArguments(WriteMasksSettings):
    """The keyword arguments of `vidfill.write_masks`."""

    prompts: Prompting = setting(MISSING, "The objects that are meant, and how they are followed.")
    progress: OnProgress | None = setting(None, 'Called after each frame, stages "track" and "masks".')


def run_write_masks(source: Path | str, output: Path | str, arguments: WriteMasksArguments) -> MaskResult:
    """Select and follow objects, and write their masks: white where they are, at the size that a player shows.

    Args:
        source: a video, or a folder of images.
        output: a folder for PNG files (text that ends in a slash, or a name without an extension), or an .mkv.
        arguments: all that `vidfill.write_masks` takes by name.

    Raises:
        VidfillError: of the kind that says what is wrong; no output is left behind.

    Example:
        >>> import vidfill
        >>> clicks = vidfill.Prompting(vidfill.Prompts.parse(["412,180"]))
        >>> vidfill.write_masks("in.mp4", "masks/", prompts=clicks)  # doctest: +SKIP
    """
    if not is_folder_output(output) and Path(output).suffix.lower() != ".mkv":
        raise UsageError(f"{output} for masks", expected="a folder, or an .mkv, which holds them without loss")
    settings = converted(FillArguments, arguments, codec="auto" if is_folder_output(output) else "ffv1")
    request = Request(Path(source), output, settings, PlanSettings(), reshape=_picture_of_masks)
    with collected_warnings() as warnings, tempfile.TemporaryDirectory() as folder, request.reader() as reader:
        file = Path(folder) / "masks.track"
        checked = request.check(reader.info, track=file)
        index = request.track(reader, file)
        report = reporter(settings.progress, "masks") or (lambda done, total: None)
        n_frames = n_masked = 0
        with (
            Track.open(file, checked.info) as found,
            checked.masks.cursor() as cursor,
            open_writer(output, checked.written, settings, overwrite=settings.overwrite) as writer,
        ):
            for frame in reader.frames() if index is None else index.frames():
                mask = cursor.at(frame)
                writer.write(_as_frame(frame, checked.info.orientation.to_display(mask).astype(np.bool_)))
                n_masked += bool(mask.any())
                n_frames += 1
                report(n_frames, found.n_frames)
            if not n_masked and not found.lost:
                raise MaskError(
                    f"masks that are empty on all {n_frames} frames",
                    expected="the object on some of them",
                    todo="check --start and --end",
                )
    return MaskResult(Path(output), n_frames, n_masked, found.tracker, found.lost, tuple(warnings))


def _picture_of_masks(info: VideoInfo) -> VideoInfo:
    """The masks of a source as a video: grey, upright, without sound."""
    height, width = info.display_size
    return replace(
        info,
        height=height,
        width=width,
        pixel_format=pixel_format("gray"),
        color=ColorTags(range=_FULL_RANGE),
        orientation=Orientation(),
        hdr=None,
        interlaced=False,
        streams=(),
    )


def _as_frame(frame: Frame, mask: Bool) -> Frame:
    return Frame(frame.index, frame.pts, frame.time_base, (np.where(mask, np.uint8(255), np.uint8(0)),), frame.held)


write_masks = flat("write_masks", WriteMasksArguments)(run_write_masks)
