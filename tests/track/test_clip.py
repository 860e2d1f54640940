from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.clips import Pictures, moving_texture, write_clip
from tests.track.scenes import SIZE, crossing, disc, leaving, painted
from vidfill.errors import MaskError, UsageError
from vidfill.masks.boxes import TimeRange
from vidfill.masks.prompt import FramePrompt, Prompting, Prompts
from vidfill.settings import TrackSettings
from vidfill.settings.define import settings_of
from vidfill.track.base import CONFIDENT, Near, Tracked
from vidfill.track.clip import Tools, track
from vidfill.track.layer import TrackLayer, default_growth
from vidfill.track.merge import Passing, between, merge
from vidfill.track.prompted import Where, track_prompted
from vidfill.track.result import NOT_TRACKED, Track
from vidfill.track.select import iou
from vidfill.track.timeline import WorkingPictures, working_picture, working_size
from vidfill.track.tools import TRACKER_NAMES, open_tools
from vidfill.video.frame import Bool, Float, Rgb, VideoInfo
from vidfill.video.index import index_source
from vidfill.video.read import Reader


class Steps:
    """A fake tracker: its mask says how many steps it took, and it is lost after some of them."""

    def __init__(self, n_good: int = 1000) -> None:
        self._n_good = n_good

    def start(self, picture: Rgb, mask: Bool, *, clicked: Float | None = None) -> None:
        self._n, self._size = 0, mask.shape

    def step(self, picture: Rgb) -> Tracked:
        self._n += 1
        mask = np.zeros(self._size, np.bool_)
        mask[0, : self._n] = True
        if self._n > self._n_good:
            return Tracked(mask, 0.1, "too far", n_withdrawn=2 if self._n == self._n_good + 1 else 0)
        return Tracked(mask, 0.9)


class Given:
    """A fake selector: the whole picture, as confident as told; notes what it was asked."""

    def __init__(self, confidence: float = 1.0) -> None:
        self.confidence = confidence
        self.asked: list[tuple[FramePrompt, Bool | None, list[int]]] = []

    def select(self, picture: Rgb, prompt: FramePrompt, prior: Bool | None = None, near: Near = None) -> Tracked:
        self.asked.append((prompt, prior, sorted(near or {})))
        return Tracked(np.ones(picture.shape[:2], np.bool_), self.confidence, "" if self.confidence > 0.5 else "unsure")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("plain") / "in.mp4", n=20, size=(48, 64)).path


@pytest.fixture(scope="module")
def two_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("cut") / "in.mp4", n=24, size=(48, 64), cut=12).path


def _track(
    path: Path,
    store: Path,
    points: list[str],
    *,
    new_tracker: Callable[[], Steps] = Steps,
    selector: Given | None = None,
    when: TimeRange | None = None,
) -> Track:
    with Reader(path) as reader:
        tools = Tools(selector or Given(), new_tracker, "steps")
        return track(reader, Prompts.parse(points), tools, store, when=when)[0]


def _n_steps(found: Track) -> list[int]:
    """How many steps each frame is from its prompt; the prompts' own frames are full."""
    return [int(found.mask(i)[0].sum()) if not found.mask(i)[1:].any() else 0 for i in range(found.n_frames)]


def test_a_track_goes_both_ways_from_its_prompt(plain: Path, tmp_path: Path) -> None:
    with _track(plain, tmp_path / "t", ["5,5@#6"]) as found:
        assert _n_steps(found) == [6, 5, 4, 3, 2, 1, *range(14)]
        assert found.lost == ()
        assert set(found.prompted) == {6}
        found.check()


def test_between_two_prompts_the_nearer_one_counts_more(plain: Path, tmp_path: Path) -> None:
    with _track(plain, tmp_path / "t", ["5,5@#4", "5,5@#10"]) as found:
        steps = _n_steps(found)
    assert steps[:5] == [4, 3, 2, 1, 0]
    assert steps[10:] == list(range(10))
    assert steps[5] == 1  # one step from the one, five from the other, which disagrees
    assert steps[9] == 1


def test_the_second_prompt_corrects_the_track(plain: Path, tmp_path: Path) -> None:
    selector = Given()
    with _track(plain, tmp_path / "t", ["5,5@#4", "-9,9@#10"], selector=selector):
        pass
    (first, no_prior, near), (second, prior, _) = selector.asked
    assert no_prior is None
    assert near == [-4, -2, 2, 4]
    assert prior is not None
    assert prior[0].sum() == 6
    assert second.beside.tolist() == [[9, 9]]
    assert first.on_object.tolist() == [[5, 5]]


def test_a_lost_track_says_when_why_and_what_would_help(plain: Path, tmp_path: Path) -> None:
    with _track(plain, tmp_path / "t", ["5,5@#6"], new_tracker=lambda: Steps(5)) as found:
        # Lost at the sixth step; the two before it are withdrawn. Frame 0 is the sixth step backward.
        assert [(lost.start, lost.stop) for lost in found.lost] == [(0, 3), (10, 20)]
        assert found.lost[1].seen == 9
        assert not found.mask(10).any()
        assert found.mask(9).any()
        assert (found.confidences()[3:10] >= CONFIDENT).all()
        with pytest.raises(MaskError) as caught:
            found.check()
    text = str(caught.value)
    assert caught.value.exit_code == 4
    assert "lost at 0.00 s (frames #0 to #2): too far; 10 more frames" in text
    assert "--point X,Y@#0" in text
    assert "--allow-lost" in text


def test_a_selection_that_is_not_sure_is_not_followed(plain: Path, tmp_path: Path) -> None:
    with _track(plain, tmp_path / "t", ["5,5"], selector=Given(0.3)) as found:
        assert [(lost.start, lost.stop, lost.reason) for lost in found.lost] == [(0, 20, "unsure")]
        assert not any(found.mask(i).any() for i in range(20))


def test_a_track_that_is_lost_at_once_takes_its_selection_with_it(plain: Path, tmp_path: Path) -> None:
    with _track(plain, tmp_path / "t", ["5,5"], new_tracker=lambda: Steps(1)) as found:
        assert [(lost.start, lost.stop) for lost in found.lost] == [(0, 20)]


def test_a_cut_ends_a_track(two_scenes: Path, tmp_path: Path) -> None:
    with _track(two_scenes, tmp_path / "t", ["5,5@#3"]) as found:
        assert _n_steps(found)[:12] == [3, 2, 1, *range(9)]
        assert [(lost.start, lost.stop) for lost in found.lost] == [(12, 24)]
        assert "cut" in found.lost[0].reason
        assert (found.confidence[1][12:] == NOT_TRACKED).all()
    with _track(two_scenes, tmp_path / "t", ["5,5@#3", "5,5@#20"]) as found:
        assert found.lost == ()
        assert _n_steps(found)[12:] == [8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3]


def test_frames_of_no_interest_are_neither_tracked_nor_lost(two_scenes: Path, tmp_path: Path) -> None:
    with _track(two_scenes, tmp_path / "t", ["5,5@#3"], when=TimeRange.parse("#2", "#9")) as found:
        assert found.lost == ()
        assert [i for i in range(24) if found.mask(i).any()] == [2, 3, 4, 5, 6, 7, 8]


def test_several_objects_share_the_mask(plain: Path, tmp_path: Path) -> None:
    with _track(plain, tmp_path / "t", ["5,5@#0", "2:5,5@#19"]) as found:
        assert set(found.confidence) == {1, 2}
        assert _n_steps(found)[5] == 14  # 5 steps of the one, 14 of the other
        assert found.lost == ()


def test_prompts_after_the_end(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="up to the last frame, #19"):
        _track(plain, tmp_path / "t", ["5,5@99"])
    with pytest.raises(UsageError, match="not on object 1"):
        _track(plain, tmp_path / "t", ["-5,5"])
    assert not list(tmp_path.iterdir())


def test_pictures_come_backward_in_parts(plain: Path) -> None:
    with Reader(plain) as reader:
        pictures = WorkingPictures(reader, index_source(reader))
        forward = list(pictures.forward(range(3, 17)))
        backward = list(pictures.backward(range(3, 17), n_held=4))
        assert [i for i, _ in backward] == list(range(16, 2, -1))
        for (i, one), (j, other) in zip(forward, reversed(backward), strict=True):
            assert i == j
            assert np.array_equal(one, other)


def test_pictures_come_with_those_around_them(two_scenes: Path) -> None:
    with Reader(two_scenes) as reader:
        pictures = WorkingPictures(reader, index_source(reader))
        plain = dict(pictures.forward(range(24)))
        found = list(pictures.around(range(8, 12), (-9, -2, 3)))
        assert [i for i, _ in found] == [8, 9, 10, 11]
        assert [sorted(around) for _, around in found] == [[-2, 0, 3], [-9, -2, 0], [-9, -2, 0], [-9, -2, 0]]
        for index, around in found:
            assert all(np.array_equal(picture, plain[index + offset]) for offset, picture in around.items())


def test_shadows_are_added_in_a_pass_of_their_own(tmp_path: Path) -> None:
    n = 26
    balls, shadows = (
        np.stack([disc((22 + 2.5 * t + right, 30 + down), 9) for t in range(n)]) for right, down in ((0, 0), (11, 7))
    )
    pictures = np.repeat((120 + moving_texture(1, SIZE) // 2).astype(np.uint8), n, axis=0)
    pictures[shadows] = pictures[shadows] * 0.7
    pictures[balls] = (40, 60, 200)
    path = write_clip(tmp_path / "in.mkv", pictures=pictures, codec="ffv1", pix_fmt="yuv444p").path
    prompts = Prompts.parse([], [], ["13,21,32,40"])
    with Reader(path) as reader:
        plain = track(reader, prompts, open_tools("flow"), tmp_path / "a")[0]
        added = track(reader, prompts, open_tools("flow"), tmp_path / "b", shadow=True, key="k")[0]
    with plain, added:
        beside = shadows[13] & ~balls[13]
        assert (plain.mask(13) & beside).sum() < 0.3 * beside.sum()
        assert (added.mask(13) & beside).sum() > 0.7 * beside.sum()
        assert not (plain.mask(13) & ~added.mask(13)).any()
        assert np.array_equal(plain.confidences(), added.confidences())
        assert added.key == "k"


def test_pictures_are_turned_and_small(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "in.mp4", n=1, size=(288, 640), rotation=90).path
    with Reader(path) as reader:
        picture = working_picture(next(iter(reader.frames())), reader.info)
        assert picture.shape[:2] == working_size(reader.info) == (572, 258)
        assert abs(picture.shape[0] * picture.shape[1] - 512 * 288) < 1000


def test_merging() -> None:
    left, right = np.zeros((9, 9), np.bool_), np.zeros((9, 9), np.bool_)
    left[2:7, 1:6] = True
    right[2:7, 2:7] = True
    sure, unsure = Tracked(left, 0.9), Tracked(right, 0.2, "why")
    assert merge(None, None) is None
    assert merge(Passing(sure, 3), None) is sure
    assert merge(Passing(unsure, 1), Passing(sure, 9)) is sure
    assert merge(Passing(unsure, 1), Passing(unsure, 9)) is unsure
    both = merge(Passing(sure, 1), Passing(Tracked(right, 0.8), 1))
    assert both is not None
    assert both.confidence >= CONFIDENT
    assert iou(both.mask, left) > 0.5 < iou(both.mask, right)
    apart = Tracked(np.roll(left, 3, 1), 0.9)
    doubtful = merge(Passing(sure, 5), Passing(apart, 6))
    assert doubtful is not None
    assert doubtful.confidence < CONFIDENT
    assert "disagree" in doubtful.reason
    assert merge(Passing(sure, 1), Passing(apart, 30)) is sure
    gone = Tracked(np.zeros((9, 9), np.bool_), 1.0, has_left=True)
    assert merge(Passing(gone, 2), Passing(sure, 9)) is sure
    assert np.array_equal(between(left, right, 1.0), left)
    assert np.array_equal(between(left, right, 0.0), right)


@pytest.fixture
def scene(tmp_path: Path) -> Callable[[tuple[Pictures, Bool]], Path]:
    def write(made: tuple[Pictures, Bool]) -> Path:
        return write_clip(tmp_path / "in.mkv", pictures=made[0], codec="ffv1", pix_fmt="yuv444p").path

    return write


def test_an_object_is_followed_from_the_middle_of_a_file(
    scene: Callable[[tuple[Pictures, Bool]], Path], tmp_path: Path
) -> None:
    pictures, masks = crossing(14)
    rows, columns = np.nonzero(masks[7])
    box = f"{columns.min()},{rows.min()},{columns.max() + 1},{rows.max() + 1}@#7"
    prompting = Prompting(Prompts.parse([], [], [box]), tracker="flow", grow_px=0)
    with Reader(scene((pictures, masks))) as reader:
        track_prompted(reader, prompting, tmp_path / "t", Where(), key="k")
        layer = TrackLayer(tmp_path / "t", reader.info, prompting)
        assert layer.count() == 14
        with layer.open() as mask_at:
            found = [mask_at(frame) for frame in reader.frames()]
        assert all(mask is not None and iou(mask, truth) > 0.75 for mask, truth in zip(found, masks, strict=True))
        # What is there is not made again, unless it is another one.
        before = (tmp_path / "t").stat().st_mtime_ns
        track_prompted(reader, prompting, tmp_path / "t", Where(), key="k", resume=True)
        assert (tmp_path / "t").stat().st_mtime_ns == before
        track_prompted(reader, prompting, tmp_path / "t", Where(), key="another", resume=True)
        assert (tmp_path / "t").stat().st_mtime_ns > before


def test_who_leaves_is_told_of_and_not_lost(
    scene: Callable[[tuple[Pictures, Bool]], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prompting = Prompting(Prompts.parse([], [], ["67,23,94,50"]), tracker="flow")
    with Reader(scene(leaving())) as reader:
        track_prompted(reader, prompting, tmp_path / "t", Where())
    assert "has left the picture" in caplog.text


def test_masks_are_laid_over_a_large_turned_picture(tmp_path: Path) -> None:
    info: VideoInfo
    pictures = np.repeat(np.repeat(moving_texture(2, (120, 160)), 5, axis=1), 5, axis=2)
    path = write_clip(tmp_path / "in.mp4", pictures=pictures, rotation=90).path
    with Reader(path) as reader:
        info = reader.info
        selector = Given()
        track(reader, Prompts.parse(["5,5"]), Tools(selector, Steps, "steps"), tmp_path / "t")[0].close()
        frame = next(iter(reader.frames()))
    assert selector.asked[0][0].points[0] == pytest.approx(
        5 * np.array(working_size(info))[::-1] / (600, 800), rel=0.01
    )
    with TrackLayer(tmp_path / "t", info, Prompting(Prompts.parse(["5,5"]))).open() as mask_at:
        mask = mask_at(frame)
    assert mask is not None
    assert mask.shape == (600, 800)
    assert default_growth(info) == 3


def test_growth_reaches_that_far(tmp_path: Path) -> None:
    pictures, masks = painted(np.zeros((1, *SIZE, 3), np.uint8), np.array([[50.0, 36.0]]))
    path = write_clip(tmp_path / "in.mkv", pictures=pictures, codec="ffv1", pix_fmt="yuv444p").path
    with Reader(path) as reader:
        tools = open_tools("flow")
        track(reader, Prompts.parse([], [], ["37,23,64,50"]), tools, tmp_path / "t")[0].close()
        frame = next(iter(reader.frames()))
        grown = []
        for px in (0, 3):
            with TrackLayer(tmp_path / "t", reader.info, Prompting(Prompts.parse(["5,5"]), grow_px=px)).open() as at:
                mask = at(frame)
                assert mask is not None
                grown.append(mask)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    assert iou(grown[1], cv2.dilate(grown[0].view(np.uint8), kernel).astype(np.bool_)) > 0.97
    assert iou(grown[0], masks[0]) > 0.9


def test_trackers_have_names(tmp_path: Path) -> None:
    assert open_tools("auto", model_dir=tmp_path).name == "flow"
    assert {*TRACKER_NAMES} == {*settings_of(TrackSettings)["tracker"].choices}
    with pytest.raises(UsageError, match="one of auto"):
        open_tools("best")
