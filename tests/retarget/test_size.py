"""The size of the output, and what the file says about it."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from tests.clips import video_info
from vidfill.errors import UsageError
from vidfill.retarget.size import check_shape, parse_aspect, reshaped, target_size, warnings_of
from vidfill.settings.commands import RetargetSettings
from vidfill.video.formats import pixel_format
from vidfill.video.frame import ColorTags, Orientation

INFO = video_info((720, 1280))
UPRIGHT = Orientation(matrix=(0,) * 9, quarter_turns=1)  # a phone's: coded 1280x720, shown 720x1280


@pytest.mark.parametrize(
    ("shape", "width_height"),
    [
        ({"width": 720}, (720, 720)),
        ({"height": 360}, (1280, 360)),
        ({"width": 640, "height": 360}, (640, 360)),
        ({"width": 641}, (640, 720)),
        ({"aspect": "1:1"}, (720, 720)),
        ({"aspect": "9:16"}, (404, 720)),  # 405
        ({"aspect": "21:9"}, (1280, 548)),  # 548.6
        ({"aspect": "1:1", "width": 500}, (500, 500)),
        ({"aspect": "9:16", "height": 1280}, (720, 1280)),
        ({"width": 1600}, (1600, 720)),
    ],
)
def test_target_sizes(shape: dict[str, Any], width_height: tuple[int, int]) -> None:
    assert target_size(RetargetSettings(**shape), INFO)[::-1] == width_height


def test_sizes_are_as_shown() -> None:
    upright = replace(INFO, orientation=UPRIGHT)
    assert target_size(RetargetSettings(width=540), upright) == (540, 1280)
    assert target_size(RetargetSettings(aspect="1:1"), upright) == (720, 720)
    assert target_size(RetargetSettings(aspect="9:32"), upright) == (360, 1280)


def test_aspect_of_anamorphic_pictures() -> None:
    anamorphic = replace(INFO, width=1440, height=1080, sample_aspect=Fraction(4, 3))  # shown as 1920x1080
    assert target_size(RetargetSettings(aspect="1:1"), anamorphic) == (1080, 810)
    upright = replace(anamorphic, orientation=UPRIGHT)  # shown as 1080x1920
    assert target_size(RetargetSettings(aspect="1:1"), upright) == (1080, 810)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"width": 100, "height": 100, "aspect": "1:1"},
        {"width": 8},
        {"height": 100_000},
        {"aspect": "wide"},
        {"aspect": "0:1"},
        {"aspect": "100:1"},
        {"aspect": "16:9:1"},
        {"aspect": "9" * 5000},
    ],
)
def test_other_shapes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        check_shape(RetargetSettings(**wrong))


def test_too_small_sides_are_refused() -> None:
    with pytest.raises(UsageError, match="a height of 4 pixels"):
        target_size(RetargetSettings(width=80, aspect="20:1"), INFO)


@pytest.mark.parametrize("text", ["9:16", "9/16", "0.5625", " 4.5:8 ", "9x16"])
def test_parse_aspect(text: str) -> None:
    assert parse_aspect(text) == Fraction(9, 16)


def test_guessed_matrix_is_tagged_if_the_size_changes_it() -> None:
    assert reshaped(INFO, (720, 720)).color == ColorTags()
    assert reshaped(INFO, (360, 640)).color == ColorTags(matrix=1)
    tagged = replace(INFO, color=ColorTags(matrix=6, primaries=6, transfer=6, range=1))
    assert reshaped(tagged, (360, 640)).color == tagged.color


def test_rgb_has_no_matrix() -> None:
    assert reshaped(replace(INFO, pixel_format=pixel_format("gbrp")), (360, 640)).color == ColorTags()


def test_interlacing_survives_only_a_new_width() -> None:
    interlaced = replace(INFO, interlaced=True)
    assert reshaped(interlaced, (720, 640)).interlaced
    assert warnings_of(interlaced, (720, 640)) == []
    assert not reshaped(interlaced, (360, 640)).interlaced
    assert "deinterlace" in warnings_of(interlaced, (360, 640))[0]
