"""What a run is asked for, as plain values: checked before the work starts, and told apart from every other request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Self

from vidfill import __version__
from vidfill.frame import VideoInfo
from vidfill.masks.files import MaskSource, MaskSpec, open_masks
from vidfill.models import resolve_model
from vidfill.plan import PlanSettings
from vidfill.store import fingerprint_of
from vidfill.video.codecs import EncodeSettings
from vidfill.video.read import probe
from vidfill.video.write import check_output
from vidfill.weights import file_sha256, find_weights

_log = logging.getLogger("vidfill")


class Checked(NamedTuple):
    """What the checks of a request have found.

    Attributes:
        info: the source.
        written: the picture as the output has it: `info`, or that at another size.
        masks: what goes.
    """

    info: VideoInfo
    written: VideoInfo
    masks: MaskSource


class Request(NamedTuple):
    """What is asked for, apart from the model.

    Attributes:
        source: a video, or a folder of images.
        output: text keeps the slash that makes it a folder; None where nothing is written.
        fps: frame rate of a folder of images.
        masks: what goes.
        planning: how segments are cut.
        encoding: how the output is written.
        reshape: gives the output its size, where that is not the source's.
    """

    source: Path
    output: Path | str | None
    fps: Fraction | None
    masks: MaskSpec
    planning: PlanSettings
    encoding: EncodeSettings
    reshape: Callable[[VideoInfo], VideoInfo] | None = None

    def check(self, *, overwrite: bool) -> Checked:
        """Whatever can be checked before a long decode: the source, the output, the masks.

        Raises:
            VidfillError: of the kind that says what is wrong.
        """
        info = probe(self.source, fps=self.fps)
        for warning in info.warnings:
            _log.warning(warning)
        written = info if self.reshape is None else self.reshape(info)
        if self.output is not None:
            inputs = () if self.masks.path is None else (self.masks.path,)
            for warning in check_output(self.output, written, self.encoding, overwrite=overwrite, inputs=inputs):
                _log.warning(warning)
        return Checked(info, written, open_masks(self.masks, info, rate=info.rate))

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


class Weights(NamedTuple):
    """Which model, and whose weights: the name of a model, a weight file of the user's own, their folder of weights."""

    model: str
    checkpoint: Path | None
    model_dir: Path | None

    @classmethod
    def chosen(cls, model: str, checkpoint: Path | str | None, model_dir: Path | None) -> Self:
        """Settle which model "auto" is.

        Raises:
            UsageError: no model of that name.
            WeightsError: nothing usable is installed.
        """
        path = None if checkpoint is None else Path(checkpoint)
        return cls(resolve_model(model, model_dir=model_dir), path, model_dir)

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
    return MaskSpec(None if use_alpha or mask is None else Path(mask), tuple(box), use_alpha, invert, start, end)
