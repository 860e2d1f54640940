"""Choose the encoder, its pixel format and its options for a source and a container; no file is touched.

"auto" stays in the source's codec family and pixel format, at a quality where nobody sees a difference. Where that is
not possible, the result carries a warning that says what was chosen instead and why; where nothing can be chosen, an
`OutputError` says what to do.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import av
from av.codec.context import OptionFlags

from vidfill.errors import OutputError, UsageError
from vidfill.settings import EncodeSettings
from vidfill.video.frame import VideoInfo
from vidfill.video.hdr import hdr_options
from vidfill.video.pixels import FormatMatch, match_format


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder with everything that is needed to open it.

    Attributes:
        name: FFmpeg's name of the encoder.
        pixel_format: FFmpeg's name of the pixel format of its input.
        options: private and generic options, all checked by name.
        tag: the codec's four-letter tag in the container, "" for the container's default.
        converts_rgb: whether RGB pictures become YUV (BT.709, limited range) on the way.
        warnings: one line each for what differs from the source.
    """

    name: str
    pixel_format: str
    options: Mapping[str, str]
    tag: str = ""
    converts_rgb: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def is_lossless(self) -> bool:
        """Whether every sample is kept."""
        return self.name in _LOSSLESS


# Encoders of each family, the preferred one first. Keys are FFmpeg's codec names.
FAMILIES: dict[str, tuple[str, ...]] = {
    "h264": ("libx264", "libx264rgb"),
    "hevc": ("libx265",),
    "av1": ("libsvtav1",),
    "vp9": ("libvpx-vp9",),
    "vp8": ("libvpx-vp9",),
    "prores": ("prores_ks",),
    "dnxhd": ("dnxhd",),
    "cfhd": ("cfhd",),
    "ffv1": ("ffv1",),
    "mjpeg": ("mjpeg",),
    "png": ("png", "ffv1"),
    "qtrle": ("qtrle", "png", "ffv1"),
    "utvideo": ("utvideo", "ffv1"),
    "huffyuv": ("ffvhuff", "ffv1"),
    "ffvhuff": ("ffvhuff", "ffv1"),
    "rawvideo": ("ffv1", "rawvideo"),
    "v210": ("v210", "ffv1"),
}
_ALIASES = {"h265": "hevc", "x264": "h264", "x265": "hevc", "avc": "h264"}
# What "auto" tries when the family does not fit the container or lacks the pixel format; lossless last, it is large.
_FALLBACK = ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1")
# MPEG-TS accepts any codec without an error and then writes streams that nobody can read.
_ONLY_ENCODERS = {"mpegts": frozenset({"libx264", "libx265", "mpeg2video", "h264_nvenc", "hevc_nvenc"})}
# Never chosen by "auto": hardly any player shows them, or (raw video in mov) the layout is read back wrongly.
_POORLY_SUPPORTED = {"mp4": frozenset({"ffv1", "png"}), "mov": frozenset({"ffv1", "rawvideo"})}
_IMAGE_CONTAINERS = frozenset({"image2", "gif", "webp", "apng"})
_UNUSABLE_CONTAINERS = frozenset({"ogg", "yuv4mpegpipe", "h264", "hevc", "mjpeg", "obu", "rawvideo", "dv"})
_SUFFIXES = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv", "webm": ".webm", "avi": ".avi"}
_LOSSLESS = frozenset({"ffv1", "ffvhuff", "huffyuv", "utvideo", "png", "qtrle", "rawvideo", "v210", "magicyuv"})

# Visually lossless (48 to 50 dB on the camera clip they were chosen with); crf scales differ from encoder to encoder.
# Presets: where the next slower one costs a third more time for less than 0.2 dB at the same size.
_DEFAULTS: dict[str, dict[str, str]] = {
    "libx264": {"crf": "15", "preset": "fast"},
    "libx264rgb": {"crf": "15", "preset": "fast"},
    "libx265": {"crf": "14", "preset": "fast", "x265-params": "log-level=error"},
    "libsvtav1": {"crf": "15", "preset": "8"},
    "libvpx-vp9": {"crf": "12", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
    "mjpeg": {"flags": "+qscale", "global_quality": "236", "qmin": "1"},  # qscale 2, in units of 118
    "ffv1": {"level": "3", "slicecrc": "1", "g": "1"},
}
_MAX_CRF = {"libx264": 51, "libx264rgb": 51, "libx265": 51, "libvpx-vp9": 63, "libsvtav1": 63}
_PRESETS = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"]
_RATE_OPTIONS = frozenset({"b", "qp", "cqp", "lossless"})  # other rate controls, which our crf would override
# Encoders that code the two fields of interlaced pictures separately when told to, and those that never do.
_FIELD_FLAGS = {"libx264": "+ildct+ilme", "prores_ks": "+ildct"}
_FRAMES_ONLY = frozenset({"libx265", "libsvtav1", "libvpx-vp9"})
# Generic options that describe the picture, which vidfill sets itself.
_PICTURE_OPTIONS = frozenset({"pixel_format", "video_size", "time_base", "codec_tag"})
_PRORES_PROFILES = {"proxy": "proxy", "lt": "lt", "standard": "standard", "hq": "hq", "4444": "4444", "xq": "4444xq"}
_DNXHR_PROFILES = {"lb": "dnxhr_lb", "sq": "dnxhr_sq", "hq": "dnxhr_hq", "hqx": "dnxhr_hqx", "444": "dnxhr_444"}


def choose_encoder(info: VideoInfo, settings: EncodeSettings, *, container: str) -> EncoderConfig:
    """Choose and configure the encoder for a source and FFmpeg's name of the container ("mp4", "matroska").

    Raises:
        UsageError: a codec, an option or a preset that does not exist.
        OutputError: the container or the encoder cannot hold the picture.
    """
    if container in _IMAGE_CONTAINERS:
        raise OutputError(
            f"the output's format {container} holds pictures, not video",
            expected="mp4, mov, mkv, webm or another video file",
            todo="for a folder of PNG files end the output's name in /",
        )
    if container in _UNUSABLE_CONTAINERS:
        raise OutputError(
            f"the output's format {container} keeps no timestamps or takes no codec that vidfill has",
            expected="mp4, mov, mkv, webm or another container",
            todo="give the output's name such an extension",
        )
    if settings.codec == "auto":
        name, match, warnings = _automatic(info, container)
    else:
        (name, match), warnings = _explicit(info, settings.codec, container), []
    hdr, hdr_warnings = hdr_options(name, info.hdr)
    options = _joined(_joined(_base_options(name, match, info), hdr), _field_options(name, match, info))
    warnings += [match.note] if match.note else []
    warnings += hdr_warnings
    if info.interlaced and name in _FRAMES_ONLY:
        warnings += [f"{name} codes the two fields of an interlaced picture as one: players may show combing"]
    return EncoderConfig(
        name,
        match.pixel_format,
        _with_user_options(name, options, settings),
        "hvc1" if name in ("libx265", "hevc_nvenc") and container in ("mp4", "mov", "ipod") else "",
        match.converts_rgb,
        tuple(warnings),
    )


def container_takes(container: str, encoder: str) -> bool:
    """Whether FFmpeg's muxer of this name takes what the encoder writes."""
    if encoder not in _ONLY_ENCODERS.get(container, {encoder}):
        return False
    with av.open(io.BytesIO(), "w", format=container) as trial:
        try:
            trial.add_stream(encoder)
        except (ValueError, av.error.FFmpegError):
            return False
    return True


def _automatic(info: VideoInfo, container: str) -> tuple[str, FormatMatch, list[str]]:
    """The family's first encoder that the container takes in the exact format; else the nearest that holds it."""
    family = () if info.is_folder else FAMILIES.get(info.codec, ())
    avoided = _POORLY_SUPPORTED.get(container, frozenset()) if info.codec != "ffv1" else frozenset()
    names = [n for n in dict.fromkeys((*family, *_FALLBACK)) if _exists(n) and n not in avoided]
    taken = [name for name in names if container_takes(container, name)]
    matches = [(name, match) for name in taken if (match := match_format(name, info)) is not None]
    if not matches:
        raise OutputError(
            f"no encoder for {info.pixel_format.name} at {info.width}x{info.height} in {container}",
            expected="a container that holds this pixel format",
            todo="write to .mkv, or name a codec with --codec",
        )
    # The family is preferred even in a wider format; outside it the format counts first, then the order of names.
    name, match = min(matches, key=lambda pair: (pair[0] not in family or pair[1].cost > 1, pair[1].cost))
    if not family or name in family:
        return name, match, []
    reason = _lacks(family, info) if set(taken) & set(family) else f"{container} does not take {info.codec}"
    return name, match, [f"the picture is encoded with {name}, not {info.codec}: {reason}"]


def _explicit(info: VideoInfo, codec: str, container: str) -> tuple[str, FormatMatch]:
    codec = _ALIASES.get(codec, codec)
    family = FAMILIES.get(codec, (codec,))
    wanted = family if codec == "h264" else (codec,) if codec in family else family[:1]
    names = [name for name in wanted if _exists(name)]
    if not names:
        known = [*FAMILIES, "auto"]
        near = difflib.get_close_matches(codec, known, n=1) or ["auto"]
        raise UsageError(
            f"there is no encoder {codec}", expected="one of " + ", ".join(known), todo=f"try --codec {near[0]}"
        )
    taken = [name for name in names if container_takes(container, name)]
    if not taken:
        suffixes = [suffix for other, suffix in _SUFFIXES.items() if container_takes(other, names[0])]
        raise OutputError(
            f"{container} cannot hold {codec}",
            todo="write to " + " or ".join(suffixes) if suffixes else "choose another codec",
        )
    matches = [(name, match) for name in taken if (match := match_format(name, info)) is not None]
    if not matches:
        raise OutputError(
            _lacks(names, info),
            todo="leave the codec to --codec auto, or use --codec ffv1 and .mkv, which hold every format",
        )
    return min(matches, key=lambda pair: pair[1].cost)


def _lacks(encoders: Sequence[str], info: VideoInfo) -> str:
    odd = " of odd size" if info.height % 2 or info.width % 2 else ""
    return f"{' and '.join(encoders)} cannot hold {info.pixel_format.name} pictures{odd} ({info.width}x{info.height})"


def _exists(encoder: str) -> bool:
    try:
        return av.Codec(encoder, "w").type == "video"
    except ValueError:  # av.codec.codec.UnknownCodecError
        return False


def _base_options(name: str, match: FormatMatch, info: VideoInfo) -> dict[str, str]:
    """Quality, and the source's own profile where the encoder has it and the chroma allows it."""
    options = dict(_DEFAULTS.get(name, {}))
    profile = (info.profile.lower().split() or [""])[-1]
    if name.startswith("prores"):
        is_444 = "444" in match.pixel_format
        own = _PRORES_PROFILES.get(profile, "") if info.codec == "prores" else ""
        options["profile"] = own if own and own.startswith("4444") == is_444 else "4444" if is_444 else "hq"
    elif name == "dnxhd":
        own = _DNXHR_PROFILES.get(profile, "") if info.codec == "dnxhd" else ""
        by_format = {"yuv422p": "dnxhr_hq", "yuv422p10le": "dnxhr_hqx"}
        options["profile"] = own or by_format.get(match.pixel_format, "dnxhr_444")
    elif name == "mjpeg" and info.color.range != 2:
        options["strict"] = "unofficial"  # limited range is not in the standard, but all decoders read it
    return options


def _field_options(name: str, match: FormatMatch, info: VideoInfo) -> dict[str, str]:
    """Code fields where the source has them; x264 takes 4:2:0 fields only if the height is a multiple of four."""
    rows = 4 if name == "libx264" and "420" in match.pixel_format else 2
    if not info.interlaced or name not in _FIELD_FLAGS or info.height % rows:
        return {}
    order = {"x264-params": "bff=1" if info.bottom_field_first else "tff=1"} if name == "libx264" else {}
    return {"flags": _FIELD_FLAGS[name], **order}


def _check_value(name: str, option: str, value: float | str) -> None:
    """Refuse values that the encoders would silently clip or reject with messages of their own."""
    largest = _MAX_CRF.get(name)
    if option == "crf" and largest and not 0 <= float(value) <= largest:
        raise UsageError(f"--crf {value:g}", expected=f"0 (best) to {largest} for {name}")
    if option == "preset" and name.startswith("libx26") and value not in _PRESETS:
        raise UsageError(f"--preset {value}", expected="one of " + ", ".join(_PRESETS) + f" for {name}")


def _with_user_options(name: str, base: dict[str, str], settings: EncodeSettings) -> dict[str, str]:
    """Add crf, preset and the user's own options; names are checked, since FFmpeg silently ignores unknown ones."""
    supported = av.CodecContext.create(name, "w").supported_options
    private = [option.name for option in supported.private]
    generic = [option.name for option in supported.generic if option.flags & OptionFlags.ENCODING_PARAM]
    own = settings.encoder_options or {}
    options = {key: value for key, value in base.items() if key != "crf" or not _RATE_OPTIONS & own.keys()}
    for option, value in (("crf", settings.crf), ("preset", settings.preset)):
        if value is None:
            continue
        if option not in private:
            raise UsageError(
                f"{name} has no {option}", expected="one of " + ", ".join(private), todo="set those with -e key=value"
            )
        _check_value(name, option, value)
        options[option] = f"{value:g}" if isinstance(value, float) else str(value)
    known = {*private, *generic} - _PICTURE_OPTIONS
    for option in (o for o in own if o not in known):
        near = difflib.get_close_matches(option, sorted(known), n=3, cutoff=0.5)
        raise UsageError(
            f"{name} has no option {option}",
            expected="one of its own: " + ", ".join(private),
            todo="did you mean " + " or ".join(near) if near else f"see ffmpeg -h encoder={name}",
        )
    return _joined(options, own)


def _joined(options: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """`others` win, except that lists of a library's own parameters ("x265-params") are concatenated."""
    joined = {key: f"{options[key]}:{others[key]}" for key in options if key.endswith("-params") and key in others}
    return {**options, **others, **joined}
