"""Retargeting from end to end: analyse, follow the objects, fill, resize, put the objects back, write."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vidfill.compose import ComposeSettings, compose
from vidfill.compose.noise import with_noise
from vidfill.engine import EngineSettings
from vidfill.engine.plan import Plan, PlanSettings
from vidfill.errors import MaskError, UsageError
from vidfill.masks.prompt import Prompting
from vidfill.progress import Clock, OnProgress, collected_warnings, reporter
from vidfill.removal.assemble import paired
from vidfill.removal.request import Checked, Request, mask_spec
from vidfill.removal.run import Filling, Making, analysed, filling
from vidfill.retarget.layout import Anchor, LayoutSettings, Placement, place
from vidfill.retarget.objects import ObjectTracks, PartsReader, track_objects
from vidfill.retarget.render import Renderer, clear_alpha
from vidfill.retarget.size import TargetShape, reshaped, warnings_of
from vidfill.video.codecs import EncodeSettings
from vidfill.video.frame import Frame, VideoInfo
from vidfill.video.read import Reader
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


def retarget(
    source: Path | str,
    output: Path | str,
    *,
    width: int | None = None,
    height: int | None = None,
    aspect: str | None = None,
    object_scale: float = 1.0,
    anchor: Anchor = "bottom",
    mask: Path | str | None = None,
    prompts: Prompting | None = None,
    box: Sequence[str] = (),
    invert: bool = False,
    start: str | None = None,
    end: str | None = None,
    dilate: int | None = None,
    feather: int = 2,
    model: str = "auto",
    checkpoint: Path | str | None = None,
    model_dir: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    working_size: str | None = None,
    codec: str = "auto",
    crf: float | None = None,
    preset: str | None = None,
    encoder_options: Mapping[str, str] | None = None,
    blend: bool = True,
    grain: bool = True,
    fps: Fraction | None = None,
    strict: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    work_dir: Path | str | None = None,
    keep_work: bool = False,
    progress: OnProgress | None = None,
) -> RetargetResult:
    """Give a video another size or aspect ratio without squeezing what a mask covers.

    The objects are removed, the clean picture is resized as a whole, and the objects are put back in their own shape.
    Timing, sound, colour, rotation and all other streams stay, as with `vidfill.remove`.

    Args:
        source: a video, or a folder of images.
        output: a video, or a folder for PNG files, as for `vidfill.remove`.
        width: of the output in pixels, as a player shows it; what is not given stays. Sizes are rounded to even ones.
        height: the same.
        aspect: width over height, such as "9:16": in the place of one of them, or alone, and the picture gets smaller.
        object_scale: times the size that objects get by themselves, as near to their own as the scales of the two
            sides allow; in any case no larger than fits.
        anchor: which point of an object stays at its proportional place: "bottom", "center", "top", "left", "right".
        mask: what keeps its shape; a folder of images, one image for all frames, or a video. With its shadow in it, the
            shadow comes along. Parts that hang together in space and time are one object.
        prompts: objects to select and to follow, in the place of a mask.
        box: rectangles that keep their shape, each "x,y,w,h" or "x,y,w,h@start-end".
        invert: take what the mask leaves black.
        start: no mask before this time.
        end: no mask from this time on.
        dilate: how far beyond the mask the background is filled, in source pixels; None as for `vidfill.remove`.
        feather: width of the soft rim of the objects, in source pixels outside the mask.
        model: this and all that follow are those of `vidfill.remove`.
        checkpoint: see there.
        model_dir: see there.
        device: see there.
        precision: see there.
        threads: see there.
        working_size: see there.
        codec: see there.
        crf: see there.
        preset: see there.
        encoder_options: see there.
        blend: see there.
        grain: see there.
        fps: see there.
        strict: see there.
        overwrite: see there.
        resume: see there; another size may be asked for than that of the interrupted run.
        work_dir: see there.
        keep_work: see there.
        progress: called after each frame of each stage: "analyse", "layout", "fill" and "assemble".

    Raises:
        VidfillError: of the kind that says what is wrong; no output is left behind.

    Example:
        >>> import vidfill
        >>> vidfill.retarget("in.mp4", "tall.mp4", aspect="9:16", mask="masks")  # doctest: +SKIP
    """
    clock = Clock()
    layout = LayoutSettings(object_scale, anchor, feather)
    request = _request(
        source,
        output,
        TargetShape(width, height, aspect),
        EncodeSettings(codec=codec, crf=crf, preset=preset, options=encoder_options or {}),
        PlanSettings(dilate_px=dilate, working_size=working_size),
        mask=mask,
        prompts=prompts,
        box=box,
        invert=invert,
        start=start,
        end=end,
        fps=fps,
    )
    making = Making(
        model,
        checkpoint,
        model_dir,
        EngineSettings(device=device, precision=precision, threads=threads),
        strict=strict,
        overwrite=overwrite,
        resume=resume,
        work_dir=Path(work_dir) if work_dir else Path(output).parent / f".{Path(output).name}.vidfill",
        keep_work=keep_work,
        progress=progress,
    )
    with collected_warnings() as warnings, filling(request, making, clock) as filled:
        checked = filled.checked
        with clock.stage("layout"):
            tracks, placements = _laid_out(request, checked, filled.plan, layout, threads, progress)
        renderer = Renderer(checked.info, checked.written, placements, feather_px=layout.feather_px)
        with open_writer(output, checked.written, request.encoding, overwrite=overwrite) as writer:
            composing = ComposeSettings(blend=blend, grain=grain)
            n_filled = _write(filled, renderer, tracks, composing, writer, progress)
            filled.check_damage()
    shown = checked.written.display_size
    return RetargetResult(
        Path(output),
        shown[1],
        shown[0],
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


def plan_retarget(
    source: Path | str,
    *,
    output: Path | str | None = None,
    width: int | None = None,
    height: int | None = None,
    aspect: str | None = None,
    object_scale: float = 1.0,
    anchor: Anchor = "bottom",
    mask: Path | str | None = None,
    prompts: Prompting | None = None,
    box: Sequence[str] = (),
    invert: bool = False,
    start: str | None = None,
    end: str | None = None,
    dilate: int | None = None,
    feather: int = 2,
    working_size: str | None = None,
    codec: str = "auto",
    crf: float | None = None,
    preset: str | None = None,
    encoder_options: Mapping[str, str] | None = None,
    fps: Fraction | None = None,
    strict: bool = False,
    overwrite: bool = False,
    model_dir: Path | None = None,
    device: str = "auto",
    progress: OnProgress | None = None,
) -> RetargetPlan:
    """Say what `retarget` would do, and do nothing; the arguments are those of `retarget`.

    With an `output`, it is checked as well, and what it cannot keep of the source is logged as warnings.

    Raises:
        VidfillError: of the kind that says what is wrong.
    """
    layout = LayoutSettings(object_scale, anchor, feather)
    request = _request(
        source,
        output,
        TargetShape(width, height, aspect),
        EncodeSettings(codec=codec, crf=crf, preset=preset, options=encoder_options or {}),
        PlanSettings(dilate_px=dilate, working_size=working_size),
        mask=mask,
        prompts=prompts,
        box=box,
        invert=invert,
        start=start,
        end=end,
        fps=fps,
    )
    with tempfile.TemporaryDirectory() as folder:
        track = Path(folder) / "masks.track"
        checked = request.check(overwrite=overwrite, track=track)
        request.track(track, device, model_dir, progress=reporter(progress, "track"))
        plan = analysed(request, checked.masks, 0, progress, strict=strict)
        _, placements = _laid_out(request, checked, plan, layout, 0, progress)
    shown = checked.written.display_size
    return RetargetPlan(shown[1], shown[0], len(placements), _scales(placements), plan)


def describe_objects(width: int, height: int, n_objects: int, scale: tuple[float, float]) -> str:
    """What becomes of the picture, for people: "720x480, 2 objects at 0.83 to 1.00 of their size"."""
    low, high = (f"{value:.2f}" for value in scale)
    span = low if low == high else f"{low} to {high}"
    objects = "1 object at {} of its size" if n_objects == 1 else f"{n_objects} objects at {{}} of their size"
    return f"{width}x{height}, {objects.format(span)}"


def _request(
    source: Path | str,
    output: Path | str | None,
    shape: TargetShape,
    encoding: EncodeSettings,
    planning: PlanSettings,
    *,
    mask: Path | str | None,
    prompts: Prompting | None,
    box: Sequence[str],
    invert: bool,
    start: str | None,
    end: str | None,
    fps: Fraction | None,
) -> Request:
    if mask is None and prompts is None and not box:
        raise MaskError(
            "no mask",
            expected="what is to keep its shape, since nothing here guesses it",
            todo="give --mask, --point or --box; to squeeze or crop the whole picture, ffmpeg is enough",
        )
    if mask == "alpha":
        raise UsageError(
            "the alpha channel as the mask",
            expected="masks of objects that are in the picture",
            todo="give a folder of images, an image or a video",
        )

    def reshape(info: VideoInfo) -> VideoInfo:
        size = shape.of(info)
        for warning in warnings_of(info, size):
            _log.warning(warning)
        return reshaped(info, size)

    spec = mask_spec(mask, box, invert=invert, start=start, end=end, prompting=prompts)
    return Request(Path(source), output, fps, spec, planning, encoding, reshape)


def _laid_out(
    request: Request,
    checked: Checked,
    plan: Plan,
    layout: LayoutSettings,
    threads: int,
    progress: OnProgress | None,
) -> tuple[ObjectTracks, tuple[Placement, ...]]:
    """Follow the objects through the source, then decide where each of them goes."""
    report = reporter(progress, "layout") or (lambda done, total: None)
    with Reader(request.source, fps=request.fps, threads=threads) as reader:
        tracks = track_objects(
            reader.frames(), checked.masks, plan.shots, progress=lambda done: report(done, plan.n_frames)
        )
    size = checked.written.height, checked.written.width
    return tracks, tuple(place(track, checked.info, size, layout) for track in tracks.tracks)


def _write(
    filled: Filling,
    renderer: Renderer,
    tracks: ObjectTracks,
    composing: ComposeSettings,
    writer: Writer,
    progress: OnProgress | None,
) -> int:
    """Write all frames; how many of them had an object."""
    report = reporter(progress, "assemble") or (lambda done, total: None)
    n_filled = 0
    made: Frame | None = None
    early: list[Frame] = []  # held before the first good one, which they repeat
    with filled.checked.masks.cursor() as cursor:
        reading = PartsReader(cursor)
        pairs = paired(filled.plan, filled.reader.frames(), filled.patches)
        for frame, patch, noise in with_noise(pairs, filled.checked.info, [start for start, _ in filled.plan.scenes]):
            n_filled += patch is not None
            if frame.held and made is None:
                early.append(replace(frame, planes=()))
                continue
            # A held frame repeats the picture before it, and so does the output.
            if made is None or not frame.held:
                planes = tuple(plane.copy() for plane in frame.planes) if patch is not None else frame.planes
                if patch is not None:
                    compose(frame, filled.checked.info, patch, composing, noise)
                    clear_alpha(frame, filled.checked.info, patch)
                made = renderer.render(frame, planes, reading.at(frame), tracks.owners[frame.index])
            for shown in (*early, frame):
                writer.write(replace(made, index=shown.index, pts=shown.pts, held=shown.held))
            early.clear()
            report(frame.index + 1, filled.plan.n_frames)
    return n_filled


def _scales(placements: Sequence[Placement]) -> tuple[float, float]:
    if not placements:
        return 1.0, 1.0
    lows, highs = zip(*(placement.scale_range for placement in placements), strict=True)
    return min(lows), max(highs)
