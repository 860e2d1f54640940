import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.clips import write_clip
from vidfill.errors import MaskError, UsageError
from vidfill.masks.boxes import Moment
from vidfill.masks.prompt import Click, ObjectBox, Prompting, Prompts, read_prompts
from vidfill.video.read import probe


@pytest.mark.parametrize(
    ("text", "click"),
    [
        ("412,180", Click(412, 180)),
        ("412,180@1.5", Click(412, 180, at=Moment(seconds=Fraction(3, 2)))),
        ("412.5,180@0:01:02.5", Click(412.5, 180, at=Moment(seconds=Fraction(125, 2)))),
        ("412,180@#12", Click(412, 180, at=Moment(frame=12))),
        ("-0,7", Click(0, 7, is_object=False)),
        ("3: 4, 5 @ #6", Click(4, 5, object_id=3, at=Moment(frame=6))),
        ("2:-4,5", Click(4, 5, is_object=False, object_id=2)),
    ],
)
def test_points(text: str, click: Click) -> None:
    assert Click.parse(text) == click


def test_boxes() -> None:
    assert ObjectBox.parse("1,2,30,40@#5") == ObjectBox(1, 2, 30, 40, at=Moment(frame=5))
    assert ObjectBox.parse("2:1,2,30,40") == ObjectBox(1, 2, 30, 40, object_id=2)


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "1,2@", "1,2@x", "0:1,2", "00:1,2", "1;2", "--1,2"])
def test_invalid_points(text: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        Click.parse(text)


@pytest.mark.parametrize(
    "text", ["1,2,3", "1,2,1,9", "5,9,7,9", "-1,2,3,4", "1,2,3,4@later", "00:1,2,3,4", f"1,2,{'9' * 400},4"]
)
def test_invalid_boxes(text: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        ObjectBox.parse(text)


def test_not_points() -> None:
    prompts = Prompts.parse(["9,9"], ["1,2", "-3,4"])
    assert [click.is_object for click in prompts.clicks] == [True, False, False]


def test_json_round_trip(tmp_path: Path) -> None:
    prompts = Prompts.parse(["412,180.5", "2:5,6@1.25"], ["10,20"], ["2:1,2,30,40@#7"])
    (tmp_path / "prompts.json").write_text(prompts.to_json())
    again = read_prompts(tmp_path / "prompts.json")
    assert set(again.clicks) == set(prompts.clicks)
    assert again.boxes == prompts.boxes
    assert again.to_json() == prompts.to_json()
    content = json.loads(prompts.to_json())
    assert content["schema_version"] == 1
    assert content["objects"][0] == {
        "id": 1,
        "prompts": [{"time": "#0", "points": [[412.0, 180.5]], "not_points": [[10.0, 20.0]]}],
    }


def test_file_and_options(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(
        '{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"time": 0, "points": [[1, 2]]}]}]}'
    )
    assert Prompts.parse(["3,4"], file=tmp_path / "p.json").clicks == (Click(1, 2), Click(3, 4))


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "not json",
        '{"schema_version": 2, "objects": []}',
        '{"schema_version": 1}',
        '{"schema_version": 1, "objects": [{"id": 0, "prompts": [{"points": [[1, 2]]}]}]}',
        '{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"points": [[1]]}]}]}',
        '{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"dots": [[1, 2]]}]}]}',
        '{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"points": [[1, 2]]}], "not_points": [[3, 4]]}]}',
        '{"schema_version": 1, "points": [[3, 4]], "objects": []}',
        '{"schema_version": 1, "objects": [{"id": 1.7, "prompts": [{"points": [[1, 2]]}]}]}',
        '{"schema_version": 1, "objects": [{"id": Infinity, "prompts": [{"points": [[1, 2]]}]}]}',
        '{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"points": ["12"]}]}]}',
        '{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"points": [[true, 2]]}]}]}',
        '{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"box": [0, 0, Infinity, 9]}]}]}',
        '{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"box": [NaN, 0, 9, 9]}]}]}',
        '{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"box": [0, 0, 1e400, 9]}]}]}',
        '{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"time": null, "points": [[1, 2]]}]}]}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:90],
)
def test_invalid_files(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(UsageError, match=r"p\.json cannot be used"):
        read_prompts(tmp_path / "p.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_prompts(tmp_path / "missing.json")


def test_invalid_value_names_file(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(
        '{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"time": -1, "points": [[1, 2]]}]}]}'
    )
    with pytest.raises(UsageError, match=r"p\.json, the time '-1'; expected seconds"):
        read_prompts(tmp_path / "p.json")


def test_short_times() -> None:
    text = '{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"time": 0.00001, "points": [[1, 2]]}]}]}'
    assert Prompts.from_json(text).clicks[0].at == Moment(seconds=Fraction(1, 100_000))


def test_contradictions() -> None:
    with pytest.raises(UsageError, match="1,2 both on object 1 and not on it"):
        Prompts.parse(["1,2", "-1,2"])
    assert Prompts.parse(["1,2", "2:-1,2", "2:3,4", "-1,2@#1"])
    with pytest.raises(UsageError, match="two object boxes"):
        Prompts.parse([], [], ["1,2,9,9@0", "3,4,9,9@#0"]).on_frames(lambda at: 0)
    with pytest.raises(UsageError, match="both on object"):
        Prompts.parse(["1,2@0.5", "-1,2@#5"]).on_frames(lambda at: 5)


def test_objects_without_prompts() -> None:
    with pytest.raises(UsageError, match="not on object 2"):
        Prompts.parse(["1,2"], ["2:3,4"])
    with pytest.raises(UsageError, match="two object boxes"):
        Prompts.parse([], [], ["1,2,9,9", "3,4,9,9"])
    with pytest.raises(UsageError, match="no prompts"):
        Prompting(Prompts())


def test_prompts_outside_the_picture(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "turned.mp4", n=2, size=(64, 96), rotation=90).path)
    Prompts.parse(["63,95"]).check_inside(info)
    with pytest.raises(MaskError, match="within 64x96"):
        Prompts.parse(["95,63"]).check_inside(info)
    with pytest.raises(MaskError, match="object box"):
        Prompts.parse([], [], ["64,0,70,9"]).check_inside(info)
    with pytest.raises(MaskError, match="object box"):
        Prompts(boxes=(ObjectBox(-50, -50, -10, -10),)).check_inside(info)
    Prompts(boxes=(ObjectBox(-50, -50, 1, 1),)).check_inside(info)


def test_prompts_by_frame_and_object() -> None:
    prompts = Prompts.parse(["1,2@#4", "2:3,4@#1", "5,6@#4"], ["7,8@#4"], ["1,1,9,9@#4"])
    found = prompts.on_frames(lambda at: at.frame or 0)
    assert list(found) == [1, 4]
    assert list(found[1]) == [2]
    prompt = found[4][1]
    assert prompt.on_object.tolist() == [[1, 2], [5, 6]]
    assert prompt.beside.tolist() == [[7, 8]]
    assert prompt.box == (1, 1, 9, 9)
    half = prompt.scaled(0.5, 2)
    assert half.box == (0.5, 2, 4.5, 18)
    assert np.array_equal(half.on_object, [[0.5, 4], [2.5, 12]])
