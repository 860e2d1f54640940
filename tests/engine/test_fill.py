"""Segments to patches: fakes on both sides pin what is read, when, and what comes out."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from tests.clips import video_info
from tests.engine.models import WINDOW, Raising, Recorder
from vidfill.engine.fill import WARM_UP_FRAMES, fill, halved
from vidfill.engine.plan import Plan, Segment
from vidfill.errors import DeviceError, InputError
from vidfill.models.base import ReferenceSpec, Step, Window, WindowSpec
from vidfill.settings import EngineSettings
from vidfill.video.frame import Bool, Box, Frame, Patch, PixelFormat, Remembered, Samples, VideoInfo

CPU = EngineSettings(device="cpu", precision="fp32")
HEIGHT, WIDTH = 32, 48
RGB8 = PixelFormat("gbrp", 8, (0, 0), "rgb", has_alpha=False)
RGB10 = PixelFormat("gbrp10le", 10, (0, 0), "rgb", has_alpha=False)


def _plane(value: int, info: VideoInfo) -> Samples:
    if info.pixel_format.depth == 8:
        return np.full((HEIGHT, WIDTH), value, np.uint8)
    return np.full((HEIGHT, WIDTH), value, np.uint16)


class FakeReader:
    """Gray frames whose value is their index; counts what is read."""

    def __init__(self, n: int, pixel_format: PixelFormat = RGB8, held: Sequence[int] = ()) -> None:
        self.n, self.read, self.held = n, list[int](), set(held)
        self.info = replace(video_info((HEIGHT, WIDTH)), pixel_format=pixel_format, time_base=Fraction(1, 100))

    def frames(self, *, start_pts: int | None = None, start_index: int = 0) -> Iterator[Frame]:
        assert start_pts == 4 * start_index + 7
        for index in range(start_index, self.n):
            self.read.append(index)
            value = 4 * index if self.info.pixel_format.depth == 10 else index
            planes = (_plane(value, self.info), _plane(value, self.info), _plane(value, self.info))
            yield Frame(index, 4 * index + 7, Fraction(1, 100), planes, index in self.held)


class FakeMasks:
    """A square that moves a pixel a frame; none at the frames of `empty`."""

    def __init__(self, empty: Sequence[int] = ()) -> None:
        self.empty = set(empty)

    def at(self, frame: Frame) -> Bool:
        mask = np.zeros((HEIGHT, WIDTH), bool)
        if frame.index not in self.empty:
            mask[10:16, 8 + frame.index % 8 : 14 + frame.index % 8] = True
        return mask

    @contextmanager
    def cursor(self) -> Iterator["FakeMasks"]:
        yield self


def a_segment(index: int, start: int, stop: int, *, before: int = 0, after: int = 0, size: tuple[int, int]) -> Segment:
    read_start = start - before
    box = Box(4, 4, 36, 28)
    return Segment(index, 0, start, stop, read_start, stop + after, 4 * read_start + 7, box, size)


def a_plan(*segments: Segment, n_frames: int = 30) -> Plan:
    return Plan("fake", HEIGHT, WIDTH, n_frames, 0, ((0, n_frames),), segments, n_frames, 1, 2, 0)


FULL = (24, 32)


def test_a_patch_is_tight_around_its_own_alpha() -> None:
    plan = a_plan(a_segment(0, 2, 5, size=FULL))
    patches = list(fill(plan, FakeReader(30), FakeMasks(), Recorder(WINDOW), CPU))
    assert [(p.index, p.pts) for p in patches] == [(2, 15), (3, 19), (4, 23)]
    for patch in patches:
        # The square, grown by 1 + 2 px.
        assert patch.box == Box(8 + patch.index - 3, 7, 14 + patch.index + 3, 19)
        assert patch.alpha[5, 5] == 255
        assert patch.alpha[0, 0] == 0
        assert patch.rgb.shape == (12, 12, 3)
        assert patch.rgb.dtype == np.uint16


def test_the_fill_reaches_the_patch() -> None:
    # No neighbours, no feedback: the fill is 0.9 x the frame's mean outside the hole, plus 0.1 x the frame turned.
    plan = a_plan(a_segment(0, 20, 21, size=FULL))
    (patch,) = fill(plan, FakeReader(30), FakeMasks(), Recorder(WindowSpec()), CPU)
    value = 20 / 255
    mean = value * (1 - np.count_nonzero(patch.alpha) / (24 * 32))
    expected = {0.9 * mean, 0.9 * mean + 0.1 * value}
    found = np.unique(patch.rgb[patch.alpha > 0]) / 65535
    assert all(min(abs(f - e) for e in expected) < 3e-4 for f in found)


def test_a_smaller_working_size_covers_every_bit_of_the_hole() -> None:
    plan = a_plan(a_segment(0, 0, 9, size=(10, 13)))
    seen: list[float] = []

    class Watching(Recorder):
        def encode(self, frame: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
            seen.append(float(hole.sum()) * (24 / 10) * (32 / 13))
            assert frame.shape == (1, 3, 10, 13)
            assert float((frame * hole).abs().max()) == 0
            return super().encode(frame, hole)

    patches = list(fill(plan, FakeReader(30), FakeMasks(), Watching(WindowSpec()), CPU))
    assert [p.rgb.shape[:2] for p in patches] == [p.alpha.shape for p in patches]
    assert all(area >= np.count_nonzero(p.alpha) for area, p in zip(seen, patches, strict=True))


def test_frames_without_a_hole_give_no_patch() -> None:
    plan = a_plan(a_segment(0, 0, 6, size=FULL))
    patches = fill(plan, FakeReader(30), FakeMasks(empty=[2, 3]), Recorder(WINDOW), CPU)
    assert [p.index for p in patches] == [0, 1, 4, 5]


def test_state_and_previous_start_anew_with_each_segment() -> None:
    model = Recorder(WINDOW)
    plan = a_plan(a_segment(0, 0, 4, size=FULL), a_segment(1, 4, 7, size=FULL))
    list(fill(plan, FakeReader(30), FakeMasks(), model, CPU))
    assert [(w[0], w[3], w[4]) for w in model.windows] == [
        *[(0, None, None), (1, 0, 1), (2, 1, 2), (3, 2, 3)],
        *[(0, None, None), (1, 0, 1), (2, 1, 2)],
    ]


@pytest.mark.parametrize(
    ("hole_before", "first"),
    [((2, 6), 2), ((0, 3), 1), (None, 6)],
    ids=["as far as the hole goes", "no farther than may be read", "nothing to go on from"],
)
def test_a_recurrence_is_warmed_up_before_the_segment(hole_before: tuple[int, int] | None, first: int) -> None:
    model = Recorder(WINDOW)
    later = a_segment(0 if hole_before is None else 1, 6, 8, before=5, after=3, size=FULL)
    plan = a_plan(*([] if hole_before is None else [a_segment(0, *hole_before, size=FULL)]), later)
    patches = list(fill(plan, FakeReader(30), FakeMasks(), model, CPU, segments=[later]))
    assert [p.index for p in patches] == [6, 7]
    assert [w[0] + later.read_start for w in model.windows] == list(range(first, 8))


def test_warming_up_takes_few_frames_of_the_same_scene() -> None:
    earlier = a_segment(0, 0, 90, size=FULL)
    later = a_segment(1, 90, 92, before=48, size=FULL)
    model = Recorder(WINDOW)
    list(fill(a_plan(earlier, later), FakeReader(99), FakeMasks(), model, CPU, segments=[later]))
    assert len(model.windows) == WARM_UP_FRAMES + 2
    model = Recorder(WINDOW)
    elsewhere = replace(later, scene=1)
    list(fill(a_plan(earlier, elsewhere), FakeReader(99), FakeMasks(), model, CPU, segments=[elsewhere]))
    assert len(model.windows) == 2


def test_passes_in_both_directions_take_all_that_may_be_read() -> None:
    model = Recorder(WindowSpec(passes=("backward", "forward")))
    plan = a_plan(a_segment(0, 6, 8, before=4, after=3, size=FULL))
    patches = list(fill(plan, FakeReader(30), FakeMasks(), model, CPU))
    assert [p.index for p in patches] == [6, 7]
    assert [w[0] for w in model.windows] == [8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 1, 2, 3, 4, 5]


def test_a_model_without_feedback_needs_no_warming_up() -> None:
    model = Recorder(WindowSpec(neighbours=(-2, 2)))
    plan = a_plan(a_segment(0, 6, 8, before=4, after=3, size=FULL))
    patches = list(fill(plan, FakeReader(30), FakeMasks(), model, CPU))
    assert [p.index for p in patches] == [6, 7]
    assert [w[:2] for w in model.windows] == [(4, [2, 6]), (5, [3, 7])]


def test_nothing_is_read_before_it_is_needed() -> None:
    reader = FakeReader(30)
    plan = a_plan(a_segment(0, 2, 10, after=1, size=FULL))
    patches = fill(plan, reader, FakeMasks(), Recorder(WindowSpec(neighbours=(-2, 2))), CPU)
    assert reader.read == []
    next(patches)
    assert reader.read == [2, 3, 4]
    list(patches)
    assert reader.read == list(range(2, 11))


def test_a_held_frame_hides_the_object_where_the_picture_shows_it() -> None:
    plan = a_plan(a_segment(0, 0, 6, size=FULL))
    patches = list(fill(plan, FakeReader(30, held=[3]), FakeMasks(), Recorder(WINDOW), CPU))
    assert patches[3].box == patches[2].box.union(Box(8, 7, 20, 19))
    assert patches[4].box == Box(9, 7, 21, 19)


def test_of_held_frames_before_any_good_one_nothing_is_believed() -> None:
    """They show a later picture: the object is where nobody has looked yet."""
    seen: list[torch.Tensor] = []

    class Watch(Recorder):
        def encode(self, frame: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
            seen.append(hole)
            return super().encode(frame, hole)

    plan = a_plan(a_segment(0, 0, 6, size=FULL))
    list(fill(plan, FakeReader(30, held=[0, 1]), FakeMasks(), Watch(WindowSpec()), CPU))
    assert [bool(hole.all()) for hole in seen] == [True, True, False, False, False, False]


def test_more_than_8_bits_reach_the_model_and_the_patch() -> None:
    class Copy(Recorder):
        def encode(self, frame: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
            return frame.amax(dim=(1, 2, 3), keepdim=True)

    plan = a_plan(a_segment(0, 21, 22, size=FULL))
    (patch,) = fill(plan, FakeReader(30, RGB10), FakeMasks(), Copy(WindowSpec()), CPU)
    assert patch.rgb.max() / 65535 == pytest.approx(84 / 1023, abs=1 / 4000)


def test_the_plan_limits_the_references_of_a_segment() -> None:
    segment = a_segment(0, 4, 8, before=4, after=12, size=(24, 32))
    for own, most, expected in ((None, 4, (0, 5, 10, 15)), (2, 4, (0, 10)), (None, 40, (0, 3, 6, 9, 12, 15, 18))):
        model = Recorder(WindowSpec(references=ReferenceSpec(stride=3, most=own)))
        plan = replace(a_plan(segment), max_references=most)
        list(fill(plan, FakeReader(30), FakeMasks(), model, CPU))
        target, _, references, _, _ = model.windows[0]
        assert (target, references) == (4, [i for i in expected if i != 4])


def test_out_of_memory_halves_the_working_size_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    plan = a_plan(a_segment(0, 0, 6, size=FULL))
    model = Raising(WINDOW, error, calls=[3])
    with caplog.at_level(logging.WARNING, "vidfill"):
        patches = list(fill(plan, FakeReader(30), FakeMasks(), model, CPU))
    assert [p.index for p in patches] == [0, 1, 2, 3, 4, 5]
    assert "ran out of memory at a working size of 32x24; segment 0 goes on at 23x17" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory: you tried ..."),
        MemoryError(),
    ],
)
def test_out_of_memory_at_half_the_size_is_a_device_error(error: BaseException) -> None:
    plan = a_plan(a_segment(0, 0, 6, size=FULL))
    patches = fill(plan, FakeReader(30), FakeMasks(), Raising(WINDOW, error, calls=range(2, 100)), CPU)
    assert [next(patches).index, next(patches).index] == [0, 1]
    with pytest.raises(DeviceError, match="--working-size"):
        next(patches)


def test_other_errors_are_not_taken_for_memory() -> None:
    plan = a_plan(a_segment(0, 0, 6, size=FULL))
    with pytest.raises(RuntimeError, match="shapes"):
        list(fill(plan, FakeReader(30), FakeMasks(), Raising(WINDOW, RuntimeError("shapes"), calls=[1]), CPU))


def test_a_source_that_has_become_shorter_is_an_input_error() -> None:
    plan = a_plan(a_segment(0, 0, 6, size=FULL))
    with pytest.raises(InputError, match="4 frames of a segment of 6"):
        list(fill(plan, FakeReader(4), FakeMasks(), Recorder(WINDOW), CPU))


def test_progress_counts_frames_over_all_segments() -> None:
    calls: list[tuple[int, int]] = []
    plan = a_plan(a_segment(0, 0, 2, size=FULL), a_segment(1, 4, 7, size=FULL))
    model = Recorder(WINDOW)
    list(fill(plan, FakeReader(30), FakeMasks(empty=[5]), model, CPU, progress=lambda *done: calls.append(done)))
    assert calls == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_chosen_segments_only() -> None:
    plan = a_plan(a_segment(0, 0, 2, size=FULL), a_segment(1, 4, 7, size=FULL))
    patches: list[Patch] = list(
        fill(plan, FakeReader(30), FakeMasks(), Recorder(WINDOW), CPU, segments=plan.segments[1:])
    )
    assert [p.index for p in patches] == [4, 5, 6]


def test_halving_keeps_the_aspect_and_stays_at_a_usable_size() -> None:
    assert halved((240, 432)) == (170, 305)
    assert halved((17, 20)) == (16, 16)
    assert halved((8, 200)) == (8, 141)


class Remembering(Recorder):
    """Remembers one grey picture a segment, one level lighter than that of the segment before."""

    def __init__(self) -> None:
        super().__init__(WINDOW)
        self.recalled: list[tuple[int, float, float]] = []

    def remember(self, state: object) -> tuple[Remembered, ...]:
        return (Remembered(np.full((2, 2, 3), len(self.recalled), np.uint8), (3.0, 4.0)),)

    def recall(self, pictures: Sequence[Remembered]) -> None:
        self.recalled += [(int(picture.max()), *scale) for picture, scale in pictures] or [(0, 0, 0)]


def test_a_segment_goes_on_from_what_was_remembered_of_its_scene() -> None:
    parts = [a_segment(i, 4 * i, 4 * i + 4, size=FULL) for i in range(3)] + [a_segment(3, 12, 16, size=(12, 16))]
    parts[2] = replace(parts[2], scene=1)
    model = Remembering()
    list(fill(a_plan(*parts), FakeReader(30), FakeMasks(), model, CPU))
    assert model.recalled == [(0, 0, 0), (1, 3, 4), (0, 0, 0), (0, 0, 0)]  # only the last segment is kept here


def test_memories_keep_their_scale_at_other_working_sizes() -> None:
    sizes = (FULL, (12, 16), (6, 8))  # of a crop of FULL
    plan = a_plan(*(a_segment(i, 4 * i, 4 * i + 4, size=size) for i, size in enumerate(sizes)))
    model = Remembering()
    list(fill(plan, FakeReader(30), FakeMasks(), model, CPU))
    assert model.recalled == [(0, 0, 0), (1, 6, 8), (2, 6, 8)]


def test_out_of_memory_leaves_memories_at_their_scale() -> None:
    class Failing(Remembering):
        def step(self, window: Window, state: Any, pass_index: int) -> Step:
            target = window.target
            if target.index == 2 and target.frame.shape[-1] == FULL[1] and len(self.recalled) == 1:
                raise MemoryError
            return super().step(window, state, pass_index)

    plan = a_plan(a_segment(0, 0, 4, size=FULL), a_segment(1, 4, 8, size=FULL))
    model = Failing()
    list(fill(plan, FakeReader(30), FakeMasks(), model, CPU))
    small = halved(FULL)
    assert model.recalled[:2] == [(0, 0, 0), (0, 0, 0)]
    ((value, vertical, horizontal),) = model.recalled[2:]
    assert value == 2
    assert vertical == pytest.approx(3 * small[0] / FULL[0])
    assert horizontal == pytest.approx(4 * small[1] / FULL[1])


class Inventing(Recorder):
    """Says that it has invented the left half of the picture."""

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        target = window.target
        invented = torch.zeros_like(target.hole)
        invented[..., : target.hole.shape[-1] // 2] = 1
        return Step(target.frame, invented=invented)


@pytest.mark.parametrize("size", [FULL, (12, 16)])
def test_a_patch_says_how_much_of_it_is_invented(size: tuple[int, int]) -> None:
    plan = a_plan(a_segment(0, 0, 8, size=size))
    for patch in fill(plan, FakeReader(30), FakeMasks(), Inventing(WindowSpec()), CPU):
        columns = np.arange(patch.box.x0, patch.box.x1) - 4  # of the crop
        weight = patch.alpha.sum(axis=0) / patch.alpha.sum()
        assert patch.invented == pytest.approx(weight[columns < 16].sum(), abs=1e-6)
    (patch,) = fill(a_plan(a_segment(0, 0, 1, size=size)), FakeReader(30), FakeMasks(), Recorder(WINDOW), CPU)
    assert patch.invented is None
