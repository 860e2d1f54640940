"""Clips made for the tests: every answer (shift, object, background, timestamps) follows from the construction.

`write_clip` writes a video, `write_images` a folder of pictures; `moving_texture`, `crossing_object` and `two_scenes`
make the pictures on their own; `video_info` describes a video that is not there. `damage_packets` and `truncate` break
a file on purpose.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.video.formats import pixel_format
from vidfill.video.frame import Bool, ColorTags, VideoInfo

Pictures = NDArray[np.uint8]

VFR_STEPS = (3003, 3753, 1502, 4504, 3003, 7507)  # ticks of 1/90000 s between frames of a variable-rate clip
SAMPLE_RATE = 48_000
BT709 = ColorTags(matrix=1, primaries=1, transfer=1, range=1)
HDR10 = ColorTags(matrix=9, primaries=9, transfer=16, range=1)
HDR10_PARAMS = (
    "hdr10=1:repeat-headers=1:max-cll=1000,400:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
)


@dataclass(frozen=True)
class Clip:
    """What was written.

    Attributes:
        path: the file or folder.
        pictures: (N, H, W, 3) uint8 RGB, as given to the encoder.
        background: the same without the object.
        masks: (N, H, W), where the object is; false everywhere without one.
        pts: presentation times in ticks of `time_base` (containers may store them in another base).
        time_base: seconds a tick.
        hold_s: how long the last frame is shown, in seconds.
    """

    path: Path
    pictures: Pictures
    background: Pictures
    masks: Bool
    pts: tuple[int, ...]
    time_base: Fraction
    hold_s: Fraction

    @property
    def times_s(self) -> list[Fraction]:
        """Presentation times in seconds, exact."""
        return [pts * self.time_base for pts in self.pts]


def video_info(size: tuple[int, int], pix_fmt: str = "yuv420p") -> VideoInfo:
    """What is known of a video of a (height, width) that nobody has written; 25 frames a second."""
    return VideoInfo(
        path=Path("in.mp4"),
        is_folder=False,
        container="mov,mp4,m4a,3gp,3g2,mj2",
        codec="h264",
        height=size[0],
        width=size[1],
        pixel_format=pixel_format(pix_fmt),
        time_base=Fraction(1, 25),
        rate=Fraction(25),
    )


def texture(size: tuple[int, int], *, seed: int = 0) -> Pictures:
    """A (H, W, 3) picture with detail at all scales and colours that differ from place to place."""
    rng = np.random.default_rng(seed)
    total = np.zeros((*size, 3), np.float32)
    for step, weight in ((2, 0.5), (6, 1.0), (16, 1.5), (48, 2.0)):
        grid = rng.random((size[0] // step + 2, size[1] // step + 2, 3), dtype=np.float32)
        total += weight * cv2.resize(grid, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    low, high = total.min(), total.max()
    return np.asarray(20 + 215 * (total - low) / (high - low), np.uint8)


def moving_texture(n: int, size: tuple[int, int], *, shift: tuple[int, int] = (2, 1), seed: int = 0) -> Pictures:
    """(N, H, W, 3): frame t at (x, y) shows what frame 0 shows at (x + t * shift_x, y + t * shift_y)."""
    height, width = size
    shift_x, shift_y = shift
    canvas = texture((height + abs(shift_y) * (n - 1), width + abs(shift_x) * (n - 1)), seed=seed)
    rows = [(n - 1 - t if shift_y < 0 else t) * abs(shift_y) for t in range(n)]
    columns = [(n - 1 - t if shift_x < 0 else t) * abs(shift_x) for t in range(n)]
    return np.stack([canvas[y : y + height, x : x + width] for y, x in zip(rows, columns, strict=True)])


def crossing_object(background: Pictures) -> tuple[Pictures, Bool]:
    """A striped disc that crosses from left to right: the pictures with it, and where it is."""
    n, height, width, _ = background.shape
    radius = max(3, height // 5)
    y, x = np.mgrid[:height, :width]
    masks = np.zeros((n, height, width), np.bool_)
    for t in range(n):
        centre_x = round(width * (0.2 + 0.6 * t / max(n - 1, 1)))
        masks[t] = (x - centre_x) ** 2 + (y - height // 2) ** 2 <= radius**2
    stripes = np.where((y // 3 % 2)[..., None] == 0, (250, 30, 30), (30, 30, 250)).astype(np.uint8)
    return np.where(masks[..., None], stripes, background), masks


def two_scenes(n: int, size: tuple[int, int], *, cut: int, seed: int = 0) -> Pictures:
    """A moving texture up to frame `cut`, another one (other seed, other way, darker) from there."""
    first = moving_texture(cut, size, seed=seed)
    second = moving_texture(n - cut, size, shift=(-1, 2), seed=seed + 1000) // 2
    return np.concatenate([first, second])


def write_clip(
    path: Path,
    *,
    n: int = 24,
    size: tuple[int, int] = (64, 96),
    shift: tuple[int, int] = (2, 1),
    seed: int = 0,
    with_object: bool = False,
    cut: int | None = None,
    pictures: Pictures | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    gop: int = 12,
    b_frames: int = 2,
    rate: Fraction | int = 25,
    vfr: bool = False,
    start_pts: int = 0,
    last_frame_hold: Fraction | int | None = None,
    color: ColorTags | None = None,
    hdr10: bool = False,
    rotation: int | None = None,
    display_matrix: Sequence[int] | None = None,
    sample_aspect: Fraction | None = None,
    audio_tracks: int = 0,
    subtitles: bool = False,
    chapters: bool = False,
    attachment: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Clip:
    """Write a clip; the suffix of `path` picks the container.

    Args:
        path: where to.
        n: number of frames.
        size: (height, width).
        shift: how far the texture moves from frame to frame, (x, y) in pixels.
        seed: of the texture.
        with_object: whether a disc crosses the picture.
        cut: first frame of a second scene, None for one scene.
        pictures: (N, H, W, 3) to be written instead of a texture; `n` and `size` are then taken from it.
        codec: encoder, by FFmpeg's name; libx264 and libx265 are set to their fastest preset.
        pix_fmt: of the encoder. Formats with alpha get 0 inside the object and full alpha elsewhere.
        options: of the encoder, beside those that are set here.
        gop: frames from keyframe to keyframe at most.
        b_frames: at most so many in a row.
        rate: frames a second.
        vfr: time steps as in VFR_STEPS, in a base of 1/90000 s.
        start_pts: of the first frame, in ticks (of 1/rate, or of 1/90000 with `vfr`).
        last_frame_hold: how long the last frame is shown, in seconds (mp4 and mov keep it).
        color: colour tags; also what matrix and range the samples are made with. None for no tags (BT.601 samples).
        hdr10: PQ, BT.2020 and static metadata; give `codec="libx265", pix_fmt="yuv420p10le"`.
        rotation: degrees, stored as a display matrix (PyAV's `set_display_rotation`).
        display_matrix: its nine integers, instead of `rotation`.
        sample_aspect: width over height of a pixel.
        audio_tracks: how many; track i plays 220 * (i + 1) Hz and says its language (eng, deu).
        subtitles: one subtitle stream with two lines (mp4: mov_text, mkv: subrip).
        chapters: two chapters, each half of the clip.
        attachment: a small text file (mkv only).
        metadata: of the container.
    """
    if pictures is not None:
        background, size, n = pictures, (pictures.shape[1], pictures.shape[2]), len(pictures)
    elif cut is not None:
        background = two_scenes(n, size, cut=cut, seed=seed)
    else:
        background = moving_texture(n, size, shift=shift, seed=seed)
    shown, masks = crossing_object(background) if with_object else (background, np.zeros((n, *size), np.bool_))
    time_base = Fraction(1, 90_000) if vfr else 1 / Fraction(rate)
    pts = _timestamps(n, start=start_pts, vfr=vfr)
    hold_s = Fraction(last_frame_hold) if last_frame_hold else (VFR_STEPS[-1] if vfr else 1) * time_base
    color = HDR10 if hdr10 else color or ColorTags()
    if pix_fmt.startswith("yuvj"):
        color = replace(color, range=2)
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        chosen = _encoder_options(codec, options, hdr10=hdr10)
        stream = _add_video(container, codec, chosen, size=size, pix_fmt=pix_fmt, rate=Fraction(rate), color=color)
        stream.time_base = stream.codec_context.time_base = time_base
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = gop, b_frames
        if sample_aspect is not None:
            stream.codec_context.sample_aspect_ratio = sample_aspect
        if display_matrix is not None:
            stream.set_display_matrix(list(display_matrix))
        elif rotation is not None:
            stream.set_display_rotation(rotation)
        audio = [_add_audio(container, path, track=i) for i in range(audio_tracks)]
        text_codec = "mov_text" if path.suffix in (".mp4", ".mov") else "subrip"
        text = container.add_mux_stream(text_codec) if subtitles else None
        if attachment:
            container.add_attachment("note.txt", "text/plain", b"an attachment")
        end_s = pts[-1] * time_base + hold_s
        if chapters:
            container.set_chapters(_two_chapters(end_s))
        packets = _encode_pictures(stream, shown, masks, pts=pts, time_base=time_base, color=color)
        if last_frame_hold is not None:
            last = max(packets, key=lambda packet: int(packet.pts))
            last.duration = round(last_frame_hold / last.time_base)
        for i, sound in enumerate(audio):
            packets += _encode_tone(sound, hertz=220 * (i + 1), duration_s=end_s)
        if text is not None:
            packets += _text_packets(text, end_s=end_s, is_mov_text=text_codec == "mov_text")
        container.mux(sorted(packets, key=_decoding_time))
    return Clip(path, shown, background, masks, pts, time_base, Fraction(hold_s))


def write_images(
    folder: Path,
    pictures: NDArray[Any],
    *,
    suffix: str = ".png",
    digits: int = 5,
    start: int = 0,
) -> list[Path]:
    """Write (N, H, W), (N, H, W, 3) RGB or (N, H, W, 4) RGBA pictures of any type cv2 writes to 00000.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, picture in enumerate(pictures):
        path = folder / f"{start + i:0{digits}d}{suffix}"
        stored = picture
        if picture.ndim == 3:
            stored = picture[..., [2, 1, 0, 3][: picture.shape[2]]]
        if picture.dtype == np.bool_:
            stored = stored.astype(np.uint8) * 255
        assert cv2.imwrite(str(path), np.ascontiguousarray(stored))
        paths.append(path)
    return paths


def damage_packets(source: Path, target: Path, indices: Sequence[int]) -> None:
    """Copy a file with the payload of the given video packets (in the order of the file) overwritten by 0xff."""
    places = packet_places(source)
    data = bytearray(source.read_bytes())
    for index in indices:
        position, n_bytes = places[index]
        data[position : position + n_bytes] = b"\xff" * n_bytes
    target.write_bytes(data)


def flip_bytes(source: Path, target: Path, index: int, *, n_flips: int = 8, seed: int = 0) -> None:
    """Copy a file with a few bytes of one video packet flipped: it decodes to rubbish or not at all."""
    places = packet_places(source)
    position, n_bytes = places[index]
    data = bytearray(source.read_bytes())
    for offset in np.random.default_rng(seed).integers(n_bytes // 3, n_bytes, n_flips):
        data[position + int(offset)] ^= 0xFF
    target.write_bytes(data)


def truncate(source: Path, target: Path, *, keep: float) -> None:
    """Copy the first part (0 < keep < 1) of a file."""
    shutil.copyfile(source, target)
    with target.open("r+b") as file:
        file.truncate(int(source.stat().st_size * keep))


def packet_places(path: Path) -> list[tuple[int, int]]:
    """Byte offset and size of the payload of each video packet, in the order of the file (no transport streams)."""
    data = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
        return [(data.index(bytes(packet), packet.pos or 0), packet.size) for packet in packets]


def _decoding_time(packet: Any) -> Fraction:
    return Fraction(packet.dts * packet.time_base)


def _timestamps(n: int, *, start: int, vfr: bool) -> tuple[int, ...]:
    if not vfr:
        return tuple(range(start, start + n))
    return tuple(start + sum(VFR_STEPS[k % len(VFR_STEPS)] for k in range(i)) for i in range(n))


def _encoder_options(codec: str, options: Mapping[str, str] | None, *, hdr10: bool) -> dict[str, str]:
    chosen: dict[str, str] = {}
    if codec in ("libx264", "libx265"):
        chosen["preset"] = "ultrafast"
    if codec == "libx265":
        # Without pools and frame threads an encoder of 24 small frames does not wake up every core.
        chosen["x265-params"] = "log-level=none:pools=none:frame-threads=1" + (f":{HDR10_PARAMS}" if hdr10 else "")
    return chosen | dict(options or {})


def _add_video(
    container: Any,
    codec: str,
    options: dict[str, str],
    *,
    size: tuple[int, int],
    pix_fmt: str,
    rate: Fraction,
    color: ColorTags,
) -> Any:
    stream = container.add_stream(codec, rate=rate, options=options)
    stream.height, stream.width, stream.pix_fmt = (*size, pix_fmt)
    context = stream.codec_context
    if codec == "libvpx":
        context.thread_count = 1  # its threads spin while they wait; those of two test processes can starve each other
    context.colorspace, context.color_primaries = color.matrix, color.primaries
    context.color_trc, context.color_range = color.transfer, color.range
    return stream


def _encode_pictures(
    stream: Any, pictures: Pictures, masks: Bool, *, pts: Sequence[int], time_base: Fraction, color: ColorTags
) -> list[Any]:
    packets = []
    for picture, mask, at in zip(pictures, masks, pts, strict=True):
        frame = to_frame(picture, stream.pix_fmt, color=color, alpha=~mask)
        frame.pts, frame.time_base = at, time_base
        packets += stream.encode(frame)
    return packets + list(stream.encode(None))


def to_frame(picture: Pictures, pix_fmt: str, *, color: ColorTags, alpha: Bool | None = None) -> av.VideoFrame:
    """Convert a (H, W, 3) uint8 RGB picture with FFmpeg's scaler; above 8 bits the low bits are filled as well."""
    planar = av.VideoFormat(pix_fmt, 16, 16)
    if any(component.is_alpha for component in planar.components):
        opaque = np.full(picture.shape[:2], 255, np.uint8) if alpha is None else alpha.astype(np.uint8) * 255
        picture, name = np.dstack([picture, opaque]), "rgba"
    else:
        name = "rgb24"
    samples: NDArray[Any] = picture
    if max(component.bits for component in planar.components) > 8:
        samples, name = picture.astype(np.uint16) * 257, {"rgba": "rgba64le", "rgb24": "rgb48le"}[name]
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(samples), format=name)
    if planar.is_rgb or len(planar.components) < 3:
        return frame.reformat(format=pix_fmt, threads=1)
    matrix = 5 if color.matrix == 2 else color.matrix
    return frame.reformat(format=pix_fmt, dst_colorspace=matrix, dst_color_range=color.range or 1, threads=1)


def _add_audio(container: Any, path: Path, *, track: int) -> Any:
    codec = "libopus" if path.suffix == ".webm" else "aac"
    stream = container.add_stream(codec, rate=SAMPLE_RATE, layout="mono")
    stream.metadata["language"] = ("eng", "deu", "fra")[track]
    return stream


def _encode_tone(stream: Any, *, hertz: int, duration_s: Fraction) -> list[Any]:
    n_samples = int(duration_s * SAMPLE_RATE)
    time_s = np.arange(n_samples, dtype=np.float32) / SAMPLE_RATE
    tone = (0.3 * np.sin(2 * np.pi * hertz * time_s)).astype(np.float32)
    packets = []
    for start in range(0, n_samples, 960):
        frame = av.AudioFrame.from_ndarray(tone[None, start : start + 960], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        packets += stream.encode(frame)
    return packets + list(stream.encode(None))


def _text_packets(stream: Any, *, end_s: Fraction, is_mov_text: bool) -> list[Any]:
    packets = []
    half_ms = int(end_s * 500)
    for start_ms, line in ((0, b"first line"), (half_ms, b"second line")):
        prefix = len(line).to_bytes(2, "big") if is_mov_text else b""
        packet = av.Packet(prefix + line)
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = start_ms
        packet.duration = half_ms
        packets.append(packet)
    return packets


def _two_chapters(end_s: Fraction) -> list[Any]:
    half_ms = int(end_s * 500)
    return [
        {
            "id": i,
            "start": i * half_ms,
            "end": (i + 1) * half_ms,
            "time_base": Fraction(1, 1000),
            "metadata": {"title": t},
        }
        for i, t in enumerate(("one", "two"))
    ]
