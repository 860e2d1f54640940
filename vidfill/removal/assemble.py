"""The last stage: compose each patch into the planes of its frame and encode; other frames stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from vidfill.compose import compose
from vidfill.compose.noise import with_noise
from vidfill.engine.plan import Plan
from vidfill.errors import InputError
from vidfill.removal.fill_layer import FillLayer
from vidfill.settings import ComposeSettings
from vidfill.video.frame import Frame, Patch, VideoInfo
from vidfill.video.write import Writer


def assemble(
    plan: Plan,
    info: VideoInfo,
    pairs: Iterator[tuple[Frame, Patch | None]],
    writer: Writer | None,
    settings: ComposeSettings,
    *,
    layer: FillLayer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write all frames of the source, with their patches.

    Args:
        plan: of the source.
        info: the source.
        pairs: all frames with their patches, see `paired`.
        writer: takes the frames; None if only the layer is wanted.
        settings: how patches are composed.
        layer: takes the patches as a layer.
        progress: called with (frames done, frames in all) after each frame.

    Returns:
        How many frames had a hole.

    Raises:
        InputError: the source is not the one that was analysed.
    """
    n_filled = 0
    for frame, patch, noise in with_noise(pairs, info, [start for start, _ in plan.scenes]):
        n_filled += patch is not None
        if layer is not None:
            layer.add(frame, patch, noise)
        if writer is not None:
            if patch is not None:
                compose(frame, info, patch, settings, noise)
            writer.write(frame)
        if progress is not None:
            progress(frame.index + 1, plan.n_frames)
    return n_filled


def paired(plan: Plan, frames: Iterator[Frame], patches: Iterator[Patch]) -> Iterator[tuple[Frame, Patch | None]]:
    """Each frame of the source with its patch; None where it has no hole.

    A held frame repeats the picture before it, so it gets the same patch. Those before the first good frame repeat
    that one.

    Raises:
        InputError: the source is not the one that was analysed.
    """
    early: list[Frame] = []  # held before the first good one, which is what they show
    shown: Patch | None = None
    is_first = True
    n_frames = 0
    for frame, patch in matched(plan, frames, patches):
        n_frames += 1
        if frame.held and is_first:
            early.append(replace(frame, planes=()))
            continue
        if is_first:
            for other in early:
                yield replace(other, planes=tuple(plane.copy() for plane in frame.planes)), patch
            is_first = False
        shown = shown if frame.held else patch
        yield frame, shown
    if n_frames != plan.n_frames:
        raise _changed(plan)


def matched(plan: Plan, frames: Iterator[Frame], patches: Iterator[Patch]) -> Iterator[tuple[Frame, Patch | None]]:
    """Each frame with the patch of its number, for some or all frames of a source; None where there is no patch.

    Patches of a segment are asked for when its first frame comes.

    Raises:
        InputError: a patch has no frame, or one of another time.
    """
    waiting: Patch | None = None
    segments = iter(plan.segments)
    segment = next(segments, None)
    for frame in frames:
        while segment is not None and frame.index >= segment.stop:
            segment = next(segments, None)
        # Not asked for earlier: the fill would read ahead, and all that it reads would wait for the output.
        if waiting is None and segment is not None and frame.index >= segment.start:
            waiting = next(patches, None)
        patch = None
        if waiting is not None and waiting.index == frame.index:
            if waiting.pts != frame.pts:
                raise _changed(plan)
            patch, waiting = waiting, None
        yield frame, patch
    if waiting is not None or next(patches, None) is not None:
        raise _changed(plan)


def _changed(plan: Plan) -> InputError:
    return InputError(
        f"{plan.source} has other frames than when it was analysed",
        expected=f"the same {plan.n_frames}",
        todo="run again without --resume, and leave the file alone meanwhile",
    )
