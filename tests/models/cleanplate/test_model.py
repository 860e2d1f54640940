"""The default model: real pixels where any frame shows them, one steady painting where none does."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.align.scenes import box_hole, painted, seen_through, shift
from vidfill.engine.clip import fill_clip
from vidfill.errors import WeightsError
from vidfill.evaluate.quality import psnr
from vidfill.models.base import ClipSource, Step, View, recur, unroll
from vidfill.models.cleanplate.model import CleanPlate
from vidfill.models.cleanplate.network import PainterNetwork, PainterSizes
from vidfill.settings import EngineSettings
from vidfill.video.frame import Remembered

Rgb = NDArray[np.uint8]
Bool = NDArray[np.bool_]
HEIGHT, WIDTH = 96, 160
TINY = PainterSizes(widths=(8, 8, 8, 8), blocks=(1, 1, 1), n_middle=1, head=8)
CPU = EngineSettings(device="cpu", precision="fp32", threads=1)


class Painted:
    """In the place of the network: paints stripes, and keeps what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Rgb, Bool]] = []
        monkeypatch.setattr("vidfill.models.cleanplate.completion.paint", self)

    def __call__(self, network: PainterNetwork, rgb: Rgb, hole: Bool) -> Rgb:
        self.calls.append((rgb.copy(), hole.copy()))
        columns = np.arange(rgb.shape[1]) // 6 % 2
        stripes = np.broadcast_to(np.where(columns, 200, 60).astype(np.uint8)[None, :, None], rgb.shape)
        return np.where(hole[..., None], stripes, rgb)


@pytest.fixture
def brush(monkeypatch: pytest.MonkeyPatch) -> Painted:
    return Painted(monkeypatch)


def _tensors(frames: Sequence[Rgb], holes: Sequence[Bool]) -> tuple[torch.Tensor, torch.Tensor]:
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None].float() / 255
    return clip, torch.from_numpy(np.stack(holes)).float()[None, :, None]


def _steps(frames: Sequence[Rgb], holes: Sequence[Bool], *, start: Any = None) -> list[Step]:
    model = CleanPlate(TINY).eval()
    source = ClipSource(model, *_tensors(frames, holes))
    with torch.inference_mode():
        return [step for _, step in recur(model, source, start=start)]


def _filled(steps: Sequence[Step], frames: Sequence[Rgb], holes: Sequence[Bool]) -> list[Rgb]:
    fills = [(step.fill[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for step in steps]
    return [np.where(hole[..., None], fill, frame) for fill, frame, hole in zip(fills, frames, holes, strict=True)]


def _invented(step: Step, hole: Bool) -> float:
    assert step.invented is not None
    return float(step.invented[0, 0].numpy()[hole].mean())


def _pan(n: int, step_px: float) -> list[Rgb]:
    scene = painted(HEIGHT + 40, WIDTH + 80 + round(n * step_px))
    return [seen_through(scene, shift(20 + step_px * i, 20), (WIDTH, HEIGHT)) for i in range(n)]


def _never_seen(n: int, step_px: float) -> tuple[list[Rgb], list[Bool]]:
    """A pan past something that stands still in the scene: no frame shows what is behind it."""
    starts = [round(100 - step_px * i) for i in range(n)]
    return _pan(n, step_px), [box_hole(HEIGHT, WIDTH, (x, 30, x + 40, 66)) for x in starts]


def test_what_another_frame_shows_is_not_painted(brush: Painted) -> None:
    truth, hole = _pan(14, 5), box_hole(HEIGHT, WIDTH, (60, 30, 90, 60))
    steps = _steps(truth, [hole] * 14)
    output = _filled(steps, truth, [hole] * 14)
    assert brush.calls == []
    assert np.mean([psnr(o, t, hole) for o, t in zip(output, truth, strict=True)]) > 35
    assert max(_invented(step, hole) for step in steps) < 0.05


def test_what_is_painted_stays_in_its_place(brush: Painted) -> None:
    truth, holes = _never_seen(12, 4)
    steps = _steps(truth, holes)
    output = _filled(steps, truth, holes)
    assert len(brush.calls) == 1
    assert min(_invented(step, hole) for step, hole in zip(steps, holes, strict=True)) > 0.9
    for i in range(1, 12):
        moved = seen_through(output[i - 1], shift(4, 0), (WIDTH, HEIGHT))
        inside = cv2.erode(holes[i].astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        assert np.abs(moved.astype(int) - output[i])[inside].mean() < 4, f"frame {i} swims"


def test_a_still_picture_stays_still(brush: Painted) -> None:
    frame, hole = painted(HEIGHT, WIDTH), box_hole(HEIGHT, WIDTH, (50, 30, 100, 70))
    output = _filled(_steps([frame] * 8, [hole] * 8), [frame] * 8, [hole] * 8)
    assert len(brush.calls) == 1
    assert all((o == output[0]).all() for o in output)


def test_the_painter_is_given_real_pixels_where_there_are_some(brush: Painted) -> None:
    # The hole grows over what was seen before: only the rest has to be invented.
    truth, holes = _never_seen(12, 4)
    for i in range(6, 12):
        holes[i] = holes[i] | box_hole(HEIGHT, WIDTH, (100 - 4 * i + 40, 30, 100 - 4 * i + 60, 66))
    _steps(truth, holes)
    missing = sum(int(hole.sum()) for _, hole in brush.calls)
    assert missing <= 40 * 36 * 1.1


def test_a_change_of_exposure_is_followed_by_the_painting(brush: Painted) -> None:
    truth, holes = _never_seen(10, 4)
    darker = [np.asarray(frame // 2 + 20 * (i % 2), np.uint8) for i, frame in enumerate(truth)]
    output = _filled(_steps(darker, holes), darker, holes)
    means = [float(o[h].mean()) for o, h in zip(output, holes, strict=True)]
    changes = np.abs(np.diff(means))
    assert changes.min() > 12
    assert changes.max() < 26


def test_the_frame_to_paint_is_one_that_holds_all_of_it(brush: Painted) -> None:
    # At the start the hole reaches out of the picture; later it lies within.
    truth, holes = _pan(16, -5), []
    for i in range(16):
        x = -20 + 5 * i
        holes.append(box_hole(HEIGHT, WIDTH, (max(0, x), 30, x + 40, 66)))
    _steps(truth, holes)
    (_, hole), *rest = brush.calls
    assert rest == []
    assert hole.sum() > 0.95 * 40 * 36


def test_what_is_remembered_is_used_again(brush: Painted) -> None:
    truth, holes = _never_seen(20, 4)
    model = CleanPlate(TINY)
    first = _steps(truth[:10], holes[:10])
    pictures = model.remember(first[-1].state)
    assert [(each.picture.shape, each.scale) for each in pictures] == [((HEIGHT, WIDTH, 3), (1, 1))]
    n_before = len(brush.calls)
    second = _steps(truth[10:], holes[10:], start=model.recall(pictures))
    assert len(brush.calls) == n_before
    last, after = _filled([first[-1], second[0]], truth[9:11], holes[9:11])
    moved = seen_through(last, shift(4, 0), (WIDTH, HEIGHT))
    inside = cv2.erode(holes[10].astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    assert np.abs(moved.astype(int) - after)[inside].mean() < 6


def test_nothing_is_remembered_where_nothing_was_painted(brush: Painted) -> None:
    model = CleanPlate(TINY)
    assert model.remember(None) == ()
    assert model.recall(()) is None


def test_a_recalled_picture_has_the_new_scale() -> None:
    picture = painted(2 * HEIGHT, 3 * WIDTH)
    ((plate,),) = (state.plates for state in CleanPlate(TINY).recall([Remembered(picture, (2.0, 3.0))]))
    assert plate.seen.known.shape == (HEIGHT, WIDTH)
    assert plate.picture is picture


def test_what_is_remembered_of_a_larger_crop_is_used_again(brush: Painted) -> None:
    truth, holes = _never_seen(20, 4)
    first = _steps(truth[:10], holes[:10])
    model, n_before = CleanPlate(TINY), len(brush.calls)
    start = model.recall(model.remember(first[-1].state))
    cut = np.s_[8 : HEIGHT - 12, 0 : WIDTH - 16]
    _steps([frame[cut] for frame in truth[10:]], [hole[cut] for hole in holes[10:]], start=start)
    assert len(brush.calls) == n_before


def test_clips_side_by_side_do_not_mix(brush: Painted) -> None:
    a, b = _never_seen(5, 4), _never_seen(5, -3)
    clips, masks = (torch.cat(pair) for pair in zip(_tensors(*a), _tensors(*b), strict=True))
    with torch.inference_mode():
        both = unroll(CleanPlate(TINY).eval(), clips, masks)
        alone = [unroll(CleanPlate(TINY).eval(), *_tensors(*each))[0] for each in (a, b)]
    assert all(torch.equal(one, two) for one, two in zip(both, alone, strict=True))


def test_the_engine_gives_what_the_training_loop_gives(brush: Painted) -> None:
    truth, holes = _never_seen(6, 4)
    expected = _filled(_steps(truth, holes), truth, holes)
    output = list(fill_clip(CleanPlate(TINY).eval(), truth, holes, settings=CPU))
    assert all((o == e).all() for o, e in zip(output, expected, strict=True))


def test_the_network_itself_paints(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    truth, holes = _never_seen(4, 4)
    output = _filled(_steps(truth, holes), truth, holes)
    assert all((o[~h] == t[~h]).all() for o, t, h in zip(output, truth, holes, strict=True))
    assert all(o[h].std() > 0 for o, h in zip(output, holes, strict=True))


@pytest.mark.parametrize("n", [1, 2])
def test_short_clips_and_odd_sizes(brush: Painted, n: int) -> None:
    frames = [painted(37, 53)] * n
    holes = [box_hole(37, 53, (10, 10, 30, 30))] * n
    output = _filled(_steps(frames, holes), frames, holes)
    assert len(output) == n
    assert len(brush.calls) == 1


def test_frames_without_a_hole_and_with_nothing_but_hole(brush: Painted) -> None:
    frames = _pan(5, 4)
    holes = [box_hole(HEIGHT, WIDTH, (60, 30, 90, 60))] * 5
    holes[1], holes[3] = np.zeros_like(holes[0]), np.ones_like(holes[0])
    output = _filled(_steps(frames, holes), frames, holes)
    assert (output[1] == frames[1]).all()
    assert (output[3] == output[2]).all()


def test_a_frame_that_is_all_hole_repeats_the_invented_ratio(brush: Painted) -> None:
    truth, holes = _never_seen(4, 4)
    all_hole = np.ones_like(holes[0])
    steps = _steps(truth, [holes[0], holes[1], all_hole, all_hole])
    assert _invented(steps[1], all_hole) > 0.05
    assert _invented(steps[2], all_hole) == _invented(steps[3], all_hole) == _invented(steps[1], all_hole)
    assert [_invented(step, all_hole) for step in _steps(truth[:2], [all_hole] * 2)] == [1, 1]


def test_no_authors_have_weights_for_it() -> None:
    with pytest.raises(WeightsError, match="vidfill's own"):
        CleanPlate(TINY).load_authors({}, source="file.pth")


def test_where_every_frame_is_another_scene_few_are_painted(brush: Painted) -> None:
    frames, hole = [painted(HEIGHT, WIDTH, seed=i) for i in range(12)], box_hole(HEIGHT, WIDTH, (60, 30, 90, 60))
    _steps(frames, [hole] * 12)
    assert 1 <= len(brush.calls) <= 4


def test_a_plate_that_was_lost_comes_back_with_its_scene(brush: Painted) -> None:
    here, there = painted(HEIGHT, WIDTH), painted(HEIGHT, WIDTH, seed=7)
    frames, hole = [here] * 5 + [there] * 5 + [here] * 5, box_hole(HEIGHT, WIDTH, (60, 30, 90, 60))
    output = _filled(_steps(frames, [hole] * 15), frames, [hole] * 15)
    assert len(brush.calls) == 2
    assert np.abs(output[14].astype(int) - output[0])[hole].mean() < 3


class Large(NamedTuple):
    """A frame at twice the size that the model works on."""

    picture: Rgb

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.shape[0], self.picture.shape[1]

    def read(self) -> Rgb:
        return self.picture


class Shrunk(ClipSource):
    """A clip whose source is twice as large."""

    def view(self, index: int) -> View:
        picture = painted(2 * HEIGHT, 2 * WIDTH)
        return super().view(index)._replace(original=Large(picture))


def test_a_wire_is_painted_at_the_size_of_the_source_too(brush: Painted) -> None:
    frame, hole = painted(HEIGHT, WIDTH), box_hole(HEIGHT, WIDTH, (20, 48, 140, 49))
    with torch.inference_mode():
        source = Shrunk(CleanPlate(TINY).eval(), *_tensors([frame], [hole]))
        (step,) = [step for _, step in recur(CleanPlate(TINY).eval(), source)]
    large = cv2.resize(hole.astype(np.uint8), (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_NEAREST) > 0
    assert brush.calls
    assert all(missing[large].mean() > 0.95 for _, missing in brush.calls)
    (detail,) = step.detail
    assert detail is not None
    assert detail.frame_size == (2 * HEIGHT, 2 * WIDTH)
    assert detail.alpha.max() > 0.5
