"""The fill of a few frames, to preview before the whole video is filled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import takewhile

from vidfill.compose import compose
from vidfill.compose.noise import with_noise
from vidfill.engine.fill import fill
from vidfill.engine.plan import Plan, plan_fill
from vidfill.errors import MaskError
from vidfill.masks.files import MaskSource
from vidfill.masks.holes import HoleSurvey
from vidfill.models.base import Model
from vidfill.removal.assemble import matched
from vidfill.settings import PlanSettings, RemovalSettings
from vidfill.video.frame import Frame
from vidfill.video.index import SourceIndex
from vidfill.video.read import Reader


def filled_frames(
    reader: Reader,
    timeline: SourceIndex,
    masks: MaskSource,
    frames: range,
    model: Model,
    settings: RemovalSettings,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Frame]:
    """Fill a run of frames as a removal would, also looking at the frames around them; yields every frame of the run.

    Only the neighbourhood of the frames is decoded. `progress` is called with (frames done, frames in all).

    Raises:
        MaskError: nothing is removed on any of the frames.
    """
    plan = _plan(reader, timeline, masks, frames, settings)
    patches = fill(plan, reader, masks, model, settings, progress=progress)
    pairs = matched(plan, _run(reader, timeline, frames), patches)
    for frame, patch, noise in with_noise(pairs, reader.info, [start for start, _ in plan.scenes]):
        if patch is not None:
            compose(frame, reader.info, patch, settings, noise)
        yield frame


def _run(reader: Reader, timeline: SourceIndex, frames: range) -> Iterator[Frame]:
    start_pts = timeline.pts[frames.start]
    coming = reader.frames(start_pts=start_pts, start_index=frames.start)
    return takewhile(lambda frame: frame.index < frames.stop, coming)


def _plan(reader: Reader, timeline: SourceIndex, masks: MaskSource, frames: range, settings: PlanSettings) -> Plan:
    """A plan that has holes on these frames only; the engine still sees the masks of the frames around them."""
    with masks.cursor() as cursor:
        survey = HoleSurvey(cursor)
        survey.boxes += [None] * frames.start
        for frame in _run(reader, timeline, frames):
            survey.add(frame)
    if not any(survey.boxes):
        raise MaskError(
            f"nothing to remove on frames #{frames.start} to #{frames.stop - 1}", todo="look at another part"
        )
    survey.boxes += [None] * (len(timeline) - len(survey.boxes))
    scenes = tuple((scene.start, scene.stop) for scene in timeline.scenes)
    return plan_fill(timeline, scenes, survey, settings)
