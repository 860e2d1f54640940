"""Pictures to look at before and after a removal: the mask over the frame, or the source beside the result.

As a contact sheet (one PNG or JPEG with frames from all over the video) or as a video with the source's sound.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.engine.device import choose_device
from vidfill.errors import InputError, OutputError, UsageError
from vidfill.files.atomic import write_file
from vidfill.masks.boxes import TimeRange
from vidfill.masks.files import MaskSpec, open_masks
from vidfill.masks.prompt import Prompting
from vidfill.progress import reporter
from vidfill.removal.request import mask_spec
from vidfill.removal.run import Progress
from vidfill.track.draw import annotate
from vidfill.track.layer import TrackLayer
from vidfill.track.prompted import Where, track_prompted
from vidfill.track.result import Track
from vidfill.video.codecs import EncodeSettings
from vidfill.video.color import paste_rgb
from vidfill.video.display import GAP_PX, contact_sheet, displayed, encode_picture, overlay, write_label
from vidfill.video.frame import Box, Frame, Orientation, Samples, VideoInfo
from vidfill.video.read import Reader
from vidfill.video.write import check_not_an_input, check_output, open_writer
from vidfill.video.write_images import is_folder_output

_log = logging.getLogger("vidfill")

Picture = NDArray[np.uint8]
# How a source and a result lie in one picture; "split" is the left half of the one and the right half of the other.
Layout = Literal["overlay", "side-by-side", "stacked", "split"]

SHEET_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_SHEET_WIDTH_PX = 1920


@dataclass(frozen=True, slots=True)
class PreviewResult:
    """What was written: where, frames shown, and (height, width) of the picture."""

    output: Path
    n_frames: int
    size: tuple[int, int]


def preview(
    source: Path | str,
    output: Path | str,
    *,
    mask: Path | str | None = None,
    box: Sequence[str] = (),
    prompts: Prompting | None = None,
    invert: bool = False,
    start: str | None = None,
    end: str | None = None,
    result: Path | str | None = None,
    layout: Layout | None = None,
    n_cells: int = 12,
    columns: int = 0,
    model_dir: Path | None = None,
    device: str = "auto",
    fps: Fraction | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> PreviewResult:
    """Show a source with its mask, or beside a result.

    Masks from prompts are tracked first. The prompts are drawn, a strip below the picture shows how confident the
    track is over time, and frames on which an object is lost have a red border and the reason.

    Args:
        source: a video, or a folder of images.
        output: a PNG or JPEG for a contact sheet, else a video.
        mask: drawn over the source, tinted and outlined; this and the next four as for `vidfill.remove`.
        box: rectangles that are added to it.
        prompts: objects to select and follow, in the place of a mask; lost ones are shown, not refused.
        invert: take what the mask leaves black.
        start: no mask before this time.
        end: no mask from this time on.
        result: a video of the same size and length, beside the source.
        layout: how both lie in one picture; None for side by side with a result, the overlay without.
        n_cells: frames on a sheet, spread evenly over the video.
        columns: of a sheet; 0 for about as wide as high.
        model_dir: the user's folder of weights, for trackers that are networks; None for the default one.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps", for the same.
        fps: frame rate of a folder of images.
        overwrite: replace an existing output.
        progress: called after each frame, stages "track" and "preview".

    Raises:
        UsageError: neither masks nor a result, or a layout that needs the one that is not there.
        InputError: a video that cannot be read, or a result of another size.
        MaskError: masks that do not fit.
        OutputError: an output that exists or cannot be written.

    Example:
        >>> preview("in.mp4", "sheet.png", mask="masks")  # doctest: +SKIP
    """
    has_mask = mask is not None or bool(box) or prompts is not None
    masks = None
    if has_mask:
        prompts = prompts and replace(prompts, allow_lost=True)
        masks = mask_spec(mask, box, invert=invert, start=start, end=end, prompting=prompts)
    layout = _chosen_layout(layout, has_mask=has_mask, has_result=result is not None)
    is_sheet = Path(output).suffix.lower() in SHEET_SUFFIXES and not is_folder_output(output)
    inputs = [Path(path) for path in (mask, result) if path is not None and path != "alpha"]
    if is_sheet:
        check_not_an_input(Path(output), [Path(source), *inputs])
        _check_sheet(Path(output), overwrite=overwrite)
    with Reader(Path(source), fps=fps) as reader, ExitStack() as stack:
        total = reader.info.n_frames
        tracked = None
        if masks is not None and masks.prompting is not None:
            if not is_sheet:  # tracking takes long: what is sure to fail fails before it
                check_output(output, _even(reader.info), EncodeSettings(), overwrite=overwrite, inputs=inputs)
            report = reporter(progress, "track")
            tracked = stack.enter_context(_tracked(reader, masks, Where(str(choose_device(device)), model_dir), report))
        wanted = None
        if is_sheet:
            total = total or sum(1 for _ in reader.frames())
            wanted = _cells(total, n_cells, tracked.track if tracked is not None else None)
        pictures = _pictures(reader, masks, result, layout, wanted=wanted, fps=fps, tracked=tracked)
        if progress is not None:
            pictures = _counted(pictures, total, progress)
        if is_sheet:
            return _write_sheet(pictures, Path(output), columns)
        return _write_video(pictures, reader.info, output, inputs, overwrite=overwrite)


class _Tracked(NamedTuple):
    """What the prompts led to: masks at the source's size, and the track itself."""

    layer: TrackLayer
    track: Track


@contextmanager
def _tracked(
    reader: Reader, masks: MaskSpec, where: Where, progress: Callable[[int, int], None] | None
) -> Iterator[_Tracked]:
    """Track into a temporary file."""
    assert masks.prompting is not None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "masks.track"
        when = TimeRange.parse(masks.start, masks.end)
        track_prompted(reader, masks.prompting, file, where, when=when, progress=progress)
        with Track.open(file, reader.info) as track:
            yield _Tracked(TrackLayer(file, reader.info, masks.prompting), track)


def _cells(n_frames: int, n_cells: int, track: Track | None) -> frozenset[int]:
    """The frames of a sheet: those with prompts and those where an object gets lost, the rest spread evenly."""
    chosen: list[int] = []
    if track is not None:
        chosen = sorted({*track.prompted, *(lost.start for lost in track.lost)})[: n_cells // 2]
    return frozenset(chosen) | frozenset(spread(n_frames, n_cells - len(chosen)))


def spread(n_frames: int, n_cells: int) -> list[int]:
    """Positions of `n_cells` frames spread evenly over `n_frames`, the first and the last among them."""
    n_cells = max(1, min(n_cells, n_frames))
    return sorted({round(i * (n_frames - 1) / max(n_cells - 1, 1)) for i in range(n_cells)})


def join(before: Picture, after: Picture, layout: Layout) -> Picture:
    """Two pictures of one size in one: beside each other, one over the other, or half of each with a line between."""
    if layout == "side-by-side":
        return np.hstack([before, after])
    if layout == "stacked":
        return np.vstack([before, after])
    middle = before.shape[1] // 2
    both = np.hstack([before[:, :middle], after[:, middle:]])
    both[:, max(0, middle - 1) : middle + 1] = 255
    return both


def sheet(cells: list[tuple[str, Picture]], *, columns: int = 0) -> Picture:
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


def _chosen_layout(layout: Layout | None, *, has_mask: bool, has_result: bool) -> Layout:
    if not has_mask and not has_result:
        raise UsageError("nothing to show beside the source", expected="a mask, a result or both")
    if layout is None:
        return "side-by-side" if has_result else "overlay"
    if layout not in get_args(Layout):
        raise UsageError(f"layout {layout!r}", expected="one of " + ", ".join(get_args(Layout)))
    if layout == "overlay" and not has_mask:
        raise UsageError("an overlay without a mask", todo="give a mask, or another layout")
    if layout != "overlay" and not has_result:
        raise UsageError(f"the layout {layout} without a result", todo="give the result's file as well")
    return layout


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
    spec: MaskSpec | None,
    result: Path | str | None,
    layout: Layout,
    *,
    wanted: frozenset[int] | None,
    fps: Fraction | None,
    tracked: _Tracked | None = None,
) -> Iterator[tuple[Frame, Picture]]:
    """Each wanted frame (all of them for None) with the picture that is to be shown for it, as a player turns it."""
    info = reader.info
    with ExitStack() as stack:
        mask_at = None
        if spec is not None:
            layer = tracked.layer if tracked is not None else None
            mask_at = stack.enter_context(open_masks(spec, info, rate=info.rate, tracked=layer).cursor()).at
        other = None
        if result is not None and layout != "overlay":
            other = stack.enter_context(Reader(Path(result), fps=fps if Path(result).is_dir() else None))
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


def _wxh(info: VideoInfo) -> str:
    height, width = info.display_size
    return f"{width}x{height}"


def _counted(
    pictures: Iterator[tuple[Frame, Picture]], total: int, progress: Callable[[Progress], None]
) -> Iterator[tuple[Frame, Picture]]:
    for frame, picture in pictures:
        yield frame, picture
        progress(Progress("preview", frame.index + 1, total))


def _write_sheet(pictures: Iterator[tuple[Frame, Picture]], output: Path, columns: int) -> PreviewResult:
    cells = [(f"{frame.index}  {float(frame.time_s):.2f} s", picture) for frame, picture in pictures]
    if not cells:
        raise InputError("no frames", expected="a video with at least one")
    paper = sheet(cells, columns=columns)
    write_file(output, encode_picture(paper, output.suffix))
    return PreviewResult(output, len(cells), (paper.shape[0], paper.shape[1]))


def _write_video(
    pictures: Iterator[tuple[Frame, Picture]],
    info: VideoInfo,
    output: Path | str,
    inputs: Sequence[Path],
    *,
    overwrite: bool,
) -> PreviewResult:
    """Encode the pictures with the source's timing, sound and colour; an odd last row or column is left out."""
    start = next(pictures, None)
    if start is None:
        raise InputError(f"no frames in {info.path}", expected="a video with at least one")
    height, width = start[1].shape[:2]
    shown = _even(replace(info, height=height, width=width, orientation=Orientation()))
    height, width = shown.height, shown.width
    settings = EncodeSettings()
    for warning in check_output(output, shown, settings, overwrite=overwrite, inputs=inputs):
        _log.warning(warning)
    n_frames = 0
    with open_writer(output, shown, settings, overwrite=overwrite) as writer:
        for frame, picture in chain([start], pictures):
            writer.write(_as_frame(frame, picture, shown))
            n_frames += 1
    return PreviewResult(Path(output), n_frames, (height, width))


def _even(info: VideoInfo) -> VideoInfo:
    """A picture without its odd last row or column."""
    height, width = info.display_size
    return replace(info, height=height - height % 2, width=width - width % 2, orientation=Orientation())


def _as_frame(frame: Frame, picture: Picture, info: VideoInfo) -> Frame:
    """The picture in the source's own pixel format, at the frame's time."""
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
