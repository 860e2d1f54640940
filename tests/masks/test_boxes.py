"""Times and boxes as people type them."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.clips import video_info
from vidfill.errors import MaskError, UsageError
from vidfill.masks.boxes import Boxes, Moment, TimedBox, TimeRange
from vidfill.video.frame import Frame, Orientation, VideoInfo

HALF_FRAME = Fraction(1, 50)


def _info(orientation: Orientation | None = None) -> VideoInfo:
    return replace(video_info((40, 60), "gray"), orientation=orientation or Orientation())


def _frame(index: int) -> Frame:
    return Frame(index, index, Fraction(1, 25), (np.zeros((40, 60), np.uint8),))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("12.5", Fraction(25, 2)),
        (".25", Fraction(1, 4)),
        ("90", 90),
        ("1:30", 90),
        ("01:02.5", Fraction(125, 2)),
        ("0:01:02.5", Fraction(125, 2)),
        ("10:00:00", 36_000),
    ],
)
def test_times(text: str, seconds: Fraction) -> None:
    assert Moment.parse(text) == Moment(seconds=Fraction(seconds))


def test_frames() -> None:
    assert Moment.parse("#120") == Moment(frame=120)


@pytest.mark.parametrize("text", ["", "abc", "-1", "1:2:3:4", "1:75", "1:60:00", "#", "#1.5", "1e3", "1,5", "٣"])
def test_invalid_times(text: str) -> None:
    with pytest.raises(UsageError, match="time"):
        Moment.parse(text)


@pytest.mark.parametrize(
    ("start", "end", "inside"),
    [
        (None, None, range(0, 10)),
        ("#3", None, range(3, 10)),
        (None, "#3", range(0, 3)),
        ("#3", "#4", range(3, 4)),
        ("0.08", "0.2", range(2, 5)),
        ("0.0801", "0.2001", range(2, 5)),  # rounded up by hand: still the same frames
        ("0.0799", "0.1999", range(2, 5)),
        ("0.2", "#7", range(5, 7)),
    ],
)
def test_ranges_are_half_open(start: str | None, end: str | None, inside: range) -> None:
    when = TimeRange.parse(start, end)
    held = [i for i in range(10) if when.holds(i, Fraction(i, 25), slack_s=HALF_FRAME)]
    assert held == list(inside)


@pytest.mark.parametrize(("start", "end"), [("5", "5"), ("5", "4.9"), ("#5", "#5"), ("#6", "#5")])
def test_empty_ranges(start: str, end: str) -> None:
    with pytest.raises(UsageError, match="end after its start"):
        TimeRange.parse(start, end)


def test_boxes() -> None:
    assert TimedBox.parse("1,2,3,4") == TimedBox(1, 2, 3, 4, TimeRange())
    assert TimedBox.parse(" -1, 2, 3, 4 ") == TimedBox(-1, 2, 3, 4, TimeRange())
    seconds = TimeRange(Moment(seconds=Fraction(3, 2)), Moment(seconds=Fraction(4)))
    assert TimedBox.parse("1,2,3,4@1.5-4").when == seconds
    assert TimedBox.parse("1,2,3,4@#5-").when == TimeRange(Moment(frame=5), None)
    assert TimedBox.parse("1,2,3,4@-1:00").when == TimeRange(None, Moment(seconds=Fraction(60)))


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "1,2,0,4", "1,2,3,-4", "1.5,2,3,4", "1,2,3,4@", "1,2,3,4@5", "1,2,3,4@1-2-3"]
)
def test_invalid_boxes(text: str) -> None:
    with pytest.raises(UsageError):
        TimedBox.parse(text)


def test_union_is_drawn_once() -> None:
    boxes = Boxes([TimedBox.parse("5,6,10,4"), TimedBox.parse("50,30,100,100@#2-#4")], _info())
    masks = [boxes.at(_frame(i), Fraction(i, 25), slack_s=HALF_FRAME) for i in range(5)]
    expected = np.zeros((40, 60), np.bool_)
    expected[6:10, 5:15] = True
    both = expected.copy()
    both[30:, 50:] = True
    for i, mask in enumerate(masks):
        assert mask is not None
        np.testing.assert_array_equal(mask, both if i in (2, 3) else expected)
    assert masks[0] is masks[1] and masks[2] is masks[3]


def test_no_box() -> None:
    boxes = Boxes([TimedBox.parse("5,6,10,4@#3-")], _info())
    assert boxes.at(_frame(2), Fraction(2, 25), slack_s=HALF_FRAME) is None


def test_boxes_of_turned_pictures() -> None:
    turned = _info(Orientation(quarter_turns=1))
    mask = Boxes([TimedBox.parse("0,50,7,10")], turned).at(_frame(0), Fraction(0), slack_s=HALF_FRAME)
    assert mask is not None
    shown = np.rot90(mask)
    assert shown.shape == (60, 40) and shown[50:, :7].all() and shown.sum() == 70


@pytest.mark.parametrize("text", ["60,0,5,5", "0,40,5,5", "-5,0,5,5", "0,-5,5,5"])
def test_box_outside_the_picture(text: str) -> None:
    with pytest.raises(MaskError, match="outside the picture.*60x40"):
        Boxes([TimedBox.parse(text)], _info())
