"""What a run is asked for, as plain values: checked before the work starts, and told apart from every other request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Self

from vidfill import __version__
from vidfill.compose import ComposeSettings
from vidfill.engine.device import choose_device
from vidfill.engine.plan import PlanSettings
from vidfill.errors import UsageError
from vidfill.masks.boxes import TimeRange
from vidfill.masks.files import MaskSource, MaskSpec, open_masks
from vidfill.masks.prompt import Prompting
from vidfill.models import resolve_model
from vidfill.removal.fill_layer import FillLayer, check_layer
from vidfill.removal.work_folder import fingerprint_of
from vidfill.track.layer import TrackLayer
from vidfill.track.prompted import Where, track_prompted
from vidfill.video.codecs import EncodeSettings
from vidfill.video.frame import VideoInfo
from vidfill.video.read import Reader, probe
from vidfill.video.write import Writer, check_output, open_writer
from vidfill.weights import file_sha256, find_weights, list_weights

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
        output_fill: where the fill goes as a layer of its own, None for nowhere.
    """

    source: Path
    output: Path | str | None
    fps: Fraction | None
    masks: MaskSpec
    planning: PlanSettings
    encoding: EncodeSettings
    reshape: Callable[[VideoInfo], VideoInfo] | None = None
    output_fill: Path | str | None = None

    def check(self, *, overwrite: bool, track: Path | None = None) -> Checked:
        """Whatever can be checked before a long decode: the source, the output, the masks.

        Args:
            overwrite: whether the output may be there already.
            track: where `track` will leave the masks, where there may be prompts.

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
        self._check_layer(info, overwrite=overwrite)
        tracked = None
        if self.masks.prompting is not None:
            if track is None:
                raise ValueError("prompts, and no place for the masks that they lead to")
            self.masks.prompting.prompts.check_inside(info)
            tracked = TrackLayer(track, info, self.masks.prompting)
        return Checked(info, written, open_masks(self.masks, info, rate=info.rate, tracked=tracked))

    def track(
        self,
        file: Path,
        device: str,
        model_dir: Path | None,
        *,
        resume: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Follow what the prompts are about, if there are any; the masks that `check` gave out can then be read.

        Args:
            file: as given to `check`.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps"; for trackers that are networks.
            model_dir: the user's folder of weights; None for the default one.
            resume: keep the file if it is that of the same prompts.
            progress: called with frames done and frames in all.

        Raises:
            MaskError: an object is lost, and that is not allowed.
        """
        if self.masks.prompting is None:
            return
        where = Where(str(choose_device(device)), model_dir)
        when = TimeRange.parse(self.masks.start, self.masks.end)
        key = f"{fingerprint_of(self.source)} {self.fps} {self.masks.start} {self.masks.end} {__version__}"
        with Reader(self.source, fps=self.fps) as reader:
            track_prompted(
                reader, self.masks.prompting, file, where, when=when, key=key, resume=resume, progress=progress
            )

    def _check_layer(self, info: VideoInfo, *, overwrite: bool) -> None:
        if self.output_fill is None:
            return
        inputs = [] if self.masks.path is None else [self.masks.path]
        for warning in check_layer(self.output_fill, info, overwrite=overwrite, inputs=inputs):
            _log.warning(warning)
        if self.output is not None:
            picture, layer = Path(self.output).resolve(), Path(self.output_fill).resolve()
            if picture == layer or picture in layer.parents or layer in picture.parents:
                raise UsageError(
                    f"{self.output} as the picture and {self.output_fill} as the fill layer",
                    expected="two outputs, neither of them inside the other",
                    todo="give them two names",
                )

    @contextmanager
    def writing(
        self, info: VideoInfo, composing: ComposeSettings, *, overwrite: bool
    ) -> Iterator[tuple[Writer | None, FillLayer | None]]:
        """Open what is asked for: the picture's writer, the fill layer, or both; complete after a clean exit only.

        Raises:
            OutputError: they cannot be written.
        """
        with ExitStack() as opened:
            writer = layer = None
            if self.output is not None:
                writer = opened.enter_context(open_writer(self.output, info, self.encoding, overwrite=overwrite))
            if self.output_fill is not None:
                layer = opened.enter_context(FillLayer(self.output_fill, info, composing, overwrite=overwrite))
            yield writer, layer

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
            "dilate": _px(planning.dilate_px),
            "feather": _px(planning.feather_px),
            "working size": str(planning.working_size),
            "prompts": "" if spec.prompting is None else spec.prompting.fingerprint(),
        }


def _px(width: int | None) -> str:
    return "auto" if width is None else str(width)


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

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The same from arguments of `vidfill.remove` by name."""
        return cls.chosen(settings.get("model", "auto"), settings.get("checkpoint"), settings.get("model_dir"))

    def fingerprint(self) -> dict[str, str]:
        """All that decides what the model computes."""
        if self.checkpoint is not None:
            sha256 = file_sha256(self.checkpoint)
        else:
            installed = find_weights(self.model, model_dir=self.model_dir)
            sha256 = installed.card.sha256 if installed is not None else ""
        return {"version": __version__, "model": self.model, "weights": sha256}

    def licence_notice(self) -> str | None:
        """What these weights may be used for and what to do otherwise, in one line; None where nothing limits it.

        A weight file of the user's own is known by its sha256, if a manifest has it.
        """
        if self.checkpoint is None:
            found = find_weights(self.model, model_dir=self.model_dir)
        else:
            sha256, listed = file_sha256(self.checkpoint), list_weights(model_dir=self.model_dir)
            found = next((item for item in listed if item.card.sha256 == sha256), None)
        if found is None or not found.card.research_only:
            return None
        return f"the weights of {self.model} are for research use only; --model propagate needs no weights"


def mask_spec(
    mask: Path | str | None,
    box: Sequence[str],
    *,
    invert: bool,
    start: str | None,
    end: str | None,
    prompting: Prompting | None = None,
) -> MaskSpec:
    """The arguments of `remove` that say what goes, as one value."""
    use_alpha = mask == "alpha"
    path = None if use_alpha or mask is None else Path(mask)
    return MaskSpec(path, tuple(box), use_alpha, invert, start, end, prompting)
