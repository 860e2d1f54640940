"""HDR10 static metadata in the words of each encoder (SMPTE ST 2086 mastering display, CTA-861.3 content light)."""

from __future__ import annotations

from fractions import Fraction

from vidfill.video.frame import HdrMetadata


def hdr_options(encoder: str, hdr: HdrMetadata | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """The options that make an encoder write the metadata, and a warning where it cannot.

    Args:
        encoder: FFmpeg's name of the encoder.
        hdr: as the source has it, None for none.
    """
    if hdr is None:
        return {}, ()
    light = f"{hdr.max_content_light},{hdr.max_average_light}"
    has_light = bool(hdr.max_content_light or hdr.max_average_light)
    if encoder == "libx265":
        parts = ["hdr10=1", "repeat-headers=1"]
        parts += [f"master-display={_in_steps(hdr.mastering)}"] if hdr.mastering else []
        parts += [f"max-cll={light}"] if has_light else []
        return {"x265-params": ":".join(parts)}, ()
    if encoder == "libx264":
        parts = [f"mastering-display={_in_steps(hdr.mastering)}"] if hdr.mastering else []
        parts += [f"cll={light}"] if has_light else []
        return {"x264-params": ":".join(parts)} if parts else {}, ()
    if encoder == "libsvtav1":
        parts = [f"mastering-display={_in_units(hdr.mastering)}"] if hdr.mastering else []
        parts += [f"content-light={light}"] if has_light else []
        return {"svtav1-params": ":".join(parts)} if parts else {}, ()
    return {}, (f"HDR10 mastering and content light metadata are dropped: {encoder} has no place for them",)


def _in_steps(mastering: tuple[Fraction, ...]) -> str:
    """As ST 2086 counts: chromaticity in steps of 0.00002, luminance in steps of 0.0001 cd/m^2."""
    scaled = [round(value * 50_000) for value in mastering[:8]] + [round(value * 10_000) for value in mastering[8:]]
    return _letters([str(value) for value in scaled])


def _in_units(mastering: tuple[Fraction, ...]) -> str:
    """As plain decimals: CIE 1931 coordinates and cd/m^2."""
    return _letters([f"{float(value):.5f}" for value in mastering])


def _letters(values: list[str]) -> str:
    red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y, low, high = values
    return f"G({green_x},{green_y})B({blue_x},{blue_y})R({red_x},{red_y})WP({white_x},{white_y})L({high},{low})"
