"""Analysis: one decode of the source that finds scenes, hole boxes and segments, and writes them down as a Plan."""

from __future__ import annotations

from dataclasses import dataclass

from vidfill.frame import Box


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of frames of one scene that is filled in one go, with a fixed crop and a fixed working size.

    Attributes:
        index: position among the segments of the plan.
        scene: position of its scene among the scenes of the plan.
        start, stop: frames that get a fill, half-open.
        read_start, read_stop: frames that the model may look at, half-open; they hold [start, stop) and stay
            inside the scene. What comes before `start` warms up the recurrence.
        read_start_pts: presentation time of frame `read_start`, in ticks of the source's time base.
        box: the crop in the coded picture: all hole boxes of the segment plus context.
        size: (height, width) at which the model works; never larger than the crop.
    """

    index: int
    scene: int
    start: int
    stop: int
    read_start: int
    read_stop: int
    read_start_pts: int
    box: Box
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be filled and how: plain data, JSON and back without loss.

    Attributes:
        source: path of the source as given.
        height, width: of the coded picture.
        n_frames: frames that the reader gives out, held ones counted.
        n_held: frames that repeat the last good one in the place of damaged ones.
        scenes: (start, stop) of each scene, half-open, covering all frames.
        segments: in order of time, never overlapping in [start, stop).
        n_hole_frames: frames with a hole.
        dilate_px, feather_px: how the masks are edited, in source pixels.
        memory_bytes: estimate of the peak working set of fill, models and codecs included.
    """

    source: str
    height: int
    width: int
    n_frames: int
    n_held: int
    scenes: tuple[tuple[int, int], ...]
    segments: tuple[Segment, ...]
    n_hole_frames: int
    dilate_px: int
    feather_px: int
    memory_bytes: int
