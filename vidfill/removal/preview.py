"""Previews: the mask over the source, or the source beside the result, as a contact sheet or as a video."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from vidfill.engine.device import choose_device
from vidfill.errors import InputError, OutputError, UsageError
from vidfill.files.atomic import write_file
from vidfill.masks.boxes import TimeRange
from vidfill.masks.files import open_masks
from vidfill.masks.prompt import Prompting
from vidfill.progress import OnProgress, reporter
from vidfill.settings import EncodeSettings
from vidfill.settings.commands import Layout, PreviewSettings
from vidfill.settings.define import flat, setting
from vidfill.track.draw import annotate
from vidfill.track.layer import TrackLayer
from vidfill.track.prompted import Where, track_prompted
from vidfill.track.result import Track
from vidfill.video.color import paste_rgb
from vidfill.video.display import GAP_PX, contact_sheet, displayed, encode_picture, overlay, write_label
from vidfill.video.frame import Box, Frame, Orientation, Rgb, Samples, VideoInfo
from vidfill.video.read import Reader
from vidfill.video.write import check_not_an_input, check_output, open_writer
from vidfill.video.write_images import is_folder_output

_log = logging.getLogger("vidfill")

SHEET_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_ENCODING = EncodeSettings()
_SHEET_WIDTH_PX = 1920


@dataclass(frozen=True, slots=True)
class PreviewResult:
    """What was written; `size` is (height, width) of the picture."""

    output: Path
    n_frames: int
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class PreviewArguments(PreviewSettings):
    """The keyword arguments of `preview`."""

    prompts: Prompting | None = setting(
        None, "Objects to select and follow, in the place of a mask; lost ones are shown, not refused."
    )
    progress: OnProgress | None = setting(None, 'Called after each frame, stages "track" and "preview".')

    @property
    def has_masks(self) -> bool:
        """Whether there is a mask to show."""
        return self.mask is not None or bool(self.box) or self.prompts is not None

    @property
    def inputs(self) -> list[Path]:
        """Files that are read beside the source."""
        return [Path(path) for path in (self.mask_path, self.result) if path is not None]

    def chosen_layout(self) -> Layout:
        """The layout that was asked for, or the default one.

        Raises:
            UsageError: nothing to show, or a layout that needs a mask or a result that is missing.
        """
        has_result = self.result is not None
        if not self.has_masks and not has_result:
            raise UsageError("nothing to show beside the source", expected="a mask, a result or both")
        if self.layout is None:
            return "side-by-side" if has_result else "overlay"
        if self.layout == "overlay" and not self.has_masks:
            raise UsageError("an overlay without a mask", todo="give a mask, or another layout")
        if self.layout != "overlay" and not has_result:
            raise UsageError(f"the layout {self.layout} without a result", todo="give the result's file as well")
        return self.layout


def run_preview(source: Path | str, output: Path | str, arguments: PreviewArguments) -> PreviewResult:
    """Show a source with its mask, or beside a result.

    Masks from prompts are tracked first. The prompts are drawn, a strip below the picture shows how confident the
    track is over time, and frames on which an object is lost have a red border and the reason.

    Args:
        source: a video, or a folder of images.
        output: a PNG or JPEG for a contact sheet, else a video.
        arguments: all that `preview` takes by name.

    Raises:
        UsageError: neither masks nor a result, or a layout that needs the one that is not there.
        InputError: a video that cannot be read, or a result of another size.
        MaskError: masks that do not fit.
        OutputError: an output that exists or cannot be written.

    Example:
        >>> preview("in.mp4", "sheet.png", mask="masks")  # doctest: +SKIP
    """
    layout = arguments.chosen_layout()
    is_sheet = Path(output).suffix.lower() in SHEET_SUFFIXES and not is_folder_output(output)
    if is_sheet:
        check_not_an_input(Path(output), [Path(source), *arguments.inputs])
        _check_sheet(Path(output), overwrite=arguments.overwrite)
    with Reader(Path(source), fps=arguments.fps) as reader, ExitStack() as stack:
        total = reader.info.n_frames
        tracked = None
        if arguments.prompts is not None:
            if not is_sheet:  # before the tracking, which takes long
                even = _even(reader.info)
                check_output(output, even, _ENCODING, overwrite=arguments.overwrite, inputs=arguments.inputs)
            tracked = stack.enter_context(_tracked(reader, arguments.prompts, arguments))
        wanted = None
        if is_sheet:
            total = total or sum(1 for _ in reader.frames())
            wanted = _cells(total, arguments.n_cells, tracked.track if tracked is not None else None)
        pictures = _pictures(reader, arguments, layout, total, wanted=wanted, tracked=tracked)
        if is_sheet:
            return _write_sheet(pictures, Path(output), arguments.columns)
        return _write_video(pictures, reader.info, output, arguments)


preview = flat("preview", PreviewArguments)(run_preview)


class _TrackedMasks(NamedTuple):
    """The masks of tracked objects at the source's size, and the track itself."""

    layer: TrackLayer
    track: Track


@contextmanager
def _tracked(reader: Reader, prompting: Prompting, arguments: PreviewArguments) -> Iterator[_TrackedMasks]:
    """Track into a temporary file; lost objects are no error."""
    where = Where(str(choose_device(arguments.device)), arguments.model_dir)
    report = reporter(arguments.progress, "track")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "masks.track"
        when = TimeRange.parse(arguments.start, arguments.end)
        track_prompted(reader, replace(prompting, allow_lost=True), file, where, when=when, progress=report)
        with Track.open(file, reader.info) as track:
            yield _TrackedMasks(TrackLayer(file, reader.info, prompting), track)


def _cells(n_frames: int, n_cells: int, track: Track | None) -> frozenset[int]:
    """The frames of a sheet: those with prompts, those where an object is lost, and others at even distances."""
    chosen: list[int] = []
    if track is not None:
        chosen = sorted({*track.prompted, *(lost.start for lost in track.lost)})[: n_cells // 2]
    return frozenset(chosen) | frozenset(spread(n_frames, n_cells - len(chosen)))


def spread(n_frames: int, n_cells: int) -> list[int]:
    """Positions of `n_cells` frames at even distances among `n_frames`, with the first and the last."""
    n_cells = max(1, min(n_cells, n_frames))
    return sorted({round(i * (n_frames - 1) / max(n_cells - 1, 1)) for i in range(n_cells)})


def join(before: Rgb, after: Rgb, layout: Layout) -> Rgb:
    """Two pictures of one size in one: side by side, stacked, or the left half of one and the right of the other."""
    if layout == "side-by-side":
        return np.hstack([before, after])
    if layout == "stacked":
        return np.vstack([before, after])
    middle = before.shape[1] // 2
    both = np.hstack([before[:, :middle], after[:, middle:]])
    both[:, max(0, middle - 1) : middle + 1] = 255
    return both


def sheet(cells: list[tuple[str, Rgb]], *, columns: int = 0) -> Rgb:
    """A contact sheet, at most about 1920 pixels wide.

    Args:
        cells: labels, and pictures (H, W, 3) of one size, which are scaled down to fit.
        columns: 0 for as many as make the sheet about as wide as high.
    """
    height, width = cells[0][1].shape[:2]
    columns = min(columns or max(1, round(math.sqrt(len(cells) * height / width))), len(cells))
    scale = min(1.0, (_SHEET_WIDTH_PX / columns - GAP_PX) / width)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    shown = []
    for label, picture in cells:
        small = cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        write_label(small, label)
        shown.append(small)
    return contact_sheet([shown[i : i + columns] for i in range(0, len(shown), columns)])


def _check_sheet(output: Path, *, overwrite: bool) -> None:
    folder = output.absolute().parent
    if output.is_dir():
        raise OutputError(f"{output} is a folder", expected="a file name")
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists", todo="give -y to replace it, or another name")
    if not folder.is_dir():
        raise OutputError(f"the folder {folder} does not exist", todo="create it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {folder} is not writable", todo="write somewhere else")


def _pictures(
    reader: Reader,
    arguments: PreviewArguments,
    layout: Layout,
    n_frames: int,
    *,
    wanted: frozenset[int] | None,
    tracked: _TrackedMasks | None,
) -> Iterator[tuple[Frame, Rgb]]:
    """Each wanted frame (None for all) with its picture of the preview, upright."""
    report = reporter(arguments.progress, "preview") or (lambda done, total: None)
    info, result = reader.info, arguments.result
    with ExitStack() as stack:
        mask_at = None
        if arguments.has_masks:
            layer = tracked.layer if tracked is not None else None
            mask_at = stack.enter_context(open_masks(arguments, info, rate=info.rate, tracked=layer).cursor()).at
        other = None
        if result is not None and layout != "overlay":
            other = stack.enter_context(Reader(Path(result), fps=arguments.fps if Path(result).is_dir() else None))
            if other.info.display_size != info.display_size:
                raise InputError(
                    f"the result is {_wxh(other.info)}", expected=f"{_wxh(info)} as the source", todo="check the names"
                )
        after_frames = None if other is None else other.frames()
        for frame in reader.frames():
            after = None if after_frames is None else next(after_frames, None)
            if wanted is not None and frame.index not in wanted:
                continue
            shown = displayed(frame, info)
            if mask_at is not None:
                mask = info.orientation.to_display(mask_at(frame)).astype(np.bool_)
                shown = overlay(shown, mask)
            if other is not None:
                if after is None:
                    raise InputError(
                        f"the result ends before frame {frame.index}", expected="as many frames as in the source"
                    )
                shown = join(shown, displayed(after, other.info), layout)
            elif tracked is not None:
                shown = annotate(shown, tracked.track, frame.index)
            yield frame, shown
            report(frame.index + 1, n_frames)


def _wxh(info: VideoInfo) -> str:
    height, width = info.display_size
    return f"{width}x{height}"


def _write_sheet(pictures: Iterator[tuple[Frame, Rgb]], output: Path, columns: int) -> PreviewResult:
    cells = [(f"{frame.index}  {float(frame.time_s):.2f} s", picture) for frame, picture in pictures]
    if not cells:
        raise InputError("no frames", expected="a video with at least one")
    paper = sheet(cells, columns=columns)
    write_file(output, encode_picture(paper, output.suffix))
    return PreviewResult(output, len(cells), (paper.shape[0], paper.shape[1]))


def _write_video(
    pictures: Iterator[tuple[Frame, Rgb]], info: VideoInfo, output: Path | str, arguments: PreviewArguments
) -> PreviewResult:
    """Encode the pictures with the source's timing, sound and colour, cropped to even sizes."""
    start = next(pictures, None)
    if start is None:
        raise InputError(f"no frames in {info.path}", expected="a video with at least one")
    height, width = start[1].shape[:2]
    shown = _even(replace(info, height=height, width=width, orientation=Orientation()))
    height, width = shown.height, shown.width
    overwrite = arguments.overwrite
    for warning in check_output(output, shown, _ENCODING, overwrite=overwrite, inputs=arguments.inputs):
        _log.warning(warning)
    n_frames = 0
    with open_writer(output, shown, _ENCODING, overwrite=overwrite) as writer:
        for frame, picture in chain([start], pictures):
            writer.write(_as_frame(frame, picture, shown))
            n_frames += 1
    return PreviewResult(Path(output), n_frames, (height, width))


def _even(info: VideoInfo) -> VideoInfo:
    """The video upright and cropped to even sizes."""
    height, width = info.display_size
    return replace(info, height=height - height % 2, width=width - width % 2, orientation=Orientation())


def _as_frame(frame: Frame, picture: Rgb, info: VideoInfo) -> Frame:
    """The picture in the source's pixel format, at the frame's time."""
    layout = info.pixel_format
    n_planes = layout.n_color_planes + layout.has_alpha
    full = (1 << layout.depth) - 1
    planes: list[Samples] = []
    for plane in range(n_planes):
        opaque = np.full(layout.plane_size(plane, height=info.height, width=info.width), full, np.uint16)
        planes.append(opaque.astype(np.uint8) if layout.dtype is np.uint8 else opaque)
    made = Frame(frame.index, frame.pts, frame.time_base, tuple(planes))
    rgb = (picture[: info.height, : info.width] / 255).astype(np.float32)
    paste_rgb(made, info, Box(0, 0, info.width, info.height), rgb, np.ones(rgb.shape[:2], np.float32))
    return made
