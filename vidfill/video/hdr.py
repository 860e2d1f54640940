"""HDR10 static metadata (SMPTE ST 2086 mastering display, CTA-861.3 content light) as encoder options."""

from __future__ import annotations

from vidfill.video.frame import HdrMetadata


def hdr_options(encoder: str, hdr: HdrMetadata | None) -> tuple[dict[str, str], list[str]]:
    """The options that make an encoder (by FFmpeg's name) write the metadata, and a warning where it cannot."""
    if hdr is None:
        return {}, []
    has_light = bool(hdr.max_content_light or hdr.max_average_light)
    light = [f"{hdr.max_content_light},{hdr.max_average_light}"] if has_light else []
    # x264 and x265 count as ST 2086 does: chromaticity in steps of 0.00002, luminance in steps of 0.0001 cd/m^2.
    scales = [50_000] * 8 + [10_000] * 2
    steps = [_display([str(round(v * s)) for v, s in zip(hdr.mastering, scales, strict=True)])] if hdr.mastering else []
    if encoder == "libx265":
        parts = ["hdr10=1", "repeat-headers=1"]
        parts += [f"master-display={text}" for text in steps] + [f"max-cll={text}" for text in light]
        return {"x265-params": ":".join(parts)}, []
    if encoder == "libx264":
        parts = [f"mastering-display={text}" for text in steps] + [f"cll={text}" for text in light]
        return {"x264-params": ":".join(parts)} if parts else {}, []
    if encoder == "libsvtav1":
        decimals = [_display([f"{float(value):.5f}" for value in hdr.mastering])] if hdr.mastering else []
        parts = [f"mastering-display={text}" for text in decimals] + [f"content-light={text}" for text in light]
        return {"svtav1-params": ":".join(parts)} if parts else {}, []
    return {}, [f"HDR10 mastering and content light metadata are dropped: {encoder} has no place for them"]


def _display(values: list[str]) -> str:
    red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y, low, high = values
    return f"G({green_x},{green_y})B({blue_x},{blue_y})R({red_x},{red_y})WP({white_x},{white_y})L({high},{low})"
