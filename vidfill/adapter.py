"""What adaptation to a clip is for the pipeline: the contract, the outcome, and what the work folder keeps of it.

How it is done is the business of `vidfill.adapt`, which builds on training and so comes after the pipeline.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol, Self

from vidfill.engine import EngineSettings
from vidfill.engine.fill import FrameReader, Masks
from vidfill.errors import InputError, OutputError, WeightsError
from vidfill.models.base import Model
from vidfill.models.checkpoint import load_strict
from vidfill.plan import Plan
from vidfill.store import ADAPTED_WEIGHTS, WorkFolder
from vidfill.weights import Checkpoint, file_sha256, load_weights, save_weights

Report = Callable[[int, int], None]


class Score(NamedTuple):
    """How well holes are filled whose truth is known.

    Attributes:
        hole_psnr_db: PSNR inside them.
        warp_error: mean squared difference of consecutive outputs along the true motion, times 1000.
    """

    hole_psnr_db: float
    warp_error: float


@dataclass(frozen=True, slots=True)
class Adapted:
    """How an adaptation ended.

    Attributes:
        is_kept: whether the model has the adapted weights; else those that it had before.
        before: in the held-out holes, with the weights as they were; None where it did not come to that.
        after: with the adapted weights; None likewise.
        n_steps: updates of the weights.
        n_holes: holes that they were learned from.
        seconds: that it took.
        obstacle: what kept it from beginning or from going on, "" for nothing.
    """

    is_kept: bool
    before: Score | None = None
    after: Score | None = None
    n_steps: int = 0
    n_holes: int = 0
    seconds: float = 0.0
    obstacle: str = ""

    def describe(self, model: str) -> str:
        """One line for people, with the numbers."""
        obstacle = f" ({self.obstacle})" if self.obstacle else ""
        if self.before is None or self.after is None:
            return f"{model} is not adapted to the clip{obstacle}"
        numbers = (
            f"PSNR {self.before.hole_psnr_db:.2f} -> {self.after.hole_psnr_db:.2f} dB, "
            f"warp error {self.before.warp_error:.2f} -> {self.after.warp_error:.2f}"
        )
        verdict = "kept" if self.is_kept else "not clearly better, so the weights stay as they were"
        return f"{model} adapted in {self.n_steps} steps{obstacle}; in held-out holes {numbers}: {verdict}"

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """From what `dataclasses.asdict` and JSON make of it; TypeError or ValueError for anything else."""
        scores = {name: fields[name] and Score(*fields[name]) for name in ("before", "after") if name in fields}
        return cls(**{**fields, **scores})


class Clip(NamedTuple):
    """What there is to adapt to.

    Attributes:
        plan: of the source.
        reader: of the source.
        masks: what is removed from it.
    """

    plan: Plan
    reader: FrameReader
    masks: Masks


class Adapter(Protocol):
    """Fits a model to a clip before the clip is filled."""

    @property
    def settings(self) -> str:
        """All that decides how it goes, as one phrase."""
        ...

    def check(self, model: str) -> None:
        """Answer before the work starts whether a model can be adapted; UsageError if not."""
        ...

    def fit(self, model: Model, name: str, clip: Clip, settings: EngineSettings, report: Report) -> Adapted:
        """Fine-tune the model in place, or leave it as it was.

        Args:
            model: as it was loaded.
            name: of the model.
            clip: what to fit it to.
            settings: device, threads.
            report: called with (seconds passed, seconds in all).
        """
        ...


def adapt_once(
    adapter: Adapter,
    model: Model,
    name: str,
    clip: Clip,
    folder: WorkFolder,
    made_from: Mapping[str, str],
    settings: EngineSettings,
    report: Report,
) -> Adapted:
    """Fit a model to a clip, or give it the weights that an interrupted run has fitted.

    Args:
        adapter: does it.
        model: changed in place.
        name: of the model.
        clip: what to fit it to.
        folder: of the run, begun or resumed; keeps the outcome and, where they are better, the weights.
        made_from: everything that they depend on, by name.
        settings: device, threads.
        report: called with (seconds passed, seconds in all).

    Raises:
        InputError: the folder has filled segments, but not the weights that they were filled with.
        OutputError: the folder cannot be written.
    """
    digest = hashlib.sha256(json.dumps(dict(made_from), sort_keys=True).encode()).hexdigest()
    if (note := folder.adaptation()) is not None:
        return _restored(note, digest, model, folder)
    if folder.has_any():
        raise InputError(f"{folder.path} has filled segments but no outcome of an adaptation", todo=_START_OVER)
    adapted = adapter.fit(model, name, clip, settings, report)
    sha256 = ""
    if adapted.is_kept:
        path = folder.path / ADAPTED_WEIGHTS
        try:
            save_weights(path, Checkpoint(name, model.sizes, model.state_dict()))
        except WeightsError as error:
            raise OutputError(
                f"the adapted weights cannot be written: {error.found}", todo="give another folder with --work-dir"
            ) from error
        sha256 = file_sha256(path)
    folder.keep_adaptation({"made_from": digest, "sha256": sha256, "outcome": asdict(adapted)})
    return adapted


_START_OVER = "run again without --resume"


def _restored(note: Mapping[str, Any], digest: str, model: Model, folder: WorkFolder) -> Adapted:
    """The outcome of the run that is resumed; the model gets the very weights that it filled with."""
    path = folder.path / ADAPTED_WEIGHTS
    try:
        adapted = Adapted.from_json(note["outcome"])
        if note["made_from"] != digest:
            raise InputError(f"the adapted weights in {folder.path} were made from something else", todo=_START_OVER)
        if adapted.is_kept:
            load_strict(model, load_weights(path, sha256=note["sha256"]).tensors, source=path.name)
    except (WeightsError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"the adapted weights in {folder.path} are damaged", todo=_START_OVER) from error
    return adapted
