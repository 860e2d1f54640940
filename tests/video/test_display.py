"""Pictures for people: contact sheets, labels, PNG and JPEG."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vidfill.errors import OutputError
from vidfill.video.display import GAP_PX, HEADINGS_PX, contact_sheet, encode_picture, write_label


def _flat(height: int, width: int, value: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def test_a_sheet_has_room_for_every_picture() -> None:
    paper = contact_sheet([[_flat(10, 20, 100), _flat(12, 30, 110)], [_flat(8, 9, 120)]])
    assert paper.shape == (6 + 12 + 6 + 8 + 6, 6 + 2 * (30 + 6), 3)
    assert (paper[6:16, 6:26] == 100).all() and (paper[6:18, 42:72] == 110).all() and (paper[24:32, 6:15] == 120).all()
    assert (paper[24:32, 15:] == paper[0, 0]).all()


def test_headings_are_written_above_their_columns() -> None:
    cells = [[_flat(10, 60, 100)] * 2]
    paper = contact_sheet(cells, ["one", "two"])
    assert paper.shape[0] == HEADINGS_PX + 10 + GAP_PX
    left, right = paper[:HEADINGS_PX, :66], paper[:HEADINGS_PX, 72:]
    assert left.max() > 200 and right.max() > 200
    assert (contact_sheet(cells)[GAP_PX:] == paper[HEADINGS_PX:]).all()


def test_a_label_can_be_read_on_white() -> None:
    picture = _flat(40, 80, 255)
    write_label(picture, "12")
    assert picture[-10:, :10].mean() < 150
    assert (picture[:20] == 255).all() and (picture[:, 60:] == 255).all()


@pytest.mark.parametrize(("suffix", "tolerance"), [(".png", 0), (".PNG", 0), (".jpg", 3)])
def test_pictures_are_encoded_as_rgb(suffix: str, tolerance: int) -> None:
    picture = _flat(16, 16, 0) + np.array([200, 100, 50], np.uint8)
    decoded = cv2.imdecode(np.frombuffer(encode_picture(picture, suffix), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded is not None
    assert np.abs(decoded.astype(int) - picture).max() <= tolerance


def test_what_a_format_cannot_hold_is_one_line() -> None:
    with pytest.raises(OutputError, match="70000x1 cannot be encoded as .jpg"):
        encode_picture(np.zeros((1, 70_000, 3), np.uint8), ".jpg")
