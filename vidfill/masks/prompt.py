"""Prompts: clicks on an object or beside it and boxes round it, in the notation of command line and JSON files."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vidfill.errors import MaskError, UsageError
from vidfill.masks.boxes import Moment
from vidfill.settings import PromptSettings
from vidfill.video.frame import Bool, Float, VideoInfo

SCHEMA_VERSION = 1
FIRST_FRAME = Moment(frame=0)

_DIGITS = r"(\d+(?:\.\d*)?|\.\d+)"
_CLICK = re.compile(rf"(?:([1-9]\d{{0,8}}):)?(-)?{_DIGITS},{_DIGITS}(?:@(.+))?", re.ASCII)
_BOX = re.compile(rf"(?:([1-9]\d{{0,8}}):)?{_DIGITS},{_DIGITS},{_DIGITS},{_DIGITS}(?:@(.+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Click:
    """A point on an object, or one that is not on it.

    Attributes:
        x, y: in pixels of the picture as a player shows it; (0, 0) is the upper left pixel.
        is_object: whether the point is on the object.
        object_id: from 1.
        at: the frame that was clicked.
    """

    x: float
    y: float
    is_object: bool = True
    object_id: int = 1
    at: Moment = FIRST_FRAME

    @classmethod
    def parse(cls, text: str, *, is_object: bool = True) -> Click:
        """Read `x,y`, `x,y@time`, `-x,y@time` for a point that is not on the object, `2:x,y@time` for object 2.

        Raises:
            UsageError: for anything else.
        """
        parts = _CLICK.fullmatch(text.replace(" ", ""))
        if parts is None:
            raise UsageError(
                f"the point {text!r}",
                expected="x,y in pixels, or x,y@time; 2:x,y@time for a second object, -x,y for a point beside it",
                todo="write it like 412,180 or 412,180@1.5",
            )
        x, y, on_object = float(parts[3]), float(parts[4]), is_object and parts[2] is None
        return cls(x, y, on_object, int(parts[1] or 1), Moment.parse(parts[5] or "#0"))


@dataclass(frozen=True, slots=True)
class ObjectBox:
    """A rectangle round an object: a prompt, not a hole of its own.

    Attributes:
        x0, y0, x1, y1: its edges in pixels of the picture as a player shows it, half-open.
        object_id: from 1.
        at: the frame that the box was drawn on.

    Raises:
        UsageError: the box has no width or no height, or no end.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    object_id: int = 1
    at: Moment = FIRST_FRAME

    def __post_init__(self) -> None:
        if not (self.x0 < self.x1 < math.inf and self.y0 < self.y1 < math.inf):
            raise UsageError(
                str(self),
                expected="x1 greater than x0 and y1 greater than y0",
                todo="give its corners: left, top, right, bottom",
            )

    def __str__(self) -> str:
        return f"the object box {self.x0:g},{self.y0:g},{self.x1:g},{self.y1:g}"

    @classmethod
    def parse(cls, text: str) -> ObjectBox:
        """Read `x0,y0,x1,y1`, `x0,y0,x1,y1@time`, `2:x0,y0,x1,y1@time` for object 2.

        Raises:
            UsageError: for anything else, or a box without width or height.
        """
        parts = _BOX.fullmatch(text.replace(" ", ""))
        if parts is None:
            raise UsageError(
                f"the object box {text!r}",
                expected="x0,y0,x1,y1 in pixels, or x0,y0,x1,y1@time; 2:x0,y0,x1,y1 for a second object",
                todo="write it like 380,120,470,300 or 380,120,470,300@1.5",
            )
        x0, y0, x1, y1 = (float(number) for number in parts.group(2, 3, 4, 5))
        return cls(x0, y0, x1, y1, int(parts[1] or 1), Moment.parse(parts[6] or "#0"))


class FramePrompt(NamedTuple):
    """All prompts of one object on one frame.

    Attributes:
        points: (N, 2) x and y in pixels.
        is_object: (N,) whether each point is on the object.
        box: x0, y0, x1, y1 round the object, None without one.
    """

    points: Float
    is_object: Bool
    box: tuple[float, float, float, float] | None = None

    @property
    def on_object(self) -> Float:
        """(N, 2) the points that are on the object."""
        return self.points[self.is_object]

    @property
    def beside(self) -> Float:
        """(N, 2) the points that are not."""
        return self.points[~self.is_object]

    def scaled(self, x: float, y: float) -> FramePrompt:
        """The same prompts for a picture `x` times as wide and `y` times as high."""
        box = self.box and (self.box[0] * x, self.box[1] * y, self.box[2] * x, self.box[3] * y)
        return FramePrompt(self.points * np.array([x, y], np.float32), self.is_object, box)


@dataclass(frozen=True, slots=True)
class Prompts:
    """All prompts of all objects, at any number of times; later ones correct the track."""

    clicks: tuple[Click, ...] = ()
    boxes: tuple[ObjectBox, ...] = ()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.clicks or self.boxes)

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects, ascending."""
        return tuple(sorted({click.object_id for click in self.clicks} | {box.object_id for box in self.boxes}))

    @classmethod
    def parse(
        cls,
        points: Iterable[str] = (),
        not_points: Iterable[str] = (),
        boxes: Iterable[str] = (),
        *,
        file: Path | None = None,
    ) -> Prompts:
        """Read the options of the command line, and a JSON file in addition.

        Raises:
            UsageError: for a text or a file that cannot be read; see also `check_named`.
        """
        given = read_prompts(file) if file is not None else cls()
        clicks = [Click.parse(text) for text in points]
        clicks += [Click.parse(text, is_object=False) for text in not_points]
        found = cls((*given.clicks, *clicks), (*given.boxes, *(ObjectBox.parse(text) for text in boxes)))
        found.check_named()
        return found

    def check_named(self) -> None:
        """Check that every object has a point on it or a box, and that its prompts do not contradict each other.

        Raises:
            UsageError: an object has nothing but points that are not on it, two boxes at one time, or a point that is
                both on it and not.
        """
        named = {click.object_id for click in self.clicks if click.is_object} | {box.object_id for box in self.boxes}
        if nameless := set(self.object_ids) - named:
            raise UsageError(
                f"only points that are not on object {min(nameless)}",
                expected="one on it, or a box round it",
                todo="add --point or --object-box",
            )
        self._check_agreed(lambda at: at)

    def _check_agreed(self, place: Callable[[Moment], Hashable]) -> None:
        """Check that the prompts of an object at the same `place` in time do not contradict each other."""
        places = [(box.object_id, place(box.at)) for box in self.boxes]
        if len(set(places)) < len(places):
            raise UsageError("two object boxes for one object at one time", expected="one", todo="leave one out")
        sides: dict[tuple[int, Hashable, float, float], bool] = {}
        for click in self.clicks:
            key = click.object_id, place(click.at), click.x, click.y
            if sides.setdefault(key, click.is_object) != click.is_object:
                raise UsageError(
                    f"the point {click.x:g},{click.y:g} both on object {click.object_id} and not on it",
                    expected="one of the two",
                    todo="leave one out",
                )

    def check_inside(self, info: VideoInfo) -> None:
        """Check that the prompts lie in the picture.

        Raises:
            MaskError: one of them does not.
        """
        height, width = info.display_size
        for click in self.clicks:
            if not (0 <= click.x < width and 0 <= click.y < height):
                raise _outside(f"the point {click.x:g},{click.y:g}", height, width)
        for box in self.boxes:
            if not (box.x0 < width and box.y0 < height and box.x1 > 0 and box.y1 > 0):
                raise _outside(str(box), height, width)

    @property
    def moments(self) -> tuple[Moment, ...]:
        """When there are prompts."""
        return (*(click.at for click in self.clicks), *(box.at for box in self.boxes))

    def on_frames(self, frame_of: Callable[[Moment], int]) -> dict[int, dict[int, FramePrompt]]:
        """The prompts by frame and object.

        Args:
            frame_of: the index of the frame that is shown at a moment.

        Returns:
            Frame index -> object -> its prompts there; frames ascending.

        Raises:
            UsageError: prompts at two times that are one frame contradict each other.
        """
        self._check_agreed(frame_of)
        prompts: list[Click | ObjectBox] = [*self.clicks, *self.boxes]
        placed = [(frame_of(prompt.at), prompt) for prompt in prompts]
        found: dict[int, dict[int, FramePrompt]] = defaultdict(dict)
        for index, object_id in sorted({(index, prompt.object_id) for index, prompt in placed}):
            here = [prompt for at, prompt in placed if (at, prompt.object_id) == (index, object_id)]
            clicks = [prompt for prompt in here if isinstance(prompt, Click)]
            boxes = [prompt for prompt in here if isinstance(prompt, ObjectBox)]
            found[index][object_id] = FramePrompt(
                np.array([(click.x, click.y) for click in clicks], np.float32).reshape(-1, 2),
                np.array([click.is_object for click in clicks], np.bool_),
                (boxes[0].x0, boxes[0].y0, boxes[0].x1, boxes[0].y1) if boxes else None,
            )
        return dict(found)

    def to_json(self) -> str:
        """The prompts as `read_prompts` takes them."""
        objects = []
        for object_id in self.object_ids:
            clicks = [click for click in self.clicks if click.object_id == object_id]
            boxes = [box for box in self.boxes if box.object_id == object_id]
            moments = dict.fromkeys([*(click.at for click in clicks), *(box.at for box in boxes)])
            objects.append({"id": object_id, "prompts": [_entry(at, clicks, boxes) for at in moments]})
        return json.dumps({"schema_version": SCHEMA_VERSION, "objects": objects}) + "\n"

    @classmethod
    def from_json(cls, text: str, *, name: str = "the prompts") -> Prompts:
        """Read a JSON object with `schema_version` 1 and `objects`.

        An object has `id` (from 1) and `prompts`; a prompt has `time` (seconds as a number, or text as on the command
        line), `points` and `not_points` (lists of [x, y]) and `box` ([x0, y0, x1, y1]), all of them optional.
        Coordinates are pixels of the picture as a player shows it.

        Raises:
            UsageError: for anything else.

        Example:
            >>> text = '{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"time": 0, "points": [[412, 180]]}]}]}'
            >>> Prompts.from_json(text).clicks[0].x
            412.0
        """
        try:
            content = json.loads(text)
            _check_fields(content, {"schema_version", "objects"})
            if content["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema_version {content['schema_version']}")
            clicks: list[Click] = []
            boxes: list[ObjectBox] = []
            for item in content["objects"]:
                _check_fields(item, {"id", "prompts"})
                for entry in item["prompts"]:
                    _read_entry(item["id"], entry, clicks, boxes)
        except UsageError as error:
            raise UsageError(f"in {name}, {error.found}", expected=error.expected, todo=error.todo) from error
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            fault = f"no {error} in it" if isinstance(error, KeyError) else error
            raise UsageError(
                f"{name} cannot be used ({fault})",
                expected='{"schema_version": 1, "objects": [{"id": 1, "prompts": [{"time": 0, "points": [[x, y]]}]}]}',
            ) from error
        return cls(tuple(clicks), tuple(boxes))


@dataclass(frozen=True)
class Prompting(PromptSettings):
    """Masks from prompts: what is meant, and how it is found and followed.

    Raises:
        UsageError: no prompts, or a setting out of its range.
    """

    prompts: Prompts

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.prompts:
            raise UsageError("no prompts", expected="what is meant", todo="give --point or --object-box")

    def fingerprint(self) -> str:
        """All that decides the masks, as text."""
        return f"{self.prompts.to_json().strip()} {self.tracker} {self.whole} {self.grow_px} {self.shadow}"


def read_prompts(path: Path) -> Prompts:
    """Read a JSON file of prompts; see `Prompts.from_json`.

    Raises:
        UsageError: the file cannot be read, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"the prompts {path} cannot be read ({reason})", expected="a JSON file") from error
    return Prompts.from_json(text, name=f"the file of prompts {path}")


def _entry(at: Moment, clicks: list[Click], boxes: list[ObjectBox]) -> dict[str, Any]:
    """The prompts of one object at one moment."""
    entry: dict[str, Any] = {"time": str(at)}
    for name, is_object in (("points", True), ("not_points", False)):
        if points := [[click.x, click.y] for click in clicks if click.at == at and click.is_object == is_object]:
            entry[name] = points
    for box in boxes:
        if box.at == at:
            entry["box"] = [box.x0, box.y0, box.x1, box.y1]
    return entry


def _read_entry(object_id: int, entry: dict[str, Any], clicks: list[Click], boxes: list[ObjectBox]) -> None:
    if type(object_id) is not int or object_id < 1:
        raise ValueError(f"object id {object_id!r}")
    _check_fields(entry, {"time", "points", "not_points", "box"})
    time = entry.get("time", 0)
    at = Moment.parse(time if isinstance(time, str) else str(Moment(seconds=Fraction(_number(time)))))
    at = FIRST_FRAME if at == Moment(seconds=Fraction(0)) else at
    for name, is_object in (("points", True), ("not_points", False)):
        clicks += [Click(_number(x), _number(y), is_object, object_id, at) for x, y in entry.get(name, ())]
    if "box" in entry:
        x0, y0, x1, y1 = (_number(edge) for edge in entry["box"])
        boxes.append(ObjectBox(x0, y0, x1, y1, object_id, at))


def _number(value: object) -> float:
    """A finite number of a JSON file; neither text nor a truth value."""
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError(f"{value!r} is no number")
    return float(value)  # type: ignore[arg-type]


def _check_fields(entry: dict[str, Any], known: set[str]) -> None:
    if unknown := entry.keys() - known:
        raise ValueError(f"unknown field {min(unknown)!r}")


def _outside(what: str, height: int, width: int) -> MaskError:
    return MaskError(
        f"{what} outside the picture",
        expected=f"pixels within {width}x{height}, as a player shows it",
        todo="count from the upper left corner of the upright picture",
    )
