"""What a run is asked to do: its arguments, the checks before the work starts, and a fingerprint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from vidfill import __version__
from vidfill.engine.device import choose_device
from vidfill.errors import UsageError
from vidfill.masks.boxes import TimeRange
from vidfill.masks.files import MaskSource, open_masks
from vidfill.masks.prompt import Prompting
from vidfill.models import resolve_model
from vidfill.models.base import Model
from vidfill.progress import OnProgress, reporter
from vidfill.removal.fill_layer import FillLayer, check_layer, open_layer
from vidfill.removal.work_folder import WorkFolder, fingerprint_of
from vidfill.settings import FillSettings, ModelSettings, PlanSettings, RemoveSettings, RunSettings
from vidfill.settings.define import setting
from vidfill.track.layer import TrackLayer
from vidfill.track.prompted import Where, track_prompted
from vidfill.video.frame import VideoInfo
from vidfill.video.index import SourceIndex
from vidfill.video.read import Reader
from vidfill.video.write import Writer, check_output, open_writer
from vidfill.weights import file_sha256, find_weights, list_weights

_log = logging.getLogger("vidfill")


class LoadModel(Protocol):
    """What `vidfill.models.load_model` is."""

    def __call__(self, name: str, *, checkpoint: Path | None, model_dir: Path | None) -> Model:
        """Build a model and load its weights."""


@dataclass(frozen=True, kw_only=True)
class FillArguments(FillSettings, RunSettings):
    """What removing and retargeting take by name: the settings, and what only a program can give."""

    prompts: Prompting | None = setting(None, "Objects to select and to follow, in the place of a mask.")
    progress: OnProgress | None = setting(None, "Called after each frame of each stage.")
    load: LoadModel | None = setting(None, "Loads the model; for callers that keep models from one run to the next.")


@dataclass(frozen=True, kw_only=True)
class RemoveArguments(RemoveSettings, FillArguments):
    """The keyword arguments of `vidfill.remove`."""

    segments: Sequence[int] | None = setting(
        None,
        "Do these segments of the Plan only, into the work folder, and write no output: several processes may so share "
        "one removal, which a last one without this ends with `resume`. An empty list makes the Plan. With a model "
        "that remembers, those of a scene are to be done in order.",
    )


class Checked(NamedTuple):
    """What the checks of a request have found."""

    info: VideoInfo  # the source
    written: VideoInfo  # the output's picture: `info`, or that at another size
    masks: MaskSource


class Request(NamedTuple):
    """What is to be made of a source."""

    source: Path
    output: Path | str | None  # text keeps the slash that makes it a folder; None if nothing is written
    settings: FillArguments
    planning: PlanSettings  # mostly `settings` again
    output_fill: Path | str | None = None  # the fill as a layer of its own
    reshape: Callable[[VideoInfo], VideoInfo] | None = None  # from the source to an output of another size

    @classmethod
    def of_removal(cls, source: Path | str, output: Path | str | None, arguments: RemoveArguments) -> Self:
        """The request of `vidfill.remove`."""
        return cls(Path(source), output, arguments, arguments, arguments.output_fill)

    @property
    def target(self) -> Path:
        """The output, or the fill layer if there is no other.

        Raises:
            UsageError: there is neither.
        """
        named = self.output_fill if self.output is None else self.output
        if named is None:
            raise UsageError("no output", expected="a picture, a fill layer or both", todo="name one")
        return Path(named)

    def work_folder(self) -> WorkFolder:
        """Where finished segments are kept during the run."""
        own = self.settings.work_dir
        return WorkFolder(Path(own) if own else self.target.parent / f".{self.target.name}.vidfill")

    def reader(self) -> Reader:
        """Open the source.

        Raises:
            InputError: it cannot be read.
        """
        return Reader(self.source, fps=self.settings.fps, threads=self.settings.threads)

    def check(self, info: VideoInfo, *, track: Path) -> Checked:
        """Check before a long decode what can be checked: the output and the masks.

        Args:
            info: the source.
            track: the file that `track` will write, if there are prompts.

        Raises:
            VidfillError: of the kind that says what is wrong.
        """
        settings = self.settings
        _warn(info.warnings)
        written = info if self.reshape is None else self.reshape(info)
        inputs = [] if settings.mask_path is None else [settings.mask_path]
        if self.output is not None:
            _warn(check_output(self.output, written, settings, overwrite=settings.overwrite, inputs=inputs))
        if self.output_fill is not None:
            _warn(check_layer(self.output_fill, info, overwrite=settings.overwrite, inputs=inputs))
            self._check_apart(self.output_fill)
        tracked = None
        if settings.prompts is not None:
            settings.prompts.prompts.check_inside(info)
            tracked = TrackLayer(track, info, settings.prompts)
        return Checked(info, written, open_masks(settings, info, rate=info.rate, tracked=tracked))

    def track(self, reader: Reader, file: Path) -> SourceIndex | None:
        """Track the prompted objects, if any, into the file from which the masks of `check` are read.

        Args:
            reader: the source.
            file: as given to `check`; with `resume` it is kept if the prompts are the same.

        Returns:
            The source's index, None if the source was not read.

        Raises:
            MaskError: an object is lost, and that is not allowed.
        """
        settings = self.settings
        if settings.prompts is None:
            return None
        where = Where(str(choose_device(settings.device)), settings.model_dir)
        key = f"{fingerprint_of(self.source)} {settings.fps} {settings.start} {settings.end} {__version__}"
        return track_prompted(
            reader,
            settings.prompts,
            file,
            where,
            when=TimeRange.parse(settings.start, settings.end),
            key=key,
            resume=settings.resume,
            progress=reporter(settings.progress, "track"),
        )

    def _check_apart(self, output_fill: Path | str) -> None:
        if self.output is None:
            return
        picture, layer = Path(self.output).resolve(), Path(output_fill).resolve()
        if picture == layer or picture in layer.parents or layer in picture.parents:
            raise UsageError(
                f"{self.output} as the picture and {output_fill} as the fill layer",
                expected="two outputs, neither of them inside the other",
                todo="give them two names",
            )

    @contextmanager
    def writing(self, info: VideoInfo) -> Iterator[tuple[Writer | None, FillLayer | None]]:
        """Open the picture's writer, the fill layer, or both; the files are complete after a clean exit only.

        Raises:
            OutputError: they cannot be written.
        """
        settings = self.settings
        with ExitStack() as opened:
            writer = layer = None
            if self.output is not None:
                writer = opened.enter_context(open_writer(self.output, info, settings, overwrite=settings.overwrite))
            if self.output_fill is not None:
                layer = opened.enter_context(open_layer(self.output_fill, info, settings, overwrite=settings.overwrite))
            yield writer, layer

    def fingerprint(self) -> dict[str, str]:
        """Everything that the fill depends on, apart from the weights."""
        settings, planning = self.settings, self.planning
        return {
            "source": fingerprint_of(self.source),
            "fps": str(settings.fps),
            "mask": "" if settings.mask_path is None else fingerprint_of(settings.mask_path),
            "alpha as mask": str(settings.uses_alpha),
            "box": " ".join(settings.box),
            "invert": str(settings.invert),
            "start": str(settings.start),
            "end": str(settings.end),
            "dilate": "auto" if planning.dilate is None else str(planning.dilate),
            "feather": "auto" if planning.feather is None else str(planning.feather),
            "working size": str(planning.working_size),
            "prompts": "" if settings.prompts is None else settings.prompts.fingerprint(),
            "precision": settings.precision,
        }


class Weights(NamedTuple):
    """Which model with which weights: a weight file of the user's own, or an installed one."""

    model: str
    checkpoint: Path | None
    model_dir: Path | None

    @classmethod
    def chosen(cls, settings: ModelSettings) -> Self:
        """Settle which model "auto" is.

        Raises:
            UsageError: no model of that name.
            WeightsError: nothing usable is installed.
        """
        path = None if settings.checkpoint is None else Path(settings.checkpoint)
        return cls(resolve_model(settings.model, model_dir=settings.model_dir), path, settings.model_dir)

    def load(self, load: LoadModel) -> Model:
        """Build the model with these weights."""
        return load(self.model, checkpoint=self.checkpoint, model_dir=self.model_dir)

    def fingerprint(self) -> dict[str, str]:
        """Everything that the model's output depends on."""
        if self.checkpoint is not None:
            sha256 = file_sha256(self.checkpoint)
        else:
            installed = find_weights(self.model, model_dir=self.model_dir)
            sha256 = installed.card.sha256 if installed is not None else ""
        return {"version": __version__, "model": self.model, "weights": sha256}

    def licence_notice(self) -> str | None:
        """What these weights may be used for, in one line; None if nothing limits it.

        A weight file of the user's own is recognised by its sha256, if a manifest has it.
        """
        if self.checkpoint is None:
            found = find_weights(self.model, model_dir=self.model_dir)
        else:
            sha256, listed = file_sha256(self.checkpoint), list_weights(model_dir=self.model_dir)
            found = next((item for item in listed if item.card.sha256 == sha256), None)
        if found is None or not found.card.research_only:
            return None
        return f"the weights of {self.model} are for research use only; --model propagate needs no weights"


def _warn(texts: Iterable[str]) -> None:
    for text in texts:
        _log.warning(text)
