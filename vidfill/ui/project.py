"""What the page does with a source, without HTTP: prompts, masks, tracking, previews, the removal, its files."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from vidfill.engine.device import check_settings, choose_device
from vidfill.errors import InputError, OutputError, UsageError
from vidfill.files.atomic import atomic_write
from vidfill.masks.boxes import Moment
from vidfill.masks.files import MaskSource
from vidfill.masks.prompt import Click, ObjectBox, Prompting, Prompts, read_prompts
from vidfill.models import load_model
from vidfill.progress import OnProgress, reporter
from vidfill.removal.request import RemoveArguments, Request, Weights
from vidfill.removal.run import RemoveResult, run_removal
from vidfill.removal.work_folder import WorkFolder
from vidfill.settings.commands import UiSettings
from vidfill.settings.define import converted
from vidfill.track.base import Selector
from vidfill.track.result import Track
from vidfill.track.timeline import frame_of
from vidfill.track.tools import open_tools
from vidfill.ui.download import masks_zip
from vidfill.ui.excerpt import filled_frames
from vidfill.ui.jobs import Jobs
from vidfill.ui.pictures import PagePicture, Pictures, shown
from vidfill.ui.selection import FrameMask, Selections
from vidfill.video.display import encode_picture
from vidfill.video.frame import VideoInfo
from vidfill.video.index import SourceIndex
from vidfill.video.read import Reader, probe
from vidfill.video.write import check_output

MAX_PREVIEW_FRAMES = 60
"""Of one preview, whose pictures are held in memory."""


@dataclass(frozen=True, slots=True)
class TrackedPrompts:
    """A track in its file, the prompts that it follows, and whether it includes shadows."""

    number: int
    path: Path
    track: Track
    prompts: Prompts
    shadow: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """The fill of a few frames: index -> JPEG, as far as it is done."""

    number: int
    frames: range
    jpegs: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Removed:
    """A finished removal and the frames of its output."""

    number: int
    result: RemoveResult
    pictures: Pictures


class Project:
    """A source, what the user has said about it, and what was made from that.

    Every method may be called from any thread. `open` comes first: until its job has ended there are no frames.

    Args:
        source: a video, or a folder of images.
        output: as `vidfill.remove` takes it.
        settings: see there.

    Raises:
        VidfillError: the source, the prompts or the output cannot be used, as for `vidfill.remove`.
    """

    def __init__(self, source: Path, output: Path | str, settings: UiSettings) -> None:
        self.source, self.output, self.settings = source, output, settings
        self.prompts_file = settings.prompts or Path(output).parent / f"{source.stem}.prompts.json"
        self.info: VideoInfo = probe(source, fps=settings.fps)
        self.prompts = read_prompts(self.prompts_file) if self.prompts_file.exists() else Prompts()
        self.prompts.check_inside(self.info)
        check_settings(settings)
        self._weights = Weights.chosen(settings)
        inputs = (source, self.prompts_file)
        self.warnings = (
            *self.info.warnings,
            *check_output(output, self.info, settings, overwrite=settings.overwrite, inputs=inputs),
        )
        self.jobs = Jobs()
        self.pictures: Pictures | None = None
        self.tracked: TrackedPrompts | None = None
        self.preview: Preview | None = None
        self.removed: Removed | None = None
        self._numbers = count(1)
        self._selections = Selections(_open_selector(settings), lambda index: self.opened().near(index))
        self._changing = threading.Lock()
        self._unfinished: object = None  # what the work folder is of
        target = Path(output).absolute()
        self._folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.vidfill-ui-", dir=target.parent))

    def open(self) -> None:
        """Begin to read the source for its times and cuts."""
        self.jobs.start("reading", self._read)

    def close(self) -> None:
        """Stop what runs, and remove everything except the prompts and a finished output."""
        self.jobs.close()
        if self.pictures is not None:
            self.pictures.close()
        if self.removed is not None:
            self.removed.pictures.close()
        if self.tracked is not None:
            self.tracked.track.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def opened(self) -> Pictures:
        """The frames of the source.

        Raises:
            UsageError: the source is not read yet.
        """
        if self.pictures is None:
            raise UsageError("the source is not read yet", todo="wait until it is")
        return self.pictures

    def picture(self, index: int) -> PagePicture:
        """A frame of the source."""
        return self.opened().at(index)

    def filled(self, index: int) -> bytes:
        """A frame of the preview, as a JPEG.

        Raises:
            InputError: it is not one of those that are done.
        """
        if self.preview is None or index not in self.preview.jpegs:
            raise InputError(f"frame {index}", expected="one of the preview")
        return self.preview.jpegs[index]

    def finished(self) -> Removed:
        """The last removal.

        Raises:
            InputError: there is none yet.
        """
        if self.removed is None:
            raise InputError("no result yet", todo="remove first")
        return self.removed

    def followed(self) -> TrackedPrompts:
        """The last track.

        Raises:
            InputError: there is none yet.
        """
        if self.tracked is None:
            raise InputError("no track yet", todo="track first")
        return self.tracked

    def masks_zip(self) -> Iterator[bytes]:
        """The masks of all frames as a ZIP file, in parts.

        Raises:
            InputError: there is no track yet.
        """
        return masks_zip(self.source, self._masks_of(self.followed()), fps=self.settings.fps)

    def set_prompts(self, text: str) -> None:
        """Replace the prompts, also in their file.

        Raises:
            UsageError: they cannot be read, or contradict each other.
            MaskError: they lie outside the picture, or after its end.
            OutputError: the file cannot be written.
        """
        prompts = _numbered(Prompts.from_json(text), self.opened().timeline)
        prompts.check_inside(self.info)
        prompts.on_frames(_frame_of)
        with self._changing:
            _write(self.prompts_file, prompts)
            self.prompts = prompts

    @property
    def is_stale(self) -> bool:
        """Whether the prompts have changed since the track."""
        return self.tracked is not None and self.tracked.prompts != self.prompts

    def mask(self, index: int) -> FrameMask:
        """What would be removed on a frame: the track's mask, or before tracking what the frame's prompts select.

        Raises:
            InputError: there is no such frame.
        """
        working, prompts = self.picture(index).working, self.prompts
        with self._changing:
            tracked, is_stale = self.tracked, self.is_stale
            of_track = None if tracked is None else FrameMask.of_track(tracked.track, index, is_stale=is_stale)
        if index in prompts.on_frames(_frame_of) and (tracked is None or is_stale):
            # As in tracking, only a prompt that came later corrects what the track has on the frame.
            prior = None if tracked is None or index in tracked.track.prompted else of_track
            return self._selections.select(index, working, prompts, self.info, prior=prior)
        return FrameMask.empty(working) if of_track is None else of_track

    def start_tracking(self, *, shadow: bool) -> None:
        """Begin to follow the objects.

        Raises:
            UsageError: no prompts, or an object without one that names it.
            BusyError: another job runs.
        """
        self.opened()
        prompts = self.prompts
        if not prompts:
            raise UsageError("nothing to track", todo="click on an object first")
        prompts.check_named()
        self.jobs.start("tracking", lambda report: self._track(prompts, report, shadow=shadow))

    def start_preview(self, frames: range, *, dilate: int | None) -> None:
        """Begin to fill a few frames.

        Raises:
            UsageError: no track of the current prompts, or too many frames.
            BusyError: another job runs.
        """
        n_frames = len(self.opened().timeline)
        tracked = self._fresh_track()
        if not 0 <= frames.start < frames.stop <= n_frames or len(frames) > MAX_PREVIEW_FRAMES:
            raise UsageError(
                f"a preview of frames {frames.start} to {frames.stop - 1}",
                expected=f"1 to {MAX_PREVIEW_FRAMES} frames within 0 to {n_frames - 1}",
            )
        self.jobs.start("preview", lambda report: self._preview(tracked, frames, dilate, report))

    def start_removal(self, *, dilate: int | None, allow_lost: bool) -> None:
        """Begin to write the output.

        Raises:
            UsageError: no track of the current prompts.
            MaskError: objects are lost, and that is not allowed.
            BusyError: another job runs.
        """
        tracked = self._fresh_track()
        if not allow_lost:
            tracked.track.check()
        self.jobs.start("removing", lambda report: self._remove(tracked, dilate, report, allow_lost=allow_lost))

    def _fresh_track(self) -> TrackedPrompts:
        if self.tracked is None or self.is_stale:
            found = "no track yet" if self.tracked is None else "prompts that were changed after tracking"
            raise UsageError(found, todo="track first")
        return self.tracked

    def _read(self, report: OnProgress) -> None:
        pictures = Pictures.read(self.source, fps=self.settings.fps, progress=reporter(report, "read"))
        self.prompts = _numbered(self.prompts, pictures.timeline)
        self.pictures = pictures

    def _track(self, prompts: Prompts, report: OnProgress, *, shadow: bool) -> None:
        number = next(self._numbers)
        path = self._folder / f"{number}.track"
        arguments = replace(self._arguments(prompts, shadow=shadow), progress=report)
        request = Request.of_removal(self.source, None, arguments)
        with request.reader() as reader:
            request.track(reader, path)
        found = Track.open(path, self.info)
        with self._changing:
            before, self.tracked = self.tracked, TrackedPrompts(number, path, found, prompts, shadow)
        if before is not None:
            before.track.close()
            before.path.unlink()

    def _preview(self, tracked: TrackedPrompts, frames: range, dilate: int | None, report: OnProgress) -> None:
        model = self._weights.load(load_model)
        arguments = replace(self._arguments(tracked.prompts, shadow=tracked.shadow), dilate=dilate)
        jpegs: dict[int, bytes] = {}
        self.preview = Preview(next(self._numbers), frames, jpegs)
        timeline, masks = self.opened().timeline, self._masks_of(tracked)
        with Reader(self.source, fps=self.settings.fps) as reader:
            for frame in filled_frames(
                reader, timeline, masks, frames, model, arguments, progress=reporter(report, "fill")
            ):
                jpegs[frame.index] = encode_picture(shown(frame, self.info), ".jpg")

    def _remove(self, tracked: TrackedPrompts, dilate: int | None, report: OnProgress, *, allow_lost: bool) -> None:
        """Remove with the track that the user has seen; resume a cancelled run with the same settings."""
        work = WorkFolder(self._folder / "work")
        wanted = (tracked.number, dilate, allow_lost)
        if self._unfinished != wanted:
            shutil.rmtree(work.path, ignore_errors=True)
            work.path.mkdir()
            shutil.copyfile(tracked.path, work.track)
            self._unfinished = wanted
        arguments = replace(
            self._arguments(tracked.prompts, shadow=tracked.shadow, allow_lost=allow_lost),
            dilate=dilate,
            overwrite=self.settings.overwrite or self.removed is not None,
            resume=True,
            work_dir=work.path,
            progress=report,
        )
        result = run_removal(self.source, self.output, arguments)
        self._unfinished = None
        fps = self.info.rate if result.output.is_dir() else None
        pictures = Pictures.read(result.output, fps=fps, progress=reporter(report, "check"))
        before, self.removed = self.removed, Removed(next(self._numbers), result, pictures)
        if before is not None:
            before.pictures.close()

    def _masks_of(self, tracked: TrackedPrompts) -> MaskSource:
        arguments = self._arguments(tracked.prompts, shadow=tracked.shadow)
        return Request.of_removal(self.source, None, arguments).check(self.info, track=tracked.path).masks

    def _arguments(self, prompts: Prompts, *, shadow: bool, allow_lost: bool = True) -> RemoveArguments:
        prompting = converted(Prompting, self.settings, prompts=prompts, shadow=shadow, allow_lost=allow_lost)
        return converted(RemoveArguments, self.settings, prompts=prompting)


def _open_selector(settings: UiSettings) -> Selector:
    device = str(choose_device(settings.device))
    return open_tools(settings.tracker, whole=settings.whole, device=device, model_dir=settings.model_dir).selector


def _numbered(prompts: Prompts, timeline: SourceIndex) -> Prompts:
    """The prompts with frames instead of times, so that equal ones compare equal."""

    def at(moment: Moment) -> Moment:
        is_known = moment.frame is not None and moment.frame < len(timeline)
        return moment if is_known else Moment(frame=frame_of(timeline, moment))

    return Prompts(
        tuple(Click(c.x, c.y, c.is_object, c.object_id, at(c.at)) for c in prompts.clicks),
        tuple(ObjectBox(b.x0, b.y0, b.x1, b.y1, b.object_id, at(b.at)) for b in prompts.boxes),
    )


def _frame_of(at: Moment) -> int:
    assert at.frame is not None
    return at.frame


def _write(path: Path, prompts: Prompts) -> None:
    """Write the file, or leave it as it is."""
    try:
        with atomic_write(path) as partial:
            partial.write_text(prompts.to_json(), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"the prompts {path} cannot be written ({error.strerror})", todo="name another file with --prompts"
        ) from error
