"""Analysis: where the holes of a source are, and into which segments they are cut, written down as a Plan."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vidfill.errors import InputError, MaskError
from vidfill.masks.files import MaskSource
from vidfill.masks.holes import HoleSurvey, automatic_growth
from vidfill.settings import PlanSettings, parse_working_size
from vidfill.video.decode import Damage
from vidfill.video.dissolves import parted
from vidfill.video.frame import Box, VideoInfo
from vidfill.video.index import SourceIndex, index_source
from vidfill.video.read import Reader

MAX_SEGMENT_FRAMES = 120
"""Longer runs are split evenly: the unit of resume and of distribution stays small, and so does what lies in memory. A
middle segment looks at twice `CONTEXT_FRAMES` more than it fills, so much smaller ones would mostly fill context."""
MAX_GAP_FRAMES = 12
"""Frames without a hole between two runs that still belong to one segment, so that the fill stays the same."""
CONTEXT_FRAMES = 48
"""Frames before and after a segment that the model may look at: what the object hides is seen before or after it."""
DISSOLVE_PIECE_FRAMES = 2
"""Gradual transitions are cut into scenes of so many frames, since the ratio of the mixture changes."""
MIN_MARGIN_PX = 64
"""Minimum context around the holes of a segment; more where they are larger than this."""
MAX_REFERENCES = 40
"""Frames that a model may keep for a whole segment; one that uses fewer, or none, is free to."""
WHOLE_FRAME_FRACTION = 0.6
"""A crop that would be this much of the picture is the whole picture."""
NEAR_ENOUGH = 1.25
"""A crop of up to this many times the working pixels is not scaled: it would lose sharpness and save little."""
ALIGN_PX = 8
"""Crops begin and end at multiples of this (or at the picture's edge): whole chroma blocks, whole cells of networks."""

_SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True)
class SegmentLimits:
    """How long segments may get and how far around them the model may look, in frames."""

    max_segment: int = MAX_SEGMENT_FRAMES
    max_gap: int = MAX_GAP_FRAMES
    context: int = CONTEXT_FRAMES


LIMITS = SegmentLimits()


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of frames of one scene that is filled in one go, with a fixed crop and a fixed working size."""

    index: int  # among the segments of the plan
    scene: int  # among the scenes of the plan
    start: int  # the first frame that gets a fill
    stop: int
    read_start: int  # the first frame that the model may look at; those before `start` warm up the recurrence
    read_stop: int
    read_start_pts: int  # in ticks of the source's time base
    box: Box  # the crop in the coded picture: all hole boxes of the segment and a margin
    size: tuple[int, int]  # (height, width) at which the model works; never larger than the crop


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be filled and how: plain data, to JSON and back without loss. Ranges of frames are half-open."""

    source: str
    height: int  # of the coded picture
    width: int
    n_frames: int
    n_held: int  # frames that repeat the last good one in the place of damaged ones
    scenes: tuple[tuple[int, int], ...]  # (start, stop) of each, covering all frames
    segments: tuple[Segment, ...]  # in order of time
    n_hole_frames: int
    dilate_px: int
    feather_px: int
    memory_bytes: int  # estimated peak of the whole process
    max_references: int = MAX_REFERENCES
    dissolves: tuple[tuple[int, int], ...] = ()  # (start, stop) of gradual transitions, which are several scenes
    n_bad_packets: int = 0  # see `Damage`
    is_truncated: bool = False

    @property
    def damage(self) -> Damage:
        """What was wrong with the source."""
        return Damage(self.n_bad_packets, self.n_held, self.is_truncated)

    @property
    def shots(self) -> tuple[tuple[int, int], ...]:
        """(start, stop) of what an object stays in: the scenes, with each dissolve divided between its neighbours."""
        starts = [start for start, _ in self.scenes if not any(a <= start <= b for a, b in self.dissolves)]
        starts = sorted({*starts, *((a + b) // 2 for a, b in self.dissolves)})
        return tuple(zip(starts, [*starts[1:], self.n_frames], strict=True))

    def to_json(self) -> str:
        """The plan as one JSON object with a `schema_version`."""
        return json.dumps({"schema_version": _SCHEMA_VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote.

        Raises:
            InputError: if the text is anything else.
        """
        try:
            fields = json.loads(text)
            version = fields.pop("schema_version")
            if version != _SCHEMA_VERSION:
                raise InputError(f"a plan of version {version}", expected=f"{_SCHEMA_VERSION}", todo="plan again")
            scenes = tuple((int(start), int(stop)) for start, stop in fields.pop("scenes"))
            segments = tuple(_segment_from_json(segment) for segment in fields.pop("segments"))
            dissolves = tuple((int(start), int(stop)) for start, stop in fields.pop("dissolves"))
            return cls(scenes=scenes, segments=segments, dissolves=dissolves, **fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError("text that is not a plan", todo="plan again") from error

    def describe(self) -> str:
        """The plan as a table for people, a few lines and one for each segment."""
        held = f", {self.n_held} of them repeats in the place of damaged ones" if self.n_held else ""
        lines = [
            f"{self.source}: {self.width}x{self.height}, {self.n_frames} frames{held}",
            f"{_count(len(self.scenes), 'scene')}, {_count(len(self.segments), 'segment')}, a hole in "
            f"{self.n_hole_frames} frames (grown by {self.dilate_px} px, feathered over {self.feather_px} px)",
            f"memory: about {math.ceil(self.memory_bytes / 2**20)} MB, "
            f"at most {_count(self.max_references, 'reference')} kept for a segment",
            "",
            f"{'segment':>7}  {'scene':>5}  {'frames':>13}  {'looks at':>13}  {'crop':>20}  {'works at':>9}",
        ]
        for segment in self.segments:
            frames = f"{segment.start}-{segment.stop - 1}"
            looks = f"{segment.read_start}-{segment.read_stop - 1}"
            crop = f"{segment.box.width}x{segment.box.height}+{segment.box.x0}+{segment.box.y0}"
            size = f"{segment.size[1]}x{segment.size[0]}"
            lines.append(f"{segment.index:>7}  {segment.scene:>5}  {frames:>13}  {looks:>13}  {crop:>20}  {size:>9}")
        return "\n".join(lines)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _segment_from_json(fields: dict[str, Any]) -> Segment:
    height, width = fields.pop("size")
    return Segment(box=Box(*fields.pop("box")), size=(height, width), **fields)


def growth(settings: PlanSettings, thickness_px: float, info: VideoInfo) -> tuple[int, int]:
    """How far masks of this thickness are grown and feathered, in source pixels."""
    usual = automatic_growth(thickness_px, height=info.height, width=info.width)
    return (
        usual if settings.dilate is None else settings.dilate,
        # Grown by one pixel, a mask is so thin that every known pixel beside it counts.
        (usual if usual > 1 else 0) if settings.feather is None else settings.feather,
    )


def analyse(
    reader: Reader,
    masks: MaskSource,
    settings: PlanSettings,
    *,
    limits: SegmentLimits = LIMITS,
    index: SourceIndex | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SourceIndex, Plan]:
    """Index the source, find its holes and plan the fill.

    Args:
        reader: the source.
        masks: what to remove from it.
        settings: how far masks are grown, and the working size.
        limits: of the segments.
        index: of the source, if there is one already: nothing is decoded then. Not for masks from the alpha channel.
        progress: called with (frames done, frames as the container states them or 0) after each frame.

    Raises:
        InputError: if the source has no frames or cannot be read.
        MaskError: if masks do not fit the frames in size or number, cannot be read, or are all empty.
    """
    with masks.cursor() as cursor:
        survey = HoleSurvey(cursor)
        if index is None:
            index = index_source(reader, each=survey.add, progress=progress)
        else:
            for frame in index.frames():
                survey.add(frame)
    masks.check_count(len(index))
    if not any(survey.boxes):
        raise MaskError(
            f"masks that are empty in all of the {len(index)} frames",
            expected="white where the object is (above 127 of 255)",
            todo="check the masks, --invert if the object is black in them, and --start and --end",
        )
    starts = parted(index.dissolves, index.cuts, longest=DISSOLVE_PIECE_FRAMES)
    scenes = tuple(zip([0, *starts], [*starts, len(index)], strict=True))
    return index, plan_fill(index, scenes, survey, settings, limits)


def plan_fill(
    index: SourceIndex,
    scenes: tuple[tuple[int, int], ...],
    survey: HoleSurvey,
    settings: PlanSettings,
    limits: SegmentLimits = LIMITS,
) -> Plan:
    """Plan the fill of the holes that were found in all frames of a source, divided into scenes."""
    info = index.info
    dilate_px, feather_px = growth(settings, survey.thickness_px, info)
    reach_px = dilate_px + feather_px
    holes = [box and box.grow(reach_px, height=info.height, width=info.width) for box in survey.boxes]
    segments = tuple(cut_segments(holes, scenes, index.pts, info, settings, limits))
    return Plan(
        source=str(info.path),
        height=info.height,
        width=info.width,
        n_frames=len(index),
        n_held=len(index.held),
        n_bad_packets=index.damage.n_bad_packets,
        is_truncated=index.damage.is_truncated,
        scenes=scenes,
        dissolves=index.dissolves,
        segments=segments,
        n_hole_frames=sum(box is not None for box in survey.boxes),
        dilate_px=dilate_px,
        feather_px=feather_px,
        memory_bytes=estimate_memory(segments, info),
        max_references=MAX_REFERENCES,
    )


def cut_segments(
    holes: Sequence[Box | None],
    scenes: Sequence[tuple[int, int]],
    pts: Sequence[int],
    info: VideoInfo,
    settings: PlanSettings,
    limits: SegmentLimits = LIMITS,
) -> Iterator[Segment]:
    """Cut the frames with holes, given the box of each grown mask, into segments that lie within scenes."""
    pixels = parse_working_size(settings.working_size)
    index = 0
    for scene, (first, last) in enumerate(scenes):
        for run_start, run_stop in _runs(holes, first, last, max_gap=limits.max_gap):
            for start, stop in _split(run_start, run_stop, limits.max_segment):
                inside = [hole for hole in holes[start:stop] if hole is not None]
                if not inside:
                    continue
                union = inside[0]
                for hole in inside[1:]:
                    union = union.union(hole)
                read_start = max(first, start - limits.context)
                read_stop = min(last, stop + limits.context)
                box = crop_box(union, height=info.height, width=info.width)
                size = working_size(box, pixels)
                yield Segment(index, scene, start, stop, read_start, read_stop, pts[read_start], box, size)
                index += 1


def _runs(holes: Sequence[Box | None], first: int, last: int, *, max_gap: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of the runs of holes within [first, last), with short gaps bridged."""
    start: int | None = None
    stop = first
    for i in range(first, last):
        if holes[i] is None:
            continue
        if start is None or i - stop > max_gap:
            if start is not None:
                yield start, stop
            start = i
        stop = i + 1
    if start is not None:
        yield start, stop


def _split(start: int, stop: int, longest: int) -> Iterator[tuple[int, int]]:
    """Cut [start, stop) into as few even parts as keep within `longest`."""
    n = -(-(stop - start) // longest)
    edges = [start + (stop - start) * part // n for part in range(n + 1)]
    yield from zip(edges, edges[1:], strict=False)


def crop_box(hole: Box, *, height: int, width: int) -> Box:
    """A segment's crop: the union of its hole boxes and a margin as wide as the hole (the root of its area)."""
    margin = max(MIN_MARGIN_PX, round(math.sqrt(hole.height * hole.width)))
    x0, y0, x1, y1 = hole.grow(margin, height=height, width=width)
    box = Box(x0 - x0 % ALIGN_PX, y0 - y0 % ALIGN_PX, min(width, x1 + -x1 % ALIGN_PX), min(height, y1 + -y1 % ALIGN_PX))
    if box.height * box.width >= WHOLE_FRAME_FRACTION * height * width:
        return Box(0, 0, width, height)
    return box


def working_size(crop: Box, pixels: int | None) -> tuple[int, int]:
    """(height, width) at which a crop is worked on: its own, or scaled down to about `pixels`; None for its own.

    The aspect is kept up to rounding; sides of a scaled crop are multiples of 8, unless they have fewer pixels.
    """
    if pixels is None or crop.height * crop.width <= NEAR_ENOUGH * pixels:
        return crop.height, crop.width
    scale = math.sqrt(pixels / (crop.height * crop.width))
    return _scaled_side(crop.height, scale), _scaled_side(crop.width, scale)


def _scaled_side(side: int, scale: float) -> int:
    if side < ALIGN_PX:
        return side
    return min(max(1, round(side * scale / ALIGN_PX)) * ALIGN_PX, side - side % ALIGN_PX)


def estimate_memory(segments: Sequence[Segment], info: VideoInfo) -> int:
    """Bytes of main memory that a run will need at its peak, right to within a factor of two.

    What is added up: the process with its libraries; the frames that decoder and encoder hold (references, lookahead,
    threads; an H.264 encoder is meant); the pictures that a window holds of a read range, each at working size with
    what a model keeps of it; one step's activations; a few float copies of the crop. Measured with propagate:
    740 MB said and 570 MB used at 972x540, 1.0 GB said and 0.9 GB used at 1920x1080.
    """
    samples = sum(
        math.prod(info.pixel_format.plane_size(plane, height=info.height, width=info.width))
        for plane in range(info.pixel_format.n_color_planes)
    )
    codec = _CODEC_FRAMES * samples * (1 if info.pixel_format.depth <= 8 else 2)
    largest = max((_segment_bytes(segment) for segment in segments), default=0)
    return _PROCESS_BYTES + codec + largest


def _segment_bytes(segment: Segment) -> int:
    n_held = min(segment.read_stop - segment.read_start, 2 * CONTEXT_FRAMES + 1)
    working = math.prod(segment.size) * (n_held * _HELD_BYTES_PER_PIXEL + _STEP_BYTES_PER_PIXEL)
    return working + segment.box.height * segment.box.width * _CROP_BYTES_PER_PIXEL


_PROCESS_BYTES = 300 * 2**20  # Python, torch, OpenCV and FFmpeg loaded, and the weights of a network
_CODEC_FRAMES = 180
_HELD_BYTES_PER_PIXEL = 16
_STEP_BYTES_PER_PIXEL = 1024
_CROP_BYTES_PER_PIXEL = 100
