"""What the page does with a source, without HTTP: prompts, masks, tracking, previews, the removal, its files."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vidfill.engine.device import choose_device
from vidfill.engine.plan import PlanSettings
from vidfill.errors import InputError, OutputError, UsageError
from vidfill.files.atomic import atomic_write
from vidfill.masks.boxes import Moment
from vidfill.masks.files import MaskSource
from vidfill.masks.prompt import Click, ObjectBox, Prompts, read_prompts
from vidfill.models import load_model, resolve_model
from vidfill.progress import OnProgress, Progress, reporter
from vidfill.removal.run import RemoveResult, remove
from vidfill.removal.work_folder import WorkFolder
from vidfill.track.base import Selector
from vidfill.track.result import Track
from vidfill.track.timeline import Timeline, survey
from vidfill.track.tools import open_tools
from vidfill.ui.download import masks_zip
from vidfill.ui.excerpt import filled_frames
from vidfill.ui.jobs import Jobs
from vidfill.ui.pictures import Pictures, Shown, encode_jpeg, shown
from vidfill.ui.selection import FrameMask, Selections
from vidfill.ui.settings import Settings
from vidfill.video.codecs import EncodeSettings
from vidfill.video.frame import VideoInfo
from vidfill.video.read import Reader, probe
from vidfill.video.write import check_output

MAX_PREVIEW_FRAMES = 60
"""Of one preview; its pictures are held in memory."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """A track, the prompts that it follows, and whether shadows are in it."""

    number: int
    path: Path
    track: Track
    prompts: Prompts
    shadow: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """The fill of a few frames: position -> JPEG, as far as it is done."""

    number: int
    frames: range
    jpegs: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Removed:
    """A finished output, and what the removal has to say of it (see `vidfill.removal.run.RemoveResult`)."""

    number: int
    path: Path
    pictures: Pictures
    invented: float | None
    licence_notice: str | None


class Project:
    """A source, what the user has said of it, and what was made of that.

    Every method may be called from any thread. `open` comes first: until its job has ended there are no frames.

    Args:
        settings: see there.

    Raises:
        VidfillError: the source, the prompts or the output cannot be used, as for `vidfill.remove`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.info: VideoInfo = probe(settings.source, fps=settings.fps)
        self.prompts = read_prompts(settings.prompts) if settings.prompts.exists() else Prompts()
        self.prompts.check_inside(self.info)
        resolve_model(settings.model, model_dir=settings.model_dir)
        inputs = (settings.source, settings.prompts)
        self.warnings = (
            *self.info.warnings,
            *check_output(settings.output, self.info, EncodeSettings(), overwrite=settings.overwrite, inputs=inputs),
        )
        self.jobs = Jobs()
        self.timeline: Timeline | None = None
        self.tracked: Tracked | None = None
        self.preview: Preview | None = None
        self.removed: Removed | None = None
        self._pictures: Pictures | None = None
        self._selections = Selections(_open_selector(settings), lambda index: self.known()[1].near(index))
        self._changing = threading.Lock()
        self._unfinished: object = None
        name = Path(settings.output).name
        self._folder = Path(
            tempfile.mkdtemp(prefix=f".{name}.vidfill-ui-", dir=Path(settings.output).absolute().parent)
        )

    def open(self) -> None:
        """Begin to read the source for its times and cuts."""
        self.jobs.start("reading", self._read)

    def close(self) -> None:
        """Stop what runs, and remove everything but the prompts and a finished output."""
        self.jobs.close()
        if self._pictures is not None:
            self._pictures.close()
        if self.removed is not None:
            self.removed.pictures.close()
        if self.tracked is not None:
            self.tracked.track.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def known(self) -> tuple[Timeline, Pictures]:
        """What `open` finds.

        Raises:
            UsageError: it is not there yet.
        """
        if self.timeline is None or self._pictures is None:
            raise UsageError("the source is not read yet", todo="wait until it is")
        return self.timeline, self._pictures

    def picture(self, index: int) -> Shown:
        """A frame of the source."""
        return self.known()[1].at(index)

    def filled(self, index: int) -> bytes:
        """A frame of the preview, as a JPEG.

        Raises:
            InputError: it is not one of those that are done.
        """
        if self.preview is None or index not in self.preview.jpegs:
            raise InputError(f"frame {index}", expected="one of the preview")
        return self.preview.jpegs[index]

    def result(self, index: int) -> bytes:
        """A frame of the output, as a JPEG.

        Raises:
            InputError: there is no output yet.
        """
        return self.finished().pictures.at(index).jpeg

    def finished(self) -> Removed:
        """The output.

        Raises:
            InputError: there is none yet.
        """
        if self.removed is None:
            raise InputError("no result yet", todo="remove first")
        return self.removed

    def masks_zip(self) -> Iterator[bytes]:
        """The masks of all frames as a ZIP file, in parts.

        Raises:
            InputError: there is no track yet.
        """
        return masks_zip(self.settings.source, self._masks_of(self.followed()), fps=self.settings.fps)

    def followed(self) -> Tracked:
        """The track.

        Raises:
            InputError: there is none yet.
        """
        if self.tracked is None:
            raise InputError("no track yet", todo="track first")
        return self.tracked

    def set_prompts(self, text: str) -> None:
        """Take other prompts, and keep them in the file.

        Raises:
            UsageError: they cannot be read, or contradict each other.
            MaskError: they lie outside the picture, or after its end.
            OutputError: the file cannot be written.
        """
        prompts = _numbered(Prompts.from_json(text), self.known()[0])
        prompts.check_inside(self.info)
        prompts.on_frames(_number)
        with self._changing:
            _write(self.settings.prompts, prompts)
            self.prompts = prompts

    @property
    def is_stale(self) -> bool:
        """Whether the prompts are others than those of the track."""
        return self.tracked is not None and self.tracked.prompts != self.prompts

    def mask(self, index: int) -> FrameMask:
        """What would be removed on a frame: the track's mask, or before that what its prompts select.

        Raises:
            InputError: there is no such frame.
        """
        working, prompts = self.picture(index).working, self.prompts
        with self._changing:
            tracked = self.tracked
            is_stale = self.is_stale
            of_track = None if tracked is None else FrameMask.of_track(tracked.track, index, is_stale=is_stale)
        has_prompts = index in prompts.on_frames(_number)
        if has_prompts and (tracked is None or is_stale):
            # As in tracking, only a prompt that came later corrects what the track has made of the frame.
            prior = None if tracked is None or index in tracked.track.prompted else of_track
            return self._selections.select(index, working, prompts, self.info, prior=prior)
        return FrameMask.empty(working) if of_track is None else of_track

    def start_tracking(self, *, shadow: bool) -> None:
        """Begin to follow the objects.

        Raises:
            UsageError: no prompts, or an object that they do not name.
            BusyError: something else is running.
        """
        self.known()
        prompts = self.prompts
        if not prompts:
            raise UsageError("nothing to track", todo="click on an object first")
        prompts.check_named()
        self.jobs.start("tracking", lambda report: self._track(prompts, report, shadow=shadow))

    def start_preview(self, frames: range, *, dilate_px: int | None) -> None:
        """Begin to fill a few frames, to look at.

        Raises:
            UsageError: no track of the prompts as they are, or too many frames.
            BusyError: something else is running.
        """
        timeline = self.known()[0]
        tracked = self._fresh_track()
        if not 0 <= frames.start < frames.stop <= len(timeline) or len(frames) > MAX_PREVIEW_FRAMES:
            raise UsageError(
                f"a preview of frames {frames.start} to {frames.stop - 1}",
                expected=f"1 to {MAX_PREVIEW_FRAMES} frames within 0 to {len(timeline) - 1}",
            )
        planning = PlanSettings(dilate_px=dilate_px)
        self.jobs.start("preview", lambda report: self._preview(tracked, frames, planning, report))

    def start_removal(self, *, dilate_px: int | None, allow_lost: bool) -> None:
        """Begin to write the output.

        Raises:
            UsageError: no track of the prompts as they are.
            MaskError: objects are lost, and that is not allowed.
            BusyError: something else is running.
        """
        tracked = self._fresh_track()
        if not allow_lost:
            tracked.track.check()
        self.jobs.start("removing", lambda report: self._remove(tracked, dilate_px, report, allow_lost=allow_lost))

    def _fresh_track(self) -> Tracked:
        if self.tracked is None or self.is_stale:
            found = "no track yet" if self.tracked is None else "prompts that were changed after tracking"
            raise UsageError(found, todo="track first")
        return self.tracked

    def _read(self, report: OnProgress) -> None:
        with Reader(self.settings.source, fps=self.settings.fps) as reader:
            timeline = survey(reader, progress=reporter(report, "read"))
        self.prompts = _numbered(self.prompts, timeline)
        self._pictures = Pictures(self.settings.source, timeline, fps=self.settings.fps)
        self.timeline = timeline

    def _track(self, prompts: Prompts, report: OnProgress, *, shadow: bool) -> None:
        settings = self.settings
        number = self.tracked.number + 1 if self.tracked else 1
        path = self._folder / f"{number}.track"
        request = settings.request(settings.prompting(prompts, shadow=shadow, allow_lost=True))
        request.track(path, settings.device, settings.model_dir, progress=reporter(report, "track"))
        found = Track.open(path, self.info)
        with self._changing:
            before, self.tracked = self.tracked, Tracked(number, path, found, prompts, shadow)
        if before is not None:
            before.track.close()
            before.path.unlink()

    def _preview(self, tracked: Tracked, frames: range, planning: PlanSettings, report: OnProgress) -> None:
        settings = self.settings
        name = resolve_model(settings.model, model_dir=settings.model_dir)
        model = load_model(name, checkpoint=None, model_dir=settings.model_dir)
        jpegs: dict[int, bytes] = {}
        self.preview = Preview(self.preview.number + 1 if self.preview else 1, frames, jpegs)
        with Reader(settings.source, fps=settings.fps) as reader:
            filled = filled_frames(
                reader,
                self.known()[0],
                self._masks_of(tracked),
                frames,
                model,
                settings.engine,
                planning=planning,
                progress=lambda done, total: report(Progress("fill", done, total)),
            )
            for frame in filled:
                jpegs[frame.index] = encode_jpeg(shown(frame, self.info))

    def _remove(self, tracked: Tracked, dilate_px: int | None, report: OnProgress, *, allow_lost: bool) -> None:
        """Remove with the track that the user has seen; after a cancelled run of the same settings go on from there."""
        settings, work = self.settings, WorkFolder(self._folder / "work")
        wanted = (tracked.number, dilate_px, allow_lost)
        if self._unfinished != wanted:
            shutil.rmtree(work.path, ignore_errors=True)
            work.path.mkdir()
            shutil.copyfile(tracked.path, work.track)
            self._unfinished = wanted
        done = remove(
            settings.source,
            settings.output,
            prompts=settings.prompting(tracked.prompts, shadow=tracked.shadow, allow_lost=allow_lost),
            dilate=dilate_px,
            model=settings.model,
            model_dir=settings.model_dir,
            device=settings.device,
            fps=settings.fps,
            overwrite=settings.overwrite or self.removed is not None,
            resume=True,
            work_dir=work.path,
            progress=report,
        )
        self._unfinished = None
        self._show_result(done, report)

    def _show_result(self, done: RemoveResult, report: OnProgress) -> None:
        """Read the output once: it is whole, and any of its frames can be shown."""
        output = done.output
        fps = self.info.rate if output.is_dir() else None
        with Reader(output, fps=fps) as reader:
            timeline = survey(reader, progress=reporter(report, "check"))
        before = self.removed
        number = before.number + 1 if before else 1
        pictures = Pictures(output, timeline, fps=fps)
        self.removed = Removed(number, output, pictures, done.invented, done.licence_notice)
        if before is not None:
            before.pictures.close()

    def _masks_of(self, tracked: Tracked) -> MaskSource:
        prompting = self.settings.prompting(tracked.prompts, shadow=tracked.shadow, allow_lost=True)
        request = self.settings.request(prompting)
        return request.check(overwrite=False, track=tracked.path).masks


def _open_selector(settings: Settings) -> Selector:
    device = str(choose_device(settings.device))
    return open_tools(settings.tracker, whole=settings.whole, device=device, model_dir=settings.model_dir).selector


def _numbered(prompts: Prompts, timeline: Timeline) -> Prompts:
    """The same prompts with frames in the place of times, so that equal ones are equal."""

    def at(moment: Moment) -> Moment:
        is_known = moment.frame is not None and moment.frame < len(timeline)
        return moment if is_known else Moment(frame=timeline.frame_of(moment))

    return Prompts(
        tuple(Click(c.x, c.y, c.is_object, c.object_id, at(c.at)) for c in prompts.clicks),
        tuple(ObjectBox(b.x0, b.y0, b.x1, b.y1, b.object_id, at(b.at)) for b in prompts.boxes),
    )


def _number(at: Moment) -> int:
    """The frame of a moment that names one."""
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
