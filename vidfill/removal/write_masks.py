"""Masks of clicked objects as files, for other tools: one white-on-black picture a frame."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from vidfill.engine.plan import PlanSettings
from vidfill.errors import MaskError, UsageError
from vidfill.masks.prompt import Prompting
from vidfill.progress import OnProgress, collected_warnings, reporter
from vidfill.removal.request import Request, mask_spec
from vidfill.track.result import Lost, Track
from vidfill.video.codecs import EncodeSettings
from vidfill.video.formats import pixel_format
from vidfill.video.frame import Bool, ColorTags, Frame, Orientation, VideoInfo
from vidfill.video.read import Reader
from vidfill.video.write import open_writer
from vidfill.video.write_images import is_folder_output

_FULL_RANGE = 2  # AVColorRange


@dataclass(frozen=True, slots=True)
class MaskResult:
    """What was written.

    Attributes:
        output: the folder or the video.
        n_frames: masks written.
        n_masked: those that are not empty.
        tracker: what followed the objects.
        lost: where objects are not known, if that was allowed.
        warnings: one line each.
    """

    output: Path
    n_frames: int
    n_masked: int
    tracker: str
    lost: tuple[Lost, ...]
    warnings: tuple[str, ...]


def write_masks(
    source: Path | str,
    output: Path | str,
    *,
    prompts: Prompting,
    box: Sequence[str] = (),
    start: str | None = None,
    end: str | None = None,
    model_dir: Path | None = None,
    device: str = "auto",
    fps: Fraction | None = None,
    overwrite: bool = False,
    progress: OnProgress | None = None,
) -> MaskResult:
    """Select and follow objects, and write their masks: white where they are, at the size that a player shows.

    Args:
        source: a video, or a folder of images.
        output: a folder for PNG files (text that ends in a slash, or a name without an extension), or an .mkv.
        prompts: what is meant.
        box: rectangles that are added, each "x,y,w,h" or "x,y,w,h@start-end".
        start: nothing before this time.
        end: nothing from this time on.
        model_dir: the user's folder of weights; None for the default one.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps"; for trackers that are networks.
        fps: frame rate of a folder of images.
        overwrite: replace an existing output.
        progress: called after each frame, stages "track" and "masks".

    Raises:
        VidfillError: of the kind that says what is wrong; no output is left behind.

    Example:
        >>> import vidfill
        >>> clicks = vidfill.Prompting(vidfill.Prompts.parse(["412,180"]))
        >>> vidfill.write_masks("in.mp4", "masks/", prompts=clicks)  # doctest: +SKIP
    """
    if not is_folder_output(output) and Path(output).suffix.lower() != ".mkv":
        raise UsageError(f"{output} for masks", expected="a folder, or an .mkv, which holds them without loss")
    job = Request(
        Path(source),
        output,
        fps,
        mask_spec(None, box, invert=False, start=start, end=end, prompting=prompts),
        PlanSettings(),
        EncodeSettings(codec="auto" if is_folder_output(output) else "ffv1"),
        reshape=_picture_of_masks,
    )
    with collected_warnings() as warnings, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "masks.track"
        checked = job.check(overwrite=overwrite, track=file)
        job.track(file, device, model_dir, progress=reporter(progress, "track"))
        report = reporter(progress, "masks") or (lambda done, total: None)
        n_frames = n_masked = 0
        with (
            Track.open(file, checked.info) as found,
            Reader(job.source, fps=fps) as reader,
            checked.masks.cursor() as cursor,
            open_writer(output, checked.written, job.encoding, overwrite=overwrite) as writer,
        ):
            for frame in reader.frames():
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
    """What the masks of a source are: grey, upright, without sound."""
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
