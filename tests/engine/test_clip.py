"""The engine's loop over a clip: the same output as `unroll`, lazily, in bounded memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from numpy.typing import NDArray

from tests.engine.models import WINDOW, Raising, Recorder, Triplets
from vidfill.engine.clip import fill_clip
from vidfill.engine.device import choose_runtime
from vidfill.engine.fill import SegmentFiller
from vidfill.engine.plan import MAX_REFERENCES
from vidfill.engine.source import LazySource, WorkingFrame
from vidfill.errors import DeviceError, InputError
from vidfill.models.base import Model, ReferenceSpec, Step, Window, WindowSpec, composite, unroll
from vidfill.settings import DEFAULT_WORKING_PIXELS, EngineSettings
from vidfill.video.frame import Bool

CPU = EngineSettings(device="cpu", precision="fp32")


def _clip(n: int, height: int = 12, width: int = 20) -> tuple[list[NDArray[np.uint8]], list[Bool]]:
    rng = np.random.default_rng(5)
    frames = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(n)]
    holes = [np.zeros((height, width), bool) for _ in range(n)]
    for t, hole in enumerate(holes):
        hole[3:9, 2 + t % 8 : 9 + t % 8] = True
    return frames, holes


def _unrolled(model: Model, frames: list[NDArray[np.uint8]], holes: list[Bool]) -> NDArray[np.uint8]:
    """What `unroll` makes of the clip, padded and composited as the engine does."""
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2) / 255.0
    hole = torch.from_numpy(np.stack(holes)).float()[:, None]
    height, width = hole.shape[-2:]
    around = (0, -width % model.spec.multiple, 0, -height % model.spec.multiple)
    padded = [F.pad(x, around, mode="replicate")[None] for x in (clip * (1 - hole), hole)]
    fills = unroll(model, padded[0], padded[1])[0, :, :, :height, :width]
    return composite(clip, hole, fills.clamp(0, 1)).mul(255).round().byte().permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    "spec",
    [
        WINDOW,
        WindowSpec(neighbours=(-6, -3, 3, 6), previous=True),
        WindowSpec(references=ReferenceSpec(stride=4), passes=("backward", "forward"), previous=True),
        WindowSpec(neighbours=(-1, 1), multiple=8),
        WindowSpec(neighbours=(-1, 1), previous=True, takes_uint8=True),
    ],
)
def test_the_engine_and_unroll_are_one_recurrence(spec: WindowSpec) -> None:
    frames, holes = _clip(11)
    filled = list(fill_clip(Recorder(spec), frames, holes, settings=CPU))
    assert np.array_equal(np.stack(filled), _unrolled(Recorder(spec), frames, holes))


def test_a_step_may_fill_several_prepared_frames() -> None:
    frames, holes = _clip(11)
    model = Triplets()
    filled = np.stack(list(fill_clip(model, frames, holes, settings=CPU)))
    assert model.calls == ["prepare", (0, 10), (0, 7), (0, 4), (0, 1), (1, 0), (1, 3), (1, 6), (1, 9)]
    assert np.array_equal(filled, _unrolled(Triplets(), frames, holes))
    means = [frame[hole].mean() for frame, hole in zip(filled, holes, strict=True)]
    assert len(np.unique(np.round(means, 3))) == 11


@pytest.mark.parametrize("takes_uint8", [False, True])
def test_frames_come_in_the_type_that_a_model_asks_for(takes_uint8: bool) -> None:
    class Looking(Recorder):
        def step(self, window: Window, state: Any, pass_index: int) -> Step:
            types = torch.uint8, torch.bool
            assert (types == (window.target.frame.dtype, window.target.hole.dtype)) is takes_uint8
            assert int(window.target.frame.masked_select(window.target.hole > 0).count_nonzero()) == 0
            if window.previous is not None:
                assert window.previous.frame.dtype == window.target.frame.dtype
            return super().step(window, state, pass_index)

    list(fill_clip(Looking(WindowSpec(previous=True, takes_uint8=takes_uint8)), *_clip(4), settings=CPU))


def test_outside_the_hole_the_clip_is_untouched() -> None:
    frames, holes = _clip(5)
    for frame, hole, out in zip(frames, holes, fill_clip(Recorder(WINDOW), frames, holes, settings=CPU), strict=True):
        assert np.array_equal(out[~hole], frame[~hole])
        assert not np.array_equal(out[hole], frame[hole])


def test_windows_at_start_middle_and_end() -> None:
    model = Recorder(WINDOW)
    list(fill_clip(model, *_clip(12), settings=CPU))
    assert model.windows[0] == (0, [2, 2], [3], None, None)
    assert model.windows[6] == (6, [4, 8], [3, 9], 5, 6)
    assert model.windows[11] == (11, [9, 9], [9], 10, 11)


def test_every_frame_is_encoded_once_in_all_passes() -> None:
    model = Recorder(WindowSpec(neighbours=(-3, 3), passes=("backward", "forward")))
    list(fill_clip(model, *_clip(9), settings=CPU))
    assert len(model.encoded) == len(set(model.encoded)) == 9
    assert [window[0] for window in model.windows] == [*range(8, -1, -1), *range(9)]


def _counted(n: int, pulled: list[int]) -> Iterator[WorkingFrame]:
    frames, holes = _clip(8)
    for t in range(n):
        pulled.append(t)
        yield WorkingFrame(frames[t % 8], holes[t % 8])


def test_no_frame_is_read_before_a_window_needs_it() -> None:
    pulled: list[int] = []
    filler = SegmentFiller(Recorder(WindowSpec(neighbours=(-2, 2))), CPU)
    steps = filler.frames(filler.source(_counted(30, pulled), 30))
    assert pulled == []
    for t in range(10):
        next(steps)
        assert len(pulled) == t + 3


def _most_live(n: int) -> int:
    filler = SegmentFiller(Recorder(WINDOW), CPU)
    source = filler.source(_counted(n, []), n)
    return max(source.n_live for _ in filler.frames(source))


def test_live_frames_are_bounded_by_the_window_not_by_the_length() -> None:
    assert _most_live(40) == _most_live(400) == 7


def test_a_full_bank_goes_to_the_device_once() -> None:
    model = Recorder(WINDOW)
    rgb, hole = np.zeros((240, 432, 3), np.uint8), np.zeros((240, 432), np.bool_)
    assert hole.size == DEFAULT_WORKING_PIXELS
    n = MAX_REFERENCES + 5
    source = LazySource(model, (WorkingFrame(rgb, hole) for _ in range(n)), n, choose_runtime(model, CPU))
    first = [source.view(index).frame for index in range(n)]
    assert all(source.view(index).frame is first[index] for index in range(n))


def test_a_source_that_ends_early_is_an_input_error() -> None:
    filler = SegmentFiller(Recorder(WINDOW), CPU)
    with pytest.raises(InputError, match="4 frames of a segment of 9"):
        list(filler.frames(filler.source(_counted(4, []), 9)))


def test_modes_of_torch_and_threads_do_not_leak_to_the_consumer() -> None:
    model = Recorder(WINDOW)
    before = torch.get_num_threads()
    for _ in fill_clip(model, *_clip(3), settings=EngineSettings(device="cpu", precision="bf16", threads=2)):
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")
        assert torch.get_num_threads() == before


def test_a_clip_that_does_not_fit_is_a_device_error() -> None:
    model = Raising(WINDOW, torch.OutOfMemoryError("CUDA out of memory"), [2])
    with pytest.raises(DeviceError, match="out of memory"):
        list(fill_clip(model, *_clip(5), settings=CPU))


def test_other_errors_of_a_model_pass_through() -> None:
    model = Raising(WINDOW, RuntimeError("size mismatch"), [2])
    with pytest.raises(RuntimeError, match="size mismatch"):
        list(fill_clip(model, *_clip(5), settings=CPU))


def test_as_many_holes_as_frames() -> None:
    frames, holes = _clip(4)
    with pytest.raises(ValueError, match="4 frames but 3 holes"):
        list(fill_clip(Recorder(WINDOW), frames, holes[:3], settings=CPU))


def test_read_only_and_strided_pictures_are_taken() -> None:
    frames, holes = _clip(3)
    turned = [frame[:, ::-1] for frame in frames]
    for frame in turned:
        frame.flags.writeable = False
    plain = [np.ascontiguousarray(frame) for frame in turned]
    model = Recorder(WINDOW)
    first = list(fill_clip(model, turned, holes, settings=CPU))
    assert all(np.array_equal(a, b) for a, b in zip(first, fill_clip(model, plain, holes, settings=CPU), strict=True))
