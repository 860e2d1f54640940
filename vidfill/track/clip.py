"""Follow objects through a whole clip: from every prompt both ways, each scene on its own, in bounded memory."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from vidfill.masks.boxes import TimeRange
from vidfill.masks.prompt import FramePrompt, Prompts
from vidfill.track.base import CONFIDENT, Selector, Tracked, Tracker
from vidfill.track.merge import Passing, merge
from vidfill.track.result import NOT_TRACKED, Track, write_track
from vidfill.track.shadow import SHADOW_OFFSETS, Other, shadow_of
from vidfill.track.store import MaskFile
from vidfill.track.timeline import WorkingPictures, frame_of, frames_within, index_with_pictures, working_size
from vidfill.video.frame import Float, Rgb
from vidfill.video.index import SourceIndex
from vidfill.video.read import Reader


class Tools(NamedTuple):
    """What selects and what follows."""

    selector: Selector
    new_tracker: Callable[[], Tracker]  # each object needs a tracker of its own
    name: str  # of the tracker, as `--tracker` takes it


def track(
    reader: Reader,
    prompts: Prompts,
    tools: Tools,
    store: Path,
    *,
    when: TimeRange | None = None,
    shadow: bool = False,
    key: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Track, SourceIndex]:
    """Find the objects that the prompts are about on every frame.

    The source is decoded once; the pictures that are tracked are stored beside `store` meanwhile. Every scene is
    tracked on its own, forward from its first prompt and backward from its last one. A frame between two prompts gets
    the track from the one before and the one from after.

    Args:
        reader: the source.
        prompts: the objects.
        tools: how they are selected and followed.
        store: the file for the masks, replaced if it exists.
        when: frames outside are not tracked; None for all.
        shadow: add the shadows that the objects cast; see `vidfill.track.shadow.shadow_of`.
        key: stored in the file; see `Track.key`.
        progress: called with (0, 0) for every frame that is indexed, then with (frames done, frames in all) of
            tracking, both directions counted.

    Returns:
        The masks, open for reading (objects may be lost on some frames, see `Track.check`), and the source's index.

    Raises:
        MaskError: prompts outside the picture or after its end.
        UsageError: prompts that name no object.
        InputError: the source cannot be read.
        OutputError: the disk is full.
    """
    prompts.check_named()
    prompts.check_inside(reader.info)
    when = when or TimeRange()
    folder = store.absolute().parent
    with tempfile.TemporaryFile(dir=folder) as picture_file, tempfile.TemporaryFile(dir=folder) as mask_file:
        pictures = index_with_pictures(
            reader,
            picture_file,
            prompts.moments,
            when,
            progress=None if progress is None else lambda done, total: progress(0, 0),
        )
        index = pictures.index
        prompted = prompts.on_frames(lambda at: frame_of(index, at))
        wanted = frames_within(index, when)
        size = working_size(reader.info)
        passes = _Passes(pictures, prompted, tools, wanted, mask_file)
        passes.run(progress)
        own_key = "" if shadow else key  # without its shadows a track is not finished
        objects = prompts.object_ids
        found = ((i, {o: passes.at(i, o) for o in objects}) for i in wanted)
        write_track(store, index, found, size=size, objects=objects, prompted=prompted, tracker=tools.name, key=own_key)
        if shadow:
            _add_shadows(pictures, wanted, store, key)
    return Track.open(store, reader.info), index


def _add_shadows(pictures: WorkingPictures, wanted: range, store: Path, key: str) -> None:
    """Put the masks with their shadows in the place of those without."""
    with Track.open(store, pictures.index.info) as found, found.rewriting(store, key=key) as masks:
        for scene in pictures.index.scenes:
            frames = range(max(scene.start, wanted.start), min(scene.stop, wanted.stop))
            if not frames:
                continue
            for index, around in pictures.around(frames, SHADOW_OFFSETS):
                mask = found.mask(index)
                others = [Other(around[o], found.mask(index + o)) for o in SHADOW_OFFSETS if o in around]
                masks.put(index, mask | shadow_of(mask, around[0], others))


class _Way:
    """What the trackers of all objects found in one direction: masks on disk, confidences and reasons in memory."""

    def __init__(self, objects: tuple[int, ...], file: BinaryIO, size: tuple[int, int], n_frames: int) -> None:
        self.masks = {o: MaskFile(file, size, n_frames) for o in objects}
        self.confidence = {o: array("f", [NOT_TRACKED]) * n_frames for o in objects}
        self._left = {o: bytearray(n_frames) for o in objects}
        self._since = {o: array("i", [0]) * n_frames for o in objects}
        self._reason = {o: array("H", [0]) * n_frames for o in objects}
        self._reasons = [""]  # each once: a lost tracker gives the same reason on every frame

    def withdraw(self, frames: Iterable[int], object_id: int, found: Tracked) -> None:
        """Lower the confidence of these frames to that of the frame that shows that the object is lost."""
        confidence = self.confidence[object_id]
        for index in frames:
            if confidence[index] > found.confidence:
                confidence[index] = found.confidence
                self._reason[object_id][index] = self._reasons.index(found.reason)

    def put(self, index: int, object_id: int, found: Tracked, n_since: int) -> None:
        self.masks[object_id].put(index, found.mask)
        self.confidence[object_id][index] = found.confidence
        self._left[object_id][index] = found.has_left
        self._since[object_id][index] = n_since
        if found.reason not in self._reasons:
            self._reasons.append(found.reason)
        self._reason[object_id][index] = self._reasons.index(found.reason)

    def at(self, index: int, object_id: int) -> Passing | None:
        confidence = self.confidence[object_id][index]
        if confidence == NOT_TRACKED:
            return None
        reason = self._reasons[self._reason[object_id][index]]
        mask = self.masks[object_id].get(index)
        return Passing(
            Tracked(mask, confidence, reason, bool(self._left[object_id][index])), self._since[object_id][index]
        )


class _Passes:
    """The passes over the source, forward and backward."""

    def __init__(
        self,
        pictures: WorkingPictures,
        prompted: Mapping[int, Mapping[int, FramePrompt]],
        tools: Tools,
        wanted: range,
        file: BinaryIO,
    ) -> None:
        self._pictures, self._prompted, self._tools = pictures, prompted, tools
        self._objects = tuple(sorted({o for prompts in prompted.values() for o in prompts}))
        index = pictures.index
        size = working_size(index.info)
        self._forward = _Way(self._objects, file, size, len(index))
        self._backward = _Way(self._objects, file, size, len(index))
        self._runs = _runs(index, sorted(prompted), wanted)
        height, width = index.info.display_size
        self._scale = size[1] / width, size[0] / height

    def run(self, progress: Callable[[int, int], None] | None) -> None:
        """Track every scene that has a prompt, forward from its first one and backward from its last one."""
        total = sum(len(forward) + len(backward) for forward, backward in self._runs)
        done = 0
        for forward, backward in self._runs:
            for pictures, step in (
                (self._pictures.forward(forward), self._step_forward),
                (self._pictures.backward(backward), self._step_backward),
            ):
                trackers = {o: _Following(self._tools.new_tracker()) for o in self._objects}
                for index, picture in pictures:
                    for object_id, following in trackers.items():
                        step(index, picture, object_id, following)
                    done += 1
                    if progress is not None:
                        progress(done, total)

    def at(self, index: int, object_id: int) -> Tracked | None:
        """Both directions merged."""
        if object_id in self._prompted.get(index, {}):
            found = self._forward.at(index, object_id)
            return found and found.tracked
        return merge(self._forward.at(index, object_id), self._backward.at(index, object_id))

    def _step_forward(self, index: int, picture: Rgb, object_id: int, following: _Following) -> None:
        prompt = self._prompted.get(index, {}).get(object_id)
        found = following.step(picture)
        if prompt is not None:
            prior = found.mask if found is not None and found.confidence >= CONFIDENT else None
            near = self._pictures.near(index)
            scaled = prompt.scaled(*self._scale)
            found = self._tools.selector.select(picture, scaled, prior=prior, near=near)
            following.start(picture, found, scaled.on_object)
        if found is not None:
            self._forward.put(index, object_id, found, following.n_since)
            # A track that is lost at once shows that it began with something else: the selection goes as well.
            n_withdrawn = min(found.n_withdrawn, following.n_since)
            self._forward.withdraw(range(index - n_withdrawn, index), object_id, found)

    def _step_backward(self, index: int, picture: Rgb, object_id: int, following: _Following) -> None:
        if (prompt := self._prompted.get(index, {}).get(object_id)) is not None:
            seed = self._forward.at(index, object_id)
            if seed is not None:
                following.start(picture, seed.tracked, prompt.scaled(*self._scale).on_object)
        elif (found := following.step(picture)) is not None:
            self._backward.put(index, object_id, found, following.n_since)
            n_withdrawn = min(found.n_withdrawn, following.n_since - 1)
            self._backward.withdraw(range(index + 1, index + 1 + n_withdrawn), object_id, found)


class _Following:
    """A tracker of one object, and since when it has been following it."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._last: Tracked | None = None
        self._is_over = False
        self.n_since = 0

    def start(self, picture: Rgb, seed: Tracked, clicked: Float) -> None:
        self.n_since = 0
        self._last = seed
        self._is_over = seed.confidence < CONFIDENT
        if not self._is_over:
            self._tracker.start(picture, seed.mask, clicked=clicked)

    def step(self, picture: Rgb) -> Tracked | None:
        """What the tracker finds; the same as before where there is nothing to follow, None before it was started."""
        if self._last is None:
            return None
        self.n_since += 1
        if not self._is_over:
            self._last = self._tracker.step(picture)
            self._is_over = self._last.has_left
        return self._last


def _runs(source: SourceIndex, prompted: list[int], wanted: range) -> list[tuple[range, range]]:
    """The frames of each scene with a prompt to track forward and backward: those wanted, and up to the prompts."""
    runs = []
    for scene in source.scenes:
        inside = [index for index in prompted if index in scene]
        if not inside:
            continue
        start, stop = max(scene.start, wanted.start), min(scene.stop, wanted.stop)
        if start >= stop:
            continue
        forward = range(inside[0], max(stop, inside[-1] + 1))
        backward = range(min(start, inside[0]), inside[-1] + 1)
        runs.append((forward, backward if backward.start < inside[-1] else range(0)))
    return runs
