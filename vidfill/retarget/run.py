"""Retargeting from end to end: analyse, follow the objects, fill, resize, put the objects back, write."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidfill.compose import compose
from vidfill.compose.noise import with_noise
from vidfill.engine.plan import Plan
from vidfill.errors import MaskError, UsageError
from vidfill.progress import Clock, collected_warnings, reporter
from vidfill.removal.request import Checked, FillArguments, Request
from vidfill.removal.run import Filling, analysed, filling
from vidfill.retarget.layout import Placement, place
from vidfill.retarget.objects import ObjectTracks, PartsReader, track_objects
from vidfill.retarget.render import Renderer, clear_alpha
from vidfill.retarget.size import check_shape, reshaped, target_size, warnings_of
from vidfill.settings import PlanSettings
from vidfill.settings.commands import RetargetSettings
from vidfill.settings.define import flat
from vidfill.video.frame import Frame, VideoInfo
from vidfill.video.write import Writer, open_writer

_log = logging.getLogger("vidfill")


@dataclass(frozen=True, slots=True)
class RetargetResult:
    """What a run did.

    Attributes:
        width, height: of the output's picture as a player shows it.
        n_objects: objects that were put back.
        n_filled: frames that had one.
        n_held: frames that repeat the last good one in place of a damaged one.
        scale: the smallest and the largest scale of an object, in output pixels per source pixel.
        seconds: wall time by stage.
        invented, licence_notice: see `vidfill.removal.run.RemoveResult`.
    """

    output: Path
    width: int
    height: int
    n_frames: int
    n_objects: int
    n_filled: int
    n_held: int
    scale: tuple[float, float]
    model: str
    device: str
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]
    invented: float | None = None
    licence_notice: str | None = None


@dataclass(frozen=True, slots=True)
class RetargetPlan:
    """What a run would do.

    Attributes:
        width, height: of the output's picture as a player shows it.
        n_objects: objects that would be put back.
        scale: the smallest and the largest scale of an object.
        removal: how what is behind them would be filled.
    """

    width: int
    height: int
    n_objects: int
    scale: tuple[float, float]
    removal: Plan

    def describe(self) -> str:
        """The plan for people, a few lines."""
        return f"{describe_objects(self.width, self.height, self.n_objects, self.scale)}\n{self.removal.describe()}"


@dataclass(frozen=True, kw_only=True)
class RetargetArguments(RetargetSettings, FillArguments):
    """The keyword arguments of `vidfill.retarget`."""


def run_retarget(source: Path | str, output: Path | str, arguments: RetargetArguments) -> RetargetResult:
    """Give a video another size or aspect ratio without squeezing what a mask covers.

    The objects are removed, the clean picture is resized as a whole, and the objects are put back in their own shape.
    Timing, sound, colour, rotation and all other streams stay, as with `vidfill.remove`. With its shadow in the mask,
    the shadow comes along. Parts that hang together in space and time are one object.

    Args:
        source: a video, or a folder of images.
        output: a video, or a folder for PNG files, as for `vidfill.remove`.
        arguments: all that `vidfill.retarget` takes by name.

    Raises:
        VidfillError: of the kind that says what is wrong; no output is left behind.

    Example:
        >>> import vidfill
        >>> vidfill.retarget("in.mp4", "tall.mp4", aspect="9:16", mask="masks")  # doctest: +SKIP
    """
    clock = Clock()
    request = _request(source, output, arguments)
    with collected_warnings() as warnings, filling(request, clock) as filled:
        checked = filled.checked
        with clock.stage("layout"):
            frames = (filled.index or filled.reader).frames()
            tracks, placements = _laid_out(arguments, checked, filled.plan, frames)
        renderer = Renderer(checked.info, checked.written, placements, feather_px=arguments.feather)
        with open_writer(output, checked.written, arguments, overwrite=arguments.overwrite) as writer:
            n_filled = _write(filled, renderer, tracks, writer)
            filled.check_damage()
    height, width = checked.written.display_size
    return RetargetResult(
        Path(output),
        width,
        height,
        filled.plan.n_frames,
        len(placements),
        n_filled,
        filled.plan.n_held,
        _scales(placements),
        filled.model,
        filled.device,
        clock.seconds,
        tuple(warnings),
        filled.tally.ratio,
        filled.licence_notice,
    )


retarget = flat("retarget", RetargetArguments)(run_retarget)


def run_plan(source: Path | str, output: Path | str | None, arguments: RetargetArguments) -> RetargetPlan:
    """Say what `retarget` would do, and do nothing.

    Args:
        source: as for `retarget`.
        output: as for `retarget`; it is checked, and what it cannot keep of the source is logged as warnings.
        arguments: those of `retarget`.

    Raises:
        VidfillError: of the kind that says what is wrong.
    """
    request = _request(source, output, arguments)
    with tempfile.TemporaryDirectory() as folder, request.reader() as reader:
        track = Path(folder) / "masks.track"
        checked = request.check(reader.info, track=track)
        index, plan = analysed(request, reader, checked.masks, request.track(reader, track))
        _, placements = _laid_out(arguments, checked, plan, index.frames())
    height, width = checked.written.display_size
    return RetargetPlan(width, height, len(placements), _scales(placements), plan)


def describe_objects(width: int, height: int, n_objects: int, scale: tuple[float, float]) -> str:
    """What becomes of the picture, for people: "720x480, 2 objects at 0.83 to 1.00 of their size"."""
    low, high = (f"{value:.2f}" for value in scale)
    span = low if low == high else f"{low} to {high}"
    objects = "1 object at {} of its size" if n_objects == 1 else f"{n_objects} objects at {{}} of their size"
    return f"{width}x{height}, {objects.format(span)}"


plan_retarget = flat("plan_retarget", RetargetArguments)(run_plan)


def _request(source: Path | str, output: Path | str | None, arguments: RetargetArguments) -> Request:
    check_shape(arguments)
    if arguments.mask is None and arguments.prompts is None and not arguments.box:
        raise MaskError(
            "no mask",
            expected="what is to keep its shape, which is not guessed",
            todo="give --mask, --point or --box; to squeeze or crop the whole picture, ffmpeg is enough",
        )
    if arguments.uses_alpha:
        raise UsageError(
            "the alpha channel as the mask",
            expected="masks of objects that are in the picture",
            todo="give a folder of images, an image or a video",
        )

    def reshape(info: VideoInfo) -> VideoInfo:
        size = target_size(arguments, info)
        for warning in warnings_of(info, size):
            _log.warning(warning)
        return reshaped(info, size)

    planning = PlanSettings(dilate=arguments.dilate, working_size=arguments.working_size)
    return Request(Path(source), output, arguments, planning, reshape=reshape)


def _laid_out(
    settings: RetargetArguments, checked: Checked, plan: Plan, frames: Iterator[Frame]
) -> tuple[ObjectTracks, tuple[Placement, ...]]:
    """Follow the objects through the source, then decide where each of them goes."""
    report = reporter(settings.progress, "layout") or (lambda done, total: None)
    tracks = track_objects(frames, checked.masks, plan.shots, progress=lambda done: report(done, plan.n_frames))
    size = checked.written.height, checked.written.width
    return tracks, tuple(place(track, checked.info, size, settings) for track in tracks.tracks)


def _write(filled: Filling, renderer: Renderer, tracks: ObjectTracks, writer: Writer) -> int:
    """Write all frames; returns how many of them had an object."""
    info, settings = filled.checked.info, filled.request.settings
    report = reporter(settings.progress, "assemble") or (lambda done, total: None)
    n_filled = 0
    rendered: Frame | None = None
    early: list[Frame] = []  # held frames before the first good one, which they repeat
    with filled.checked.masks.cursor() as cursor:
        parts = PartsReader(cursor)
        for frame, patch, noise in with_noise(filled.pairs(), info, [start for start, _ in filled.plan.scenes]):
            n_filled += patch is not None
            if frame.held and rendered is None:
                early.append(replace(frame, planes=()))
                continue
            # A held frame repeats the picture before it, and so does the output.
            if rendered is None or not frame.held:
                planes = tuple(plane.copy() for plane in frame.planes) if patch is not None else frame.planes
                if patch is not None:
                    compose(frame, info, patch, settings, noise)
                    clear_alpha(frame, info, patch)
                rendered = renderer.render(frame, planes, parts.at(frame), tracks.owners[frame.index])
            for shown in (*early, frame):
                writer.write(replace(rendered, index=shown.index, pts=shown.pts, held=shown.held))
            early.clear()
            report(frame.index + 1, filled.plan.n_frames)
    return n_filled


def _scales(placements: Sequence[Placement]) -> tuple[float, float]:
    if not placements:
        return 1.0, 1.0
    lows, highs = zip(*(placement.scale_range for placement in placements), strict=True)
    return min(lows), max(highs)
