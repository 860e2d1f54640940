"""A removal from end to end: analyse, fill, assemble."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vidfill.engine.device import check_settings, choose_runtime
from vidfill.engine.plan import Plan, analyse
from vidfill.errors import InputError, UsageError
from vidfill.masks.files import MaskSource
from vidfill.models import load_model
from vidfill.progress import Clock, collected_warnings, reporter
from vidfill.removal.assemble import assemble, paired
from vidfill.removal.patches import Tally, stored_or_filled
from vidfill.removal.request import Checked, RemoveArguments, Request, Weights
from vidfill.settings.define import flat
from vidfill.video.frame import Frame, Patch
from vidfill.video.index import SourceIndex
from vidfill.video.read import Damage, Reader
from vidfill.video.shared import SharedFrames

_log = logging.getLogger("vidfill")


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """What a run did.

    Attributes:
        output: the result; the fill layer, if there is no other.
        n_frames: frames written.
        n_filled: frames that had a hole.
        n_held: frames that repeat the last good one in place of damaged ones.
        seconds: wall time by stage.
        warnings: one line each.
        output_fill: the fill layer.
        invented: ratio of the holes, in [0, 1], that no frame shows and the model has invented; None if unknown.
        licence_notice: what the weights may be used for, in one line; None if nothing limits it.
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


def run_removal(source: Path | str, output: Path | str | None, arguments: RemoveArguments) -> RemoveResult:
    """Take what a mask covers out of a video and fill the hole with what was behind it.

    Args:
        source: a video, or a folder of images.
        output: a video, or a folder for PNG files (text that ends in a slash, or a name without an extension); None
            for no more than `output_fill`.
        arguments: all that `vidfill.remove` takes by name.

    Raises:
        VidfillError: of the kind that says what is wrong; no output is left behind.

    Example:
        >>> import vidfill
        >>> vidfill.remove("in.mp4", "out.mp4", box=["20,20,120,40"])  # doctest: +SKIP
    """
    clock = Clock()
    request = Request.of_removal(source, output, arguments)
    target = request.target
    with collected_warnings() as warnings, filling(request, clock, segments=arguments.segments) as filled:
        if arguments.segments is not None:
            n_filled = sum(1 for _ in filled.patches)
        else:
            with request.writing(filled.checked.info) as (writer, layer):
                report = reporter(arguments.progress, "assemble")
                n_filled = assemble(
                    filled.plan, filled.reader.info, filled.pairs(), writer, arguments, layer=layer, progress=report
                )
                filled.check_damage()
    return RemoveResult(
        target,
        filled.plan.n_frames,
        n_filled,
        filled.plan.n_held,
        filled.model,
        filled.device,
        clock.seconds,
        tuple(warnings),
        None if request.output_fill is None else Path(request.output_fill),
        filled.tally.ratio,
        filled.licence_notice,
    )


remove = flat("remove", RemoveArguments)(run_removal)


def run_plan(source: Path | str, output: Path | str | None, arguments: RemoveArguments) -> Plan:
    """Say what `remove` would do, and do nothing.

    Args:
        source: as for `remove`.
        output: as for `remove`; it is checked, and what it cannot keep of the source is logged as warnings.
        arguments: those of `remove`.

    Raises:
        VidfillError: of the kind that says what is wrong.
    """
    request = Request.of_removal(source, output, arguments)
    with tempfile.TemporaryDirectory() as folder, request.reader() as reader:
        track = Path(folder) / "masks.track"
        checked = request.check(reader.info, track=track)
        return analysed(request, reader, checked.masks, request.track(reader, track))[1]


plan_removal = flat("plan_removal", RemoveArguments)(run_plan)


@dataclass(frozen=True, slots=True)
class Filling:
    """A run between its fill and its output."""

    request: Request
    checked: Checked
    plan: Plan
    index: SourceIndex | None  # None with the plan of an interrupted run
    reader: Reader
    frames: SharedFrames  # for the writer of the output
    patches: Iterator[Patch]  # of all segments in order, computed when they are asked for
    model: str
    device: str
    tally: Tally  # of the patches so far
    licence_notice: str | None

    def pairs(self) -> Iterator[tuple[Frame, Patch | None]]:
        """All frames with their patches, see `vidfill.removal.assemble.paired`."""
        return paired(self.plan, self.frames.all_frames(), self.patches)

    def check_damage(self) -> None:
        """Check for damage after all frames are read, and before the output is finished.

        Raises:
            InputError: the source is damaged, and that is an error.
        """
        _check_damage(self.reader.damage, self.plan, strict=self.request.settings.strict)


@contextmanager
def filling(request: Request, clock: Clock, *, segments: Sequence[int] | None = None) -> Iterator[Filling]:
    """Check, lock the work folder, analyse or resume, and provide the patches; at the end remove the work folder.

    Args:
        request: what is to be done.
        clock: measures each stage.
        segments: fill only these, see `RemoveArguments`.

    Raises:
        VidfillError: of the kind that says what is wrong.
    """
    settings = request.settings
    with ExitStack() as held:
        with clock.stage("analyse"):
            weights = Weights.chosen(settings)
            check_settings(settings)
            folder = request.work_folder()
            reader = held.enter_context(request.reader())
            checked = request.check(reader.info, track=folder.track)
            folder.check()
            if not segments:  # processes that fill segments share the folder
                held.enter_context(folder.locked())
            filler = weights.load(settings.load or load_model)
            runtime = choose_runtime(filler, settings)
            fingerprint = request.fingerprint() | weights.fingerprint()
            plan = folder.resume(fingerprint) if settings.resume else None
            if plan is None and segments:
                raise UsageError(f"no Plan in {folder.path} to do segments of", todo="make it first, with no segments")
            index: SourceIndex | None = None
            if plan is None:
                if settings.prompts is not None:
                    with clock.stage("track"):
                        index = request.track(reader, folder.track)
                index, plan = analysed(request, reader, checked.masks, index)
                folder.begin(fingerprint, plan)
        with clock.stage("assemble"), tempfile.TemporaryFile(dir=folder.path, buffering=0) as file:
            frames = SharedFrames(reader, file, is_written=segments is None)
            report = reporter(settings.progress, "fill")
            coming = stored_or_filled(
                plan, folder, frames, checked.masks, filler, settings, segments=segments, progress=report
            )
            with closing(coming) as patches:
                tally, n_before = Tally(), filler.n_painted
                timed = clock.taken_out("fill", tally.counted(patches))
                device, notice = str(runtime.device), weights.licence_notice()
                yield Filling(
                    request, checked, plan, index, reader, frames, timed, weights.model, device, tally, notice
                )
        if n_painted := filler.n_painted - n_before:
            _log.info("painted %s", "once" if n_painted == 1 else f"{n_painted} times")
        if not settings.keep_work and segments is None:
            folder.remove()


def analysed(
    request: Request, reader: Reader, masks: MaskSource, index: SourceIndex | None
) -> tuple[SourceIndex, Plan]:
    """Analyse the source, and warn of damage or refuse it; with an index nothing is left to decode."""
    settings = request.settings
    report = reporter(settings.progress, "analyse")
    index, plan = analyse(reader, masks, request.planning, index=index, progress=report)
    _check_damage(plan.damage, plan, strict=settings.strict)
    if damage := _described(plan.damage, plan.n_frames):
        _log.warning("%s; the last good frame is held in the place of each damaged one", damage)
    return index, plan


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
