"""What is analysed, cut into segments and cropped, on clips whose answer follows from how they were made."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clips import damage_packets, moving_texture, video_info, write_clip, write_images
from vidfill.engine.plan import (
    ALIGN_PX,
    CONTEXT_FRAMES,
    MAX_GAP_FRAMES,
    MAX_SEGMENT_FRAMES,
    MIN_MARGIN_PX,
    Plan,
    SegmentLimits,
    analyse,
    crop_box,
    cut_segments,
    estimate_memory,
    working_size,
)
from vidfill.errors import InputError, MaskError, UsageError
from vidfill.masks.edit import dilate
from vidfill.masks.files import open_masks
from vidfill.settings import DEFAULT_WORKING_PIXELS, MaskSettings, PlanSettings, parse_working_size
from vidfill.video.frame import Bool, Box, PixelFormat
from vidfill.video.read import Reader

SIZE = (72, 96)
HD = video_info((1080, 1920))
HOLE = Box(900, 500, 1000, 560)


def _plan(
    source: Path, spec: MaskSettings, settings: PlanSettings | None = None, context: int = CONTEXT_FRAMES
) -> Plan:
    with Reader(source) as reader:
        masks = open_masks(spec, reader.info, rate=reader.info.rate)
        return analyse(reader, masks, settings or PlanSettings(), limits=SegmentLimits(context=context))[1]


def _segments(
    with_hole: Sequence[range],
    *,
    n: int = 1000,
    cuts: Sequence[int] = (),
    limits: SegmentLimits | None = None,
    hole: Box = HOLE,
) -> list[tuple[int, int, int, int, int]]:
    """(scene, start, stop, read_start, read_stop) of the segments of a video of `n` frames."""
    holes = [hole if any(i in frames for frames in with_hole) else None for i in range(n)]
    edges = [0, *cuts, n]
    scenes = list(zip(edges, edges[1:], strict=False))
    pts = [1000 + 7 * i for i in range(n)]
    segments = list(cut_segments(holes, scenes, pts, HD, PlanSettings(), limits or SegmentLimits()))
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert all(segment.read_start_pts == pts[segment.read_start] for segment in segments)
    return [(s.scene, s.start, s.stop, s.read_start, s.read_stop) for s in segments]


def test_frames_without_a_hole_have_no_segment() -> None:
    assert _segments([range(100, 130)]) == [(0, 100, 130, 100 - CONTEXT_FRAMES, 130 + CONTEXT_FRAMES)]
    assert _segments([]) == []


def test_context_ends_with_the_video() -> None:
    assert _segments([range(3, 9)], n=20) == [(0, 3, 9, 0, 20)]


def test_segments_and_their_context_stay_inside_a_scene() -> None:
    assert _segments([range(90, 110)], cuts=[100]) == [(0, 90, 100, 42, 100), (1, 100, 110, 100, 158)]
    assert _segments([range(99, 101)], cuts=[80, 100, 105]) == [(1, 99, 100, 80, 100), (2, 100, 101, 100, 105)]


def test_short_gaps_are_bridged_and_longer_ones_are_not() -> None:
    gap = MAX_GAP_FRAMES
    assert [s[1:3] for s in _segments([range(100, 110), range(110 + gap, 140)])] == [(100, 140)]
    assert [s[1:3] for s in _segments([range(100, 110), range(111 + gap, 140)])] == [(100, 110), (111 + gap, 140)]
    no_bridge = SegmentLimits(max_gap=0)
    assert [s[1:3] for s in _segments([range(1, 3), range(4, 5)], n=9, limits=no_bridge)] == [(1, 3), (4, 5)]


@pytest.mark.parametrize("n", [240, 241, 479, 480, 481, 1000])
def test_long_runs_are_split_evenly(n: int) -> None:
    segments = _segments([range(n)], n=n)
    lengths = [stop - start for _, start, stop, _, _ in segments]
    assert len(lengths) == -(-n // MAX_SEGMENT_FRAMES)
    assert sum(lengths) == n and max(lengths) <= MAX_SEGMENT_FRAMES and max(lengths) - min(lengths) <= 1
    assert all(a[2] == b[1] for a, b in zip(segments, segments[1:], strict=False))


def test_a_part_that_falls_into_a_gap_is_left_out() -> None:
    limits = SegmentLimits(max_segment=2, max_gap=4)
    assert [s[1:3] for s in _segments([range(0, 2), range(6, 8)], n=8, limits=limits)] == [(0, 2), (6, 8)]


@pytest.mark.parametrize("seed", range(5))
def test_every_hole_is_in_one_segment(seed: int) -> None:
    rng = np.random.default_rng(seed)
    flags = np.repeat(rng.random(60) < 0.5, rng.integers(1, 60, 60))
    n = len(flags)
    cuts = sorted(rng.choice(np.arange(1, n), 5, replace=False).tolist())
    with_hole = [range(i, i + 1) for i in np.flatnonzero(flags).tolist()]
    limits = SegmentLimits(max_segment=50, max_gap=5, context=9)
    segments = _segments(with_hole, n=n, cuts=cuts, limits=limits)
    covered = np.zeros(n, int)
    for scene, start, stop, read_start, read_stop in segments:
        covered[start:stop] += 1
        assert 0 < stop - start <= 50 and flags[start:stop].any()
        assert [0, *cuts][scene] <= read_start <= start and stop <= read_stop <= [*cuts, n][scene]
        assert start - read_start <= 9 and read_stop - stop <= 9
    assert (covered[flags] == 1).all() and covered.max() <= 1


def test_a_crop_has_context_on_all_sides_as_wide_as_the_hole() -> None:
    box = crop_box(Box(900, 500, 1000, 600), height=1080, width=1920)
    assert (box.x0, box.y0) == (800, 400) and (box.x1, box.y1) == (1104, 704)


def test_a_small_hole_has_the_least_margin() -> None:
    box = crop_box(Box(960, 540, 961, 541), height=1080, width=1920)
    assert box.x0 <= 960 - MIN_MARGIN_PX and box.x1 >= 961 + MIN_MARGIN_PX and box.width < 2 * MIN_MARGIN_PX + 17


@pytest.mark.parametrize("hole", [Box(0, 0, 5, 5), Box(848, 474, 853, 479), Box(301, 203, 333, 211), Box(0, 0, 853, 9)])
def test_crops_are_aligned_or_end_with_the_picture(hole: Box) -> None:
    box = crop_box(hole, height=479, width=853)
    assert box.union(hole) == box and min(box.x0, box.y0) >= 0
    assert box.x0 % ALIGN_PX == box.y0 % ALIGN_PX == 0
    assert box.x1 == 853 or box.x1 % ALIGN_PX == 0
    assert box.y1 == 479 or box.y1 % ALIGN_PX == 0


def test_a_crop_that_would_be_most_of_the_picture_is_all_of_it() -> None:
    assert crop_box(Box(300, 200, 600, 400), height=480, width=854) == Box(0, 0, 854, 480)


@pytest.mark.parametrize(
    ("text", "pixels"), [(None, DEFAULT_WORKING_PIXELS), ("432x240", 103_680), ("432X240", 103_680), ("90000", 90_000)]
)
def test_working_sizes(text: str | None, pixels: int) -> None:
    assert parse_working_size(text) == pixels


def test_native_working_size() -> None:
    assert parse_working_size("native") is None
    assert working_size(Box(0, 0, 1919, 1079), None) == (1079, 1919)


@pytest.mark.parametrize("text", ["", "0", "63", "4x4", "432x", "x240", "432*240", "-5", "1.5", "full"])
def test_other_working_sizes_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="working size"):
        PlanSettings(working_size=text)


@pytest.mark.parametrize("name", ["dilate", "feather"])
def test_settings_out_of_range_are_usage_errors(name: str) -> None:
    wrong: dict[str, Any] = {name: -1}
    with pytest.raises(UsageError, match="-1; expected . or more"):
        PlanSettings(**wrong)


@pytest.mark.parametrize(
    "size", [(480, 854), (1080, 1920), (1920, 1080), (188, 1920), (720, 1280), (437, 911), (6, 60_000)]
)
def test_working_sizes_keep_aspect_and_budget(size: tuple[int, int]) -> None:
    crop = Box(0, 0, size[1], size[0])
    height, width = working_size(crop, DEFAULT_WORKING_PIXELS)
    assert height <= size[0] and width <= size[1] and width % 8 == 0
    assert height % 8 == 0 or height == size[0] < 8
    if size[0] >= 100:
        assert abs(height * width / DEFAULT_WORKING_PIXELS - 1) < 0.08
        assert abs(width / height / (size[1] / size[0]) - 1) < 0.06


def test_a_crop_within_the_budget_is_not_scaled() -> None:
    assert working_size(Box(10, 20, 115, 97), DEFAULT_WORKING_PIXELS) == (77, 105)
    assert working_size(Box(0, 0, 336, 320), DEFAULT_WORKING_PIXELS) == (320, 336)  # 4 % above it


def test_davis_is_worked_on_at_the_size_of_the_papers() -> None:
    assert working_size(Box(0, 0, 854, 480), DEFAULT_WORKING_PIXELS) == (240, 432)


def _masks(n: int, with_hole: range, size: tuple[int, int] = SIZE) -> Bool:
    masks = np.zeros((n, *size), np.bool_)
    for i in with_hole:
        masks[i, 30 : 30 + i % 5 + 1, 20 + i : 26 + i] = True
    return masks


def test_analyse_finds_scenes_holes_and_times(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", n=40, size=SIZE, cut=22, vfr=True).path
    masks = _masks(40, range(9, 30))
    write_images(tmp_path / "masks", masks)
    plan = _plan(source, MaskSettings(mask=tmp_path / "masks"), context=5)
    assert (plan.source, plan.height, plan.width) == (str(source), *SIZE)
    assert (plan.n_frames, plan.n_held, plan.n_hole_frames) == (40, 0, 21)
    assert plan.scenes == ((0, 22), (22, 40))
    assert [(s.scene, s.start, s.stop, s.read_start, s.read_stop) for s in plan.segments] == [
        (0, 9, 22, 4, 22),
        (1, 22, 30, 22, 35),
    ]
    with Reader(source) as reader:
        pts = [frame.pts for frame in reader.frames()]
    assert [s.read_start_pts for s in plan.segments] == [pts[4], pts[22]]


@pytest.mark.parametrize(("dilate_px", "feather_px"), [(0, 0), (3, 2)])
def test_the_crop_holds_all_that_is_touched(tmp_path: Path, dilate_px: int, feather_px: int) -> None:
    """On a picture large enough that the crop is not the whole of it."""
    size = (400, 640)
    masks = _masks(6, range(6), size)
    write_images(tmp_path / "in", moving_texture(6, size))
    write_images(tmp_path / "masks", masks)
    plan = _plan(
        tmp_path / "in", MaskSettings(mask=tmp_path / "masks"), PlanSettings(dilate=dilate_px, feather=feather_px)
    )
    touched = Box.around(dilate(np.logical_or.reduce(masks), dilate_px + feather_px))
    assert touched is not None
    assert [segment.box for segment in plan.segments] == [crop_box(touched, height=400, width=640)]
    assert plan.segments[0].size == (plan.segments[0].box.height, plan.segments[0].box.width)


@pytest.mark.parametrize(
    ("box", "settings", "expected"),
    [
        ("20,20,60,60", PlanSettings(), (2, 2)),
        ("20,20,160,3", PlanSettings(), (1, 0)),
        ("20,20,60,60", PlanSettings(dilate=7), (7, 2)),
        ("20,20,60,60", PlanSettings(feather=0), (2, 0)),
    ],
)
def test_growth_follows_the_mask_unless_it_is_given(
    tmp_path: Path, box: str, settings: PlanSettings, expected: tuple[int, int]
) -> None:
    write_images(tmp_path / "in", moving_texture(2, (240, 320)))
    plan = _plan(tmp_path / "in", MaskSettings(box=(box,)), settings)
    assert (plan.dilate_px, plan.feather_px) == expected
    assert f"grown by {expected[0]} px, feathered over {expected[1]} px" in plan.describe()


def test_a_dissolve_is_filled_in_small_pieces_of_its_own(tmp_path: Path) -> None:
    ratio = np.clip((np.arange(40) - 15) / 9, 0, 1)[:, None, None, None]
    still = [np.repeat(moving_texture(1, SIZE, seed=seed), 40, axis=0) for seed in (1, 2)]
    write_images(tmp_path / "in", np.rint((1 - ratio) * still[0] + ratio * still[1]).astype(np.uint8))
    plan = _plan(tmp_path / "in", MaskSettings(box=("30,30,10,10",)))
    assert plan.scenes == ((0, 16), (16, 18), (18, 20), (20, 22), (22, 24), (24, 40))
    assert [(s.read_start, s.read_stop) for s in plan.segments] == list(plan.scenes)
    assert (plan.dissolves, plan.shots) == (((16, 24),), ((0, 20), (20, 40)))
    assert Plan.from_json(plan.to_json()) == plan


def test_a_held_frame_has_the_hole_of_the_picture_it_shows(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "whole.mp4", n=12, size=SIZE, gop=1, b_frames=0)
    damage_packets(clip.path, tmp_path / "in.mp4", [5])
    masks = _masks(12, range(0, 5))
    write_images(tmp_path / "masks", masks)
    plan = _plan(tmp_path / "in.mp4", MaskSettings(mask=tmp_path / "masks"))
    assert (plan.n_frames, plan.n_held, plan.n_hole_frames) == (12, 1, 6)
    assert plan.segments[0].stop == 6


def test_masks_that_are_empty_everywhere(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", n=7, size=SIZE).path
    write_images(tmp_path / "masks", np.zeros((7, *SIZE), np.bool_))
    with pytest.raises(MaskError, match="empty in all of the 7 frames.*127.*--invert"):
        _plan(source, MaskSettings(mask=tmp_path / "masks"))


def test_masks_of_another_number(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", n=7, size=SIZE).path
    write_images(tmp_path / "masks", _masks(6, range(6)))
    with pytest.raises(MaskError, match="6 masks .* for 7 frames.*-fps_mode passthrough"):
        _plan(source, MaskSettings(mask=tmp_path / "masks"))


def test_an_unchanged_mask_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_clip(tmp_path / "in.mp4", n=20, size=SIZE).path
    looked_at: list[Bool] = []
    around = Box.around

    def counted(mask: Bool) -> Box | None:
        looked_at.append(mask)
        return around(mask)

    monkeypatch.setattr("vidfill.masks.holes.Box.around", counted)
    plan = _plan(source, MaskSettings(box=("5,5,10,10",)))
    assert plan.n_hole_frames == 20 and len(looked_at) == 1


def test_a_plan_from_an_index(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", n=40, size=SIZE, cut=22, vfr=True).path
    with Reader(source) as reader:
        masks = open_masks(MaskSettings(box=("5,5,10,10@0.3-1.2",)), reader.info, rate=reader.info.rate)
        index, plan = analyse(reader, masks, PlanSettings())
        assert plan == analyse(reader, masks, PlanSettings(), index=index)[1]
        assert list(index.pts) == [frame.pts for frame in reader.frames()]
        assert index.scenes == (range(22), range(22, 40))


def test_progress_counts_every_frame(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", n=7, size=SIZE).path
    seen: list[tuple[int, int]] = []
    with Reader(source) as reader:
        masks = open_masks(MaskSettings(box=("5,5,10,10",)), reader.info, rate=reader.info.rate)
        analyse(reader, masks, PlanSettings(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 7) for i in range(7)]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    source = write_clip(tmp_path / "in.mp4", n=30, size=SIZE, cut=12).path
    return _plan(source, MaskSettings(box=("5,5,10,10@#3-#9", "40,30,9,9@#14-")))


def test_json_there_and_back(plan: Plan) -> None:
    text = plan.to_json()
    assert json.loads(text)["schema_version"] == 2
    again = Plan.from_json(text)
    assert again == plan and again.to_json() == text
    assert isinstance(again.segments[0].box, Box) and isinstance(again.segments[0].size, tuple)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "{}", '{"schema_version": 2}', '{"schema_version": 2, "scenes": [[1]]}']
)
def test_what_is_no_plan(text: str) -> None:
    with pytest.raises(InputError, match="not a plan"):
        Plan.from_json(text)


def test_a_plan_of_another_version(plan: Plan) -> None:
    with pytest.raises(InputError, match="version 1; expected 2"):
        Plan.from_json(plan.to_json().replace('"schema_version": 2', '"schema_version": 1'))


def test_fields_that_are_missing_or_too_many(plan: Plan) -> None:
    fields = json.loads(plan.to_json())
    for changed in ({**fields, "more": 1}, {k: v for k, v in fields.items() if k != "height"}):
        with pytest.raises(InputError, match="not a plan"):
            Plan.from_json(json.dumps(changed))


def test_describe_names_what_matters(plan: Plan) -> None:
    lines = plan.describe().splitlines()
    assert "96x72, 30 frames" in lines[0]
    assert "2 scenes, 2 segments, a hole in 22 frames" in lines[1]
    assert re.fullmatch(r"memory: about \d+ MB, at most 40 references kept for a segment", lines[2])
    assert lines[-2].split() == ["0", "0", "3-8", "0-11", "96x72+0+0", "96x72"]
    assert lines[-1].split() == ["1", "1", "14-29", "12-29", "96x72+0+0", "96x72"]
    assert len({len(line) for line in lines[-3:]}) == 1


def test_the_memory_estimate_does_not_grow_with_the_length() -> None:
    def estimate(n: int) -> int:
        segments = cut_segments([HOLE] * n, [(0, n)], range(n), HD, PlanSettings())
        return estimate_memory(tuple(segments), HD)

    assert estimate(10_000) == pytest.approx(estimate(1000), rel=0.05)
    deep = replace(HD, pixel_format=PixelFormat("yuv420p10le", 10, (1, 1), "yuv", has_alpha=False))
    assert estimate_memory((), deep) > estimate_memory((), HD) > 3 * 1080 * 1920
