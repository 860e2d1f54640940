"""The size of a retargeted picture, and how it changes what the file says about the picture."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from vidfill.errors import UsageError
from vidfill.settings.commands import MAX_SIDE, MIN_SIDE, RetargetSettings
from vidfill.video.color import matrix_of
from vidfill.video.frame import VideoInfo


def check_shape(settings: RetargetSettings) -> None:
    """Check the requested size, as far as that is possible without the source.

    Raises:
        UsageError: none or all of width, height and aspect are given, or the aspect is out of range.
    """
    n_given = sum(value is not None for value in (settings.width, settings.height, settings.aspect))
    if n_given == 0:
        raise UsageError("no new size", expected="--width, --height or --aspect", todo="give for example --aspect 9:16")
    if n_given == 3:
        raise UsageError("--width, --height and --aspect together", expected="two of them at most")
    if settings.aspect is not None:
        parse_aspect(settings.aspect)


def target_size(settings: RetargetSettings, info: VideoInfo) -> tuple[int, int]:
    """(height, width) of the coded picture at the requested size, both even.

    Width and height are requested as a player shows them; an aspect alone makes the picture smaller, never larger.

    Raises:
        UsageError: a side is too small or too large.
    """
    height, width = info.display_size
    turned = bool(info.orientation.quarter_turns % 2)
    # The shown pixel's aspect; in a turned picture the pixels are turned with it.
    pixel = 1 / info.sample_aspect if turned else info.sample_aspect
    new_width, new_height = Fraction(settings.width or width), Fraction(settings.height or height)
    if settings.aspect is not None:
        ratio = parse_aspect(settings.aspect) / pixel  # of columns to rows
        is_narrower = ratio * height < width
        if settings.width is not None or (settings.height is None and not is_narrower):
            new_height = new_width / ratio
        else:
            new_width = new_height * ratio
    sides = 2 * round(new_height / 2), 2 * round(new_width / 2)
    for name, side in zip(("height", "width"), sides, strict=True):
        if not MIN_SIDE <= side <= MAX_SIDE:
            raise UsageError(f"a {name} of {side} pixels", expected=f"{MIN_SIDE} to {MAX_SIDE}")
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
