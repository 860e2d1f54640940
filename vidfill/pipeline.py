"""Join the stages: analyse, fill, assemble. Nothing else is decided here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from vidfill import __version__
from vidfill.assemble import assemble
from vidfill.compose import ComposeSettings
from vidfill.engine import EngineSettings, fill
from vidfill.engine.device import check_settings, choose_runtime
from vidfill.errors import InputError
from vidfill.frame import Patch, VideoInfo
from vidfill.masks.files import MaskSource, MaskSpec, open_masks
from vidfill.models import load_model, resolve_model
from vidfill.models.base import Model
from vidfill.plan import Plan, PlanSettings, analyse
from vidfill.store import WorkFolder, fingerprint_of
from vidfill.video.codecs import EncodeSettings
from vidfill.video.read import Damage, Reader, probe
from vidfill.video.write import check_output, open_writer
from vidfill.weights import file_sha256, find_weights

_log = logging.getLogger("vidfill")


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        stage: "analyse", "fill" or "assemble"; the last two go hand in hand.
        done: frames done.
        total: frames in all, 0 where not known.
    """

    stage: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """What a run did.

    Attributes:
        output: where the result is.
        n_frames: frames written.
        n_filled: frames that had a hole.
        n_held: frames that repeat the last good one in the place of damaged ones.
        model: name of the model.
        device: where it ran.
        seconds: wall time by stage.
        warnings: one line each.
    """

    output: Path
    n_frames: int
    n_filled: int
    n_held: int
    model: str
    device: str
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]


def remove(
    source: Path | str,
    output: Path | str,
    *,
    mask: Path | str | None = None,
    box: Sequence[str] = (),
    invert: bool = False,
    start: str | None = None,
    end: str | None = None,
    dilate: int = 4,
    feather: int = 4,
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
) -> RemoveResult:
    """Take what a mask covers out of a video and fill the hole with what was behind it.

    Args:
        source: a video, or a folder of images.
        output: a video, or a folder for PNG files (text that ends in a slash, or a name without an extension).
        mask: a folder of images, one image for all frames, a video, or "alpha" for what the source's own alpha channel
            leaves transparent, which is opaque in the output.
        box: rectangles to remove, each "x,y,w,h" or "x,y,w,h@start-end".
        invert: remove what the mask leaves black.
        start: remove nothing before this time ("12.5", "1:02.5" or "#120" for a frame).
        end: remove nothing from this time on.
        dilate: grow the mask by this many source pixels.
        feather: width of the soft rim around that, in source pixels.
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
        progress: called after each frame of each stage.

    Raises:
        VidfillError: of the kind that says what is wrong; no output is left behind.

    Example:
        >>> import vidfill
        >>> vidfill.remove("in.mp4", "out.mp4", box=["20,20,120,40"])  # doctest: +SKIP
    """
    clock = _Clock()
    with _collected_warnings() as warnings, ExitStack() as held:
        with clock.stage("analyse"):
            job = _Job(
                Path(source),
                output,
                fps,
                mask_spec(mask, box, invert=invert, start=start, end=end),
                PlanSettings(dilate_px=dilate, feather_px=feather, working_size=working_size),
                EncodeSettings(codec=codec, crf=crf, preset=preset, options=encoder_options or {}),
            )
            weights = _Weights(resolve_model(model, model_dir=model_dir), _path(checkpoint), model_dir)
            engine_settings = EngineSettings(device=device, precision=precision, threads=threads)
            check_settings(engine_settings)
            folder = WorkFolder(_path(work_dir) or Path(output).parent / f".{Path(output).name}.vidfill")
            info, masks = job.check(overwrite=overwrite)
            folder.check()
            held.enter_context(folder.locked())
            filler = load_model(weights.model, checkpoint=weights.checkpoint, model_dir=model_dir)
            runtime = choose_runtime(filler, engine_settings)
            fingerprint = job.fingerprint() | weights.fingerprint() | {"precision": precision}
            plan = folder.resume(fingerprint) if resume else None
            if plan is None:
                plan = _analysed(job, masks, threads, progress, strict=strict)
                folder.begin(fingerprint, plan)
        with (
            clock.stage("assemble"),
            Reader(job.source, fps=fps, threads=threads) as for_fill,
            Reader(job.source, fps=fps, threads=threads) as reader,
            closing(_patches(plan, folder, for_fill, masks, filler, engine_settings, progress)) as patches,
            open_writer(output, info, job.encoding, overwrite=overwrite) as writer,
        ):
            timed, report = clock.taken_out("fill", patches), _reporter(progress, "assemble")
            composing = ComposeSettings(blend=blend, grain=grain, makes_opaque=job.masks.use_alpha)
            n_filled = assemble(plan, reader, timed, writer, composing, progress=report)
            _check_damage(reader.damage, plan, strict=strict)
        if not keep_work:
            folder.remove()
    return RemoveResult(
        Path(output),
        plan.n_frames,
        n_filled,
        plan.n_held,
        weights.model,
        str(runtime.device),
        clock.seconds,
        tuple(warnings),
    )


def plan_removal(
    source: Path | str,
    *,
    output: Path | str | None = None,
    mask: Path | str | None = None,
    box: Sequence[str] = (),
    invert: bool = False,
    start: str | None = None,
    end: str | None = None,
    dilate: int = 4,
    feather: int = 4,
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
    job = _Job(
        Path(source),
        output,
        fps,
        mask_spec(mask, box, invert=invert, start=start, end=end),
        PlanSettings(dilate_px=dilate, feather_px=feather, working_size=working_size),
        EncodeSettings(codec=codec, crf=crf, preset=preset, options=encoder_options or {}),
    )
    _, masks = job.check(overwrite=overwrite)
    return _analysed(job, masks, 0, progress, strict=strict)


class _Job(NamedTuple):
    """What is asked for, apart from the model."""

    source: Path
    output: Path | str | None  # text keeps the slash that makes it a folder
    fps: Fraction | None
    masks: MaskSpec
    planning: PlanSettings
    encoding: EncodeSettings

    def check(self, *, overwrite: bool) -> tuple[VideoInfo, MaskSource]:
        """Whatever can be checked before a long decode: the source, the output, the masks."""
        info = probe(self.source, fps=self.fps)
        for warning in info.warnings:
            _log.warning(warning)
        if self.output is not None:
            inputs = () if self.masks.path is None else (self.masks.path,)
            for warning in check_output(self.output, info, self.encoding, overwrite=overwrite, inputs=inputs):
                _log.warning(warning)
        return info, open_masks(self.masks, info, rate=info.rate)

    def fingerprint(self) -> dict[str, str]:
        """All that decides what is filled, and how large."""
        spec, planning = self.masks, self.planning
        return {
            "source": fingerprint_of(self.source),
            "fps": str(self.fps),
            "mask": "" if spec.path is None else fingerprint_of(spec.path),
            "alpha as mask": str(spec.use_alpha),
            "box": " ".join(spec.boxes),
            "invert": str(spec.invert),
            "start": str(spec.start),
            "end": str(spec.end),
            "dilate": str(planning.dilate_px),
            "feather": str(planning.feather_px),
            "working size": str(planning.working_size),
        }


class _Weights(NamedTuple):
    """Which model, and whose weights."""

    model: str
    checkpoint: Path | None
    model_dir: Path | None

    def fingerprint(self) -> dict[str, str]:
        """All that decides what the model computes."""
        if self.checkpoint is not None:
            sha256 = file_sha256(self.checkpoint)
        else:
            installed = find_weights(self.model, model_dir=self.model_dir)
            sha256 = installed.card.sha256 if installed is not None else ""
        return {"version": __version__, "model": self.model, "weights": sha256}


def mask_spec(
    mask: Path | str | None, box: Sequence[str], *, invert: bool, start: str | None, end: str | None
) -> MaskSpec:
    """The arguments of `remove` that say what goes, as one value."""
    use_alpha = mask == "alpha"
    return MaskSpec(None if use_alpha else _path(mask), tuple(box), use_alpha, invert, start, end)


def _path(value: Path | str | None) -> Path | None:
    return None if value is None else Path(value)


def _analysed(job: _Job, masks: MaskSource, threads: int, progress: OnProgress | None, *, strict: bool) -> Plan:
    with Reader(job.source, fps=job.fps, threads=threads) as reader:
        plan = analyse(reader, masks, job.planning, progress=_reporter(progress, "analyse"))
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


def _patches(
    plan: Plan,
    folder: WorkFolder,
    reader: Reader,
    masks: MaskSource,
    model: Model,
    settings: EngineSettings,
    progress: OnProgress | None,
) -> Generator[Patch, None, None]:
    """The patches of all segments in order: from the store where it has them, else computed and stored."""
    report = _reporter(progress, "fill") or (lambda done, total: None)
    total = sum(segment.stop - segment.start for segment in plan.segments)
    before = 0
    for segment in plan.segments:
        if folder.has(segment.index):
            yield from folder.read(segment.index)
        else:
            with folder.writing(segment.index) as stored:
                for patch in fill(plan, reader, masks, model, settings, segments=[segment]):
                    stored.add(patch)
                    report(before + patch.index + 1 - segment.start, total)
                    yield patch
        before += segment.stop - segment.start
        report(before, total)


def _reporter(progress: OnProgress | None, stage: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(Progress(stage, done, total))


class _Clock:
    """Wall time by stage; time taken out for a stage within another counts for the inner one only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a block, less what was taken out of it."""
        start, inner = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            spent = time.perf_counter() - start - (sum(self.seconds.values()) - inner)
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def taken_out(self, name: str, patches: Iterator[Patch]) -> Iterator[Patch]:
        """Count the time that each patch takes to come."""
        while True:
            with self.stage(name):
                patch = next(patches, None)
            if patch is None:
                return
            yield patch


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """Everything that vidfill warns of while a block runs, once each, in order."""
    texts: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if (text := record.getMessage()) not in texts:
                texts.append(text)

    collector = Collector(logging.WARNING)
    _log.addHandler(collector)
    try:
        yield texts
    finally:
        _log.removeHandler(collector)
