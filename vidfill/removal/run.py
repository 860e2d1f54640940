"""Join the stages: analyse, fill, assemble. Nothing else is decided here."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol

from vidfill.compose import ComposeSettings
from vidfill.engine import EngineSettings
from vidfill.engine.device import check_settings, choose_runtime
from vidfill.engine.plan import Plan, PlanSettings, analyse
from vidfill.errors import InputError, UsageError
from vidfill.masks.files import MaskSource
from vidfill.masks.prompt import Prompting
from vidfill.models import load_model
from vidfill.models.base import Model
from vidfill.progress import Clock, collected_warnings
from vidfill.progress import OnProgress as OnProgress
from vidfill.progress import Progress as Progress
from vidfill.progress import reporter as reporter
from vidfill.removal.assemble import assemble
from vidfill.removal.patches import Tally, stored_or_filled
from vidfill.removal.request import Checked, Request, Weights, mask_spec
from vidfill.removal.work_folder import WorkFolder
from vidfill.video.codecs import EncodeSettings
from vidfill.video.frame import Patch
from vidfill.video.read import Damage, Reader

_log = logging.getLogger("vidfill")


class LoadModel(Protocol):
    """What `vidfill.models.load_model` is."""

    def __call__(self, name: str, *, checkpoint: Path | None, model_dir: Path | None) -> Model:
        """Build a model and load its weights."""


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """What a run did.

    Attributes:
        output: where the result is; the fill layer, if that is all that was asked for.
        n_frames: frames written.
        n_filled: frames that had a hole.
        n_held: frames that repeat the last good one in the place of damaged ones.
        model: name of the model.
        device: where it ran.
        seconds: wall time by stage.
        warnings: one line each.
        output_fill: where the fill layer is, None where none was asked for.
        invented: ratio of the holes, in [0, 1], that no frame shows and the model has made up; None if it does not say.
        licence_notice: what the weights may be used for, in one line; None where nothing limits it.
    """

    output: Path
    n_frames: int
    n_filled: int
    n_held: int
    model: str
    device: str
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]
    output_fill: Path | None = None
    invented: float | None = None
    licence_notice: str | None = None


def remove(
    source: Path | str,
    output: Path | str | None,
    *,
    output_fill: Path | str | None = None,
    mask: Path | str | None = None,
    box: Sequence[str] = (),
    prompts: Prompting | None = None,
    invert: bool = False,
    start: str | None = None,
    end: str | None = None,
    dilate: int | None = None,
    feather: int | None = None,
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
    segments: Sequence[int] | None = None,
    load: LoadModel | None = None,
    progress: OnProgress | None = None,
) -> RemoveResult:
    """Take what a mask covers out of a video and fill the hole with what was behind it.

    Args:
        source: a video, or a folder of images.
        output: a video, or a folder for PNG files (text that ends in a slash, or a name without an extension); None
            for no more than `output_fill`.
        output_fill: the fill as a layer of its own with straight alpha, for an editor to lay over the source: .mov
            (ProRes 4444), .mkv (FFV1) or a folder for PNG files.
        mask: a folder of images, one image for all frames, a video, or "alpha" for what the source's own alpha channel
            leaves transparent, which is opaque in the output.
        box: rectangles to remove, each "x,y,w,h" or "x,y,w,h@start-end".
        prompts: objects to select and to follow, in the place of a mask.
        invert: remove what the mask leaves black.
        start: remove nothing before this time ("12.5", "1:02.5" or "#120" for a frame).
        end: remove nothing from this time on.
        dilate: grow the mask by this many source pixels; None for a share of the picture, less for thin masks.
        feather: width of the soft rim around that, in source pixels; None for the same.
        model: a name of `vidfill.models.MODEL_NAMES`, or "auto".
        checkpoint: a weight file in the place of the installed one.
        model_dir: the user's folder of weights; None for the default one.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto", "fp32", "bf16" or "fp16".
        threads: CPU threads, 0 for as many as the libraries like.
        working_size: how many pixels the model works on, see `PlanSettings`.
        codec: "auto", a family ("h264", "hevc", "av1", "vp9", "prores", "ffv1") or an encoder's name.
        crf: constant quality of the encoder, lower is better.
        preset: speed against size, by the encoder's own name.
        encoder_options: the encoder's own options by name.
        blend: level the fill's brightness to what is around it.
        grain: give the fill the grain of what is around it.
        fps: frame rate of a folder of images.
        strict: fail on damaged frames instead of holding the last good one.
        overwrite: replace an existing output.
        resume: go on where an interrupted run with the same settings stopped.
        work_dir: where finished segments are kept meanwhile; ".NAME.vidfill" beside the output by default.
        keep_work: leave them there.
        segments: do these segments of the Plan only, into the work folder, and write no output: several processes
            may so share one removal, which a last one without this ends with `resume`. An empty list makes the Plan.
            With a model that remembers, those of a scene are to be done in order.
        load: loads the model; for callers that keep models from one removal to the next.
        progress: called after each frame of each stage.

    Raises:
        VidfillError: of the kind that says what is wrong; no output is left behind.

    Example:
        >>> import vidfill
        >>> vidfill.remove("in.mp4", "out.mp4", box=["20,20,120,40"])  # doctest: +SKIP
    """
    clock = Clock()
    named = output_fill if output is None else output
    if named is None:
        raise UsageError("no output", expected="a picture, a fill layer or both", todo="name one")
    job = Request(
        Path(source),
        output,
        fps,
        mask_spec(mask, box, invert=invert, start=start, end=end, prompting=prompts),
        PlanSettings(dilate_px=dilate, feather_px=feather, working_size=working_size),
        EncodeSettings(codec=codec, crf=crf, preset=preset, options=encoder_options or {}),
        output_fill=output_fill,
    )
    making = Making(
        model,
        checkpoint,
        model_dir,
        EngineSettings(device=device, precision=precision, threads=threads),
        strict=strict,
        overwrite=overwrite,
        resume=resume,
        work_dir=Path(work_dir) if work_dir else Path(named).parent / f".{Path(named).name}.vidfill",
        keep_work=keep_work,
        progress=progress,
        segments=segments,
        load=load,
    )
    with collected_warnings() as warnings, filling(job, making, clock) as filled:
        if segments is not None:
            n_filled = sum(1 for _ in filled.patches)
        else:
            composing = ComposeSettings(blend=blend, grain=grain, makes_opaque=job.masks.use_alpha)
            with job.writing(filled.checked.info, composing, overwrite=overwrite) as (writer, layer):
                report = reporter(progress, "assemble")
                n_filled = assemble(
                    filled.plan, filled.reader, filled.patches, writer, composing, layer=layer, progress=report
                )
                filled.check_damage()
    return RemoveResult(
        Path(named),
        filled.plan.n_frames,
        n_filled,
        filled.plan.n_held,
        filled.model,
        filled.device,
        clock.seconds,
        tuple(warnings),
        None if output_fill is None else Path(output_fill),
        filled.tally.ratio,
        filled.licence_notice,
    )


def plan_removal(
    source: Path | str,
    *,
    output: Path | str | None = None,
    output_fill: Path | str | None = None,
    mask: Path | str | None = None,
    box: Sequence[str] = (),
    prompts: Prompting | None = None,
    invert: bool = False,
    start: str | None = None,
    end: str | None = None,
    dilate: int | None = None,
    feather: int | None = None,
    model_dir: Path | None = None,
    device: str = "auto",
    working_size: str | None = None,
    codec: str = "auto",
    crf: float | None = None,
    preset: str | None = None,
    encoder_options: Mapping[str, str] | None = None,
    fps: Fraction | None = None,
    strict: bool = False,
    overwrite: bool = False,
    progress: OnProgress | None = None,
) -> Plan:
    """Say what `remove` would do, and do nothing; the arguments are those of `remove`.

    With an `output`, it is checked as well, and what it cannot keep of the source is logged as warnings.

    Raises:
        VidfillError: of the kind that says what is wrong.
    """
    job = Request(
        Path(source),
        output,
        fps,
        mask_spec(mask, box, invert=invert, start=start, end=end, prompting=prompts),
        PlanSettings(dilate_px=dilate, feather_px=feather, working_size=working_size),
        EncodeSettings(codec=codec, crf=crf, preset=preset, options=encoder_options or {}),
        output_fill=output_fill,
    )
    with tempfile.TemporaryDirectory() as folder:
        track = Path(folder) / "masks.track"
        checked = job.check(overwrite=overwrite, track=track)
        job.track(track, device, model_dir, progress=reporter(progress, "track"))
        return analysed(job, checked.masks, 0, progress, strict=strict)


class Making(NamedTuple):
    """How a fill is made: the arguments of `remove` that say so."""

    model: str
    checkpoint: Path | str | None
    model_dir: Path | None
    engine: EngineSettings
    strict: bool
    overwrite: bool
    resume: bool
    work_dir: Path
    keep_work: bool
    progress: OnProgress | None
    segments: Sequence[int] | None = None
    load: LoadModel | None = None

    def fingerprint(self) -> dict[str, str]:
        """All that decides what is filled in, apart from the weights."""
        return {"precision": self.engine.precision}


@dataclass(frozen=True, slots=True)
class Filling:
    """A run between its fill and its output.

    Attributes:
        checked: the source, the output's picture, the masks.
        plan: of the source.
        reader: of the source, for one pass by whoever writes the output.
        patches: of all segments in order, made as they are pulled.
        model: name of the model.
        device: where it runs.
        is_strict: whether damage is an error.
        tally: of the patches that have been pulled.
        licence_notice: see `RemoveResult`.
    """

    checked: Checked
    plan: Plan
    reader: Reader
    patches: Iterator[Patch]
    model: str
    device: str
    is_strict: bool
    tally: Tally
    licence_notice: str | None

    def check_damage(self) -> None:
        """After the pass, and before the output is finished.

        Raises:
            InputError: the source is damaged, and that is an error.
        """
        _check_damage(self.reader.damage, self.plan, strict=self.is_strict)


@contextmanager
def filling(job: Request, making: Making, clock: Clock) -> Iterator[Filling]:
    """Check, lock the work folder, analyse or resume, and hand out patches; afterwards the work folder goes.

    Raises:
        VidfillError: of the kind that says what is wrong.
    """
    threads, progress = making.engine.threads, making.progress
    with ExitStack() as held:
        with clock.stage("analyse"):
            weights = Weights.chosen(making.model, making.checkpoint, making.model_dir)
            check_settings(making.engine)
            folder = WorkFolder(making.work_dir)
            checked = job.check(overwrite=making.overwrite, track=folder.track)
            folder.check()
            if not making.segments:  # those who do segments share the folder
                held.enter_context(folder.locked())
            filler = (making.load or load_model)(
                weights.model, checkpoint=weights.checkpoint, model_dir=weights.model_dir
            )
            runtime = choose_runtime(filler, making.engine)
            fingerprint = job.fingerprint() | weights.fingerprint() | making.fingerprint()
            plan = folder.resume(fingerprint) if making.resume else None
            if plan is None and making.segments:
                raise UsageError(f"no Plan in {folder.path} to do segments of", todo="make it first, with no segments")
            if plan is None:
                if job.masks.prompting is not None:
                    with clock.stage("track"):
                        report = reporter(progress, "track")
                        where = making.engine.device, weights.model_dir
                        job.track(folder.track, *where, resume=making.resume, progress=report)
                plan = analysed(job, checked.masks, threads, progress, strict=making.strict)
                folder.begin(fingerprint, plan)
        with (
            clock.stage("assemble"),
            Reader(job.source, fps=job.fps, threads=threads) as for_fill,
            Reader(job.source, fps=job.fps, threads=threads) as reader,
            closing(
                stored_or_filled(
                    plan,
                    folder,
                    for_fill,
                    checked.masks,
                    filler,
                    making.engine,
                    segments=making.segments,
                    progress=reporter(progress, "fill"),
                )
            ) as patches,
        ):
            tally, n_before = Tally(), filler.n_painted
            timed = clock.taken_out("fill", tally.counted(patches))
            device, notice = str(runtime.device), weights.licence_notice()
            yield Filling(checked, plan, reader, timed, weights.model, device, making.strict, tally, notice)
        if n_painted := filler.n_painted - n_before:
            _log.info("painted %s", "once" if n_painted == 1 else f"{n_painted} times")
        if not making.keep_work and making.segments is None:
            folder.remove()


def analysed(job: Request, masks: MaskSource, threads: int, progress: OnProgress | None, *, strict: bool) -> Plan:
    """The first stage, with damage told or refused."""
    with Reader(job.source, fps=job.fps, threads=threads) as reader:
        plan = analyse(reader, masks, job.planning, progress=reporter(progress, "analyse"))
        _check_damage(reader.damage, plan, strict=strict)
        if damage := _described(reader.damage, plan.n_frames):
            _log.warning("%s; the last good frame is held in the place of each damaged one", damage)
    return plan


def _check_damage(damage: Damage, plan: Plan, *, strict: bool) -> None:
    if strict and (text := _described(damage, plan.n_frames)):
        raise InputError(text, todo="repair the source, or leave out --strict to hold the last good frame")


def _described(damage: Damage, n_frames: int) -> str:
    parts = []
    if damage.n_bad_packets or damage.n_held:
        parts.append(f"{damage.n_bad_packets} damaged packets, {damage.n_held} of {n_frames} frames lost")
    if damage.is_truncated:
        parts.append("the source ends before it says it does")
    return "; ".join(parts)
