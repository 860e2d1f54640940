"""The engine's loop over a clip: the same output as `unroll`, lazily, in bounded memory."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.engine.models import WINDOW, Raising, Recorder
from vidfill.engine import EngineSettings, fill_clip
from vidfill.engine.clip import composited
from vidfill.engine.device import choose_runtime
from vidfill.engine.plan import DEFAULT_WORKING_PIXELS, MAX_REFERENCES
from vidfill.engine.source import LazySource, Picture, pad
from vidfill.errors import DeviceError, InputError
from vidfill.models.base import Model, ReferenceSpec, WindowSpec, composite, unroll
from vidfill.video.frame import Bool

CPU = EngineSettings(device="cpu", precision="fp32")


def _clip(n: int, height: int = 12, width: int = 20) -> tuple[list[NDArray[np.uint8]], list[Bool]]:
    rng = np.random.default_rng(5)
    frames = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(n)]
    holes = [np.zeros((height, width), bool) for _ in range(n)]
    for t, hole in enumerate(holes):
        hole[3:9, 2 + t % 8 : 9 + t % 8] = True
    return frames, holes


@pytest.mark.parametrize(
    "spec",
    [
        WINDOW,
        WindowSpec(neighbours=(-6, -3, 3, 6), previous=True),
        WindowSpec(references=ReferenceSpec(stride=4), passes=("backward", "forward"), previous=True),
        WindowSpec(neighbours=(-1, 1), multiple=8),
    ],
)
def test_the_engine_and_unroll_are_one_recurrence(spec: WindowSpec) -> None:
    frames, holes = _clip(11)
    filled = list(fill_clip(Recorder(spec), frames, holes, settings=CPU))
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None] / 255.0
    hole = torch.from_numpy(np.stack(holes)).float()[None, :, None]
    padded_clip = pad(clip[0] * (1 - hole[0]), spec.multiple)[None]
    padded_hole = pad(hole[0], spec.multiple)[None]
    fills = unroll(Recorder(spec), padded_clip, padded_hole)[0, :, :, :12, :20]
    expected = composite(clip[0], hole[0], fills.clamp(0, 1)).mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(np.stack(filled), expected)


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


def _counted(n: int, pulled: list[int]) -> Iterator[Picture]:
    frames, holes = _clip(8)
    for t in range(n):
        pulled.append(t)
        yield Picture(frames[t % 8], holes[t % 8])


def _source(model: Model, n: int, pulled: list[int]) -> LazySource:
    return LazySource(model, _counted(n, pulled), n, choose_runtime(model, CPU))


def test_no_frame_is_read_before_a_window_needs_it() -> None:
    pulled: list[int] = []
    model = Recorder(WindowSpec(neighbours=(-2, 2)))
    steps = composited(model, _source(model, 30, pulled), choose_runtime(model, CPU), 0)
    assert pulled == []
    for t in range(10):
        next(steps)
        assert len(pulled) == t + 3


def _most_live(n: int) -> int:
    model = Recorder(WINDOW)
    source = _source(model, n, [])
    return max(source.n_live for _ in composited(model, source, choose_runtime(model, CPU), 0))


def test_live_frames_are_bounded_by_the_window_not_by_the_length() -> None:
    assert _most_live(40) == _most_live(400) == 7


def test_a_full_bank_of_references_goes_to_the_device_once_at_the_default_size() -> None:
    model = Recorder(WINDOW)
    rgb, hole = np.zeros((240, 432, 3), np.uint8), np.zeros((240, 432), np.bool_)
    assert hole.size == DEFAULT_WORKING_PIXELS
    n = MAX_REFERENCES + 5
    source = LazySource(model, (Picture(rgb, hole) for _ in range(n)), n, choose_runtime(model, CPU))
    first = [source.view(index).frame for index in range(n)]
    assert all(source.view(index).frame is first[index] for index in range(n))


def test_a_source_that_ends_early_is_an_input_error() -> None:
    model = Recorder(WINDOW)
    source = LazySource(model, _counted(4, []), 9, choose_runtime(model, CPU))
    with pytest.raises(InputError, match="4 frames of a segment of 9"):
        list(composited(model, source, choose_runtime(model, CPU), 0))


def test_modes_of_torch_and_threads_do_not_leak_to_the_consumer() -> None:
    model = Recorder(WINDOW)
    before = torch.get_num_threads()
    for _ in fill_clip(model, *_clip(3), settings=EngineSettings("cpu", "bf16", threads=2)):
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
