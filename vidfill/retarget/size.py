"""The size of a retargeted picture, and how it changes what the file says about the picture."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from vidfill.errors import UsageError
from vidfill.video.color import matrix_of
from vidfill.video.frame import VideoInfo

_MIN_SIDE, _MAX_SIDE = 16, 16384  # what encoders accept


@dataclass(frozen=True, slots=True)
class TargetShape:
    """The requested size of the picture, as a player shows it.

    Attributes:
        width, height: in pixels, rounded to even numbers; None to derive it from the others.
        aspect: width over height, "9:16" or "0.5625". Alone it makes the picture smaller, never larger.

    Raises:
        UsageError: none or all three are given, or a value is out of range.
    """

    width: int | None = None
    height: int | None = None
    aspect: str | None = None

    def __post_init__(self) -> None:
        n_given = sum(value is not None for value in (self.width, self.height, self.aspect))
        if n_given == 0:
            raise UsageError(
                "no new size", expected="--width, --height or --aspect", todo="give for example --aspect 9:16"
            )
        if n_given == 3:
            raise UsageError("--width, --height and --aspect together", expected="two of them at most")
        for name, side in (("--width", self.width), ("--height", self.height)):
            if side is not None and not _MIN_SIDE <= side <= _MAX_SIDE:
                raise UsageError(f"{name} {side}", expected=f"{_MIN_SIDE} to {_MAX_SIDE} pixels")
        if self.aspect is not None:
            parse_aspect(self.aspect)

    def of(self, info: VideoInfo) -> tuple[int, int]:
        """(height, width) of the coded picture, both even.

        Raises:
            UsageError: a side is too small or too large.
        """
        height, width = info.display_size
        turned = bool(info.orientation.quarter_turns % 2)
        # The shown pixel's aspect; in a turned picture the pixels are turned with it.
        pixel = 1 / info.sample_aspect if turned else info.sample_aspect
        new_width, new_height = Fraction(self.width or width), Fraction(self.height or height)
        if self.aspect is not None:
            ratio = parse_aspect(self.aspect) / pixel  # of columns to rows
            is_narrower = ratio * height < width
            if self.width is not None or (self.height is None and not is_narrower):
                new_height = new_width / ratio
            else:
                new_width = new_height * ratio
        sides = _even(new_height), _even(new_width)
        for name, side in zip(("height", "width"), sides, strict=True):
            if not _MIN_SIDE <= side <= _MAX_SIDE:
                raise UsageError(f"a {name} of {side} pixels", expected=f"{_MIN_SIDE} to {_MAX_SIDE}")
        return (sides[1], sides[0]) if turned else sides


def parse_aspect(text: str) -> Fraction:
    """Width over height from "9:16", "9/16" or "0.5625".

    Raises:
        UsageError: anything else, or a ratio beyond 20:1.
    """
    match = re.fullmatch(r"(\d{1,20}(?:\.\d{1,20})?)(?:[:/x](\d{1,20}(?:\.\d{1,20})?))?", text.strip(), re.ASCII)
    width, height = (Fraction(match[1]), Fraction(match[2] or 1)) if match else (Fraction(0), Fraction(0))
    if not (width and height and Fraction(1, 20) <= width / height <= 20):
        raise UsageError(f"--aspect {text}", expected="width:height, such as 9:16 or 1:1", todo="write it like 9:16")
    return width / height


def reshaped(info: VideoInfo, size: tuple[int, int]) -> VideoInfo:
    """The source at another (height, width), everything else about the picture staying true."""
    target = replace(info, height=size[0], width=size[1])
    if info.pixel_format.kind == "yuv" and matrix_of(target) != matrix_of(info):
        # Players guess the matrix of untagged pictures from their size: tag what they guess for the source.
        target = replace(target, color=replace(info.color, matrix=matrix_of(info)))
    if info.interlaced and size[0] != info.height:
        target = replace(target, interlaced=False)  # the rows of both fields are mixed
    return target


def warnings_of(info: VideoInfo, size: tuple[int, int]) -> list[str]:
    """What the new size loses, one line each."""
    if info.interlaced and size[0] != info.height:
        return ["the source is interlaced: its two fields are mixed by the new height, deinterlace it first"]
    return []


def _even(side: Fraction) -> int:
    return 2 * round(side / 2)
