"""From frames to a finished file: encode, copy the other streams, appear under the final name only when complete."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from vidfill.errors import OutputError, UsageError
from vidfill.files.atomic import atomic_write
from vidfill.settings import EncodeSettings
from vidfill.video import encode, streams
from vidfill.video.codecs import EncoderConfig, choose_encoder
from vidfill.video.encode import WITHOUT_TIMESTAMPS, WRITE_ERRORS
from vidfill.video.frame import Frame, VideoInfo
from vidfill.video.write_images import check_folder, check_parent, is_folder_output, open_folder

_log = logging.getLogger("vidfill")

_FORMATS = {".m4v": "mp4"}  # FFmpeg's own choice, ipod, refuses most codecs
# Muxers, by FFmpeg's name.
_QUICKTIME = frozenset({"mp4", "mov", "ipod"})
_IN_MILLISECONDS = frozenset({"matroska", "webm"})
_TIME_PER_PACK = frozenset({"mpeg", "svcd", "vob"})  # MPEG program streams
_ROTATION_ONLY = frozenset({"matroska", "webm"})
# Low estimates of the encoded size relative to the raw samples.
_MIN_RATIO_LOSSLESS, _MIN_RATIO_LOSSY = 0.2, 0.005
_SYSTEM_ERRORS = {
    errno.ENOSPC: ("no space is left for {output}", "free some space, or write somewhere else"),
    errno.EDQUOT: ("no space is left for {output}", "free some space, or write somewhere else"),
    errno.EFBIG: ("{output} grew larger than a file may be there", "write somewhere else"),
    errno.EPIPE: ("the reader of {output} has gone", "write to a file"),
}
_OTHER_ERROR = "{output} cannot be written ({reason})", "try another container or --codec"


class Writer(Protocol):
    """Takes the frames of an output; made by `open_writer`."""

    def write(self, frame: Frame) -> None:
        """Append one frame, which is later than the one before.

        Raises:
            OutputError: the disk is full, or the encoder refuses the frame.
        """


def check_output(
    output: Path | str,
    info: VideoInfo,
    settings: EncodeSettings,
    *,
    overwrite: bool,
    inputs: Sequence[Path] = (),
    picture_only: bool = False,
) -> list[str]:
    """Check before the work starts whether the output can be written, by encoding one frame.

    Args:
        output: a video file, or a folder for PNG files (see `is_folder_output`).
        info: the source.
        settings: of the encoder.
        overwrite: whether an existing output may be replaced.
        inputs: other files that are read (masks, a result to compare with), which are never replaced.
        picture_only: whether the source's other streams and chapters are left out on purpose.

    Returns:
        Warnings, one line each: what the output does not keep of the source.

    Raises:
        OutputError: the folder is missing or not writable, the output exists or is an input, the container cannot
            hold the picture, the encoder refuses its settings, the disk is too small.
        UsageError: an encoder, an option or a file name extension that does not exist, or no name at all.
    """
    if str(output) in ("", "-"):
        raise UsageError(
            "no name for the output" if not str(output) else "standard output as the output",
            expected="a file or a folder, which gets its name when it is complete",
            todo="name one",
        )
    is_folder, output = is_folder_output(output), Path(output)
    check_not_an_input(output, inputs)
    if is_folder:
        return check_folder(output, info, overwrite=overwrite)
    _check_place(output, info, overwrite=overwrite)
    container = _container_name(output)
    encoder = choose_encoder(info, settings, container=container)
    _check_space(output, info, encoder)
    warnings = [*encoder.warnings, *_timing_warnings(info, container), *_orientation_warnings(info, container)]
    if not info.is_folder and not picture_only:
        with av.open(str(info.path)) as source:
            lost = [route.warning for route in streams.plan_routes(source, container, info.stream_index)]
            warnings += filter(None, [*lost, streams.dropped_chapters(source, container)])
    encode.try_encoder(info, encoder, container)
    return warnings


def check_not_an_input(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse an output that would replace something that is read.

    Raises:
        OutputError: the output is one of the inputs, or a folder that holds one.
    """
    for path in inputs:
        if not (output.exists() and path.exists()):
            continue
        if output.samefile(path) or (output.is_dir() and output.resolve() in path.resolve().parents):
            raise OutputError(f"the output {output} would replace {path}, which is read", todo="give another name")


@contextmanager
def open_writer(
    output: Path | str,
    info: VideoInfo,
    settings: EncodeSettings,
    *,
    overwrite: bool = False,
    picture_only: bool = False,
) -> Iterator[Writer]:
    """Open an output: on a clean exit it is complete, on an exception there is none.

    Arguments and errors are those of `check_output`.
    """
    if is_folder_output(output):
        with open_folder(Path(output), info, overwrite=overwrite) as images:
            yield images
        return
    output = Path(output)
    _check_place(output, info, overwrite=overwrite)
    container = _container_name(output)
    encoder = choose_encoder(info, settings, container=container)
    options = " ".join(f"{key}={value}" for key, value in encoder.options.items())
    _log.info("%s: %s, %s, %s", output, encoder.name, encoder.pixel_format, options)
    opened = ExitStack()
    with _plain_errors(output):
        partial = opened.enter_context(atomic_write(output))
    try:
        with _plain_errors(output):
            source = None if info.is_folder else opened.enter_context(av.open(str(info.path)))
            target = opened.enter_context(_open_target(partial, info, container))
            writer = _VideoWriter(output, target, info, encoder)
            writer.add_streams(source, picture_only=picture_only)
        yield writer
        with _plain_errors(output):
            writer.finish()
            opened.close()
    except BaseException as error:
        # Closing writes a trailer, for mp4 by moving the whole file: without its name that fails at once.
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        with suppress(*WRITE_ERRORS):
            opened.__exit__(type(error), error, error.__traceback__)
        raise


def _open_target(path: Path, info: VideoInfo, container: str) -> OutputContainer:
    # No versions, dates or random numbers: equal input, equal bytes.
    options = {"fflags": "+bitexact"}
    if container in _QUICKTIME:
        options["movflags"] = "+faststart"
        # The unit of edit lists: a start or an end between two milliseconds is kept.
        options["movie_timescale"] = str(max(1000, info.time_base.denominator))
    return av.open(str(path), "w", format=container, container_options=options)


class _VideoWriter:
    """Encodes frames into an open container, in step with the source's other streams.

    Every frame is given to the encoder one call late, so that the last one is known: how long it is shown is written
    into its packet, since neither encoders nor muxers know it.
    """

    def __init__(self, output: Path, target: OutputContainer, info: VideoInfo, encoder: EncoderConfig) -> None:
        self._output, self._target, self._info, self._encoder = output, target, info, encoder
        self._fields = encode.FieldMarker(info, encoder) if info.interlaced else None
        self._copier: streams.StreamCopier | None = None
        self._held: Frame | None = None
        self._n_frames = 0
        self._step_s = 1 / info.rate

    def add_streams(self, source: InputContainer | None, *, picture_only: bool) -> None:
        """Add the picture, and the other streams in the order of the source."""
        if source is None:
            self._picture = encode.add_picture(self._target, self._info, self._encoder)
        else:
            index = self._info.stream_index
            routes = [] if picture_only else streams.plan_routes(source, self._target.format.name, index)
            self._copier = streams.StreamCopier(source, self._target, routes, index)
            if not picture_only:
                streams.copy_container_data(source, self._target)
            every: list[Any] = list(source.streams)
            for stream in every:
                if stream.index != index:
                    self._copier.add(stream.index)
                    continue
                self._picture = encode.add_picture(self._target, self._info, self._encoder)
                streams.copy_stream_data(stream, self._picture)
                if self._info.interlaced:
                    self._picture.codec_context.field_order = stream.codec_context.field_order
        encode.open_encoder(self._picture)

    def write(self, frame: Frame) -> None:
        """See `Writer`."""
        held, self._held = self._held, frame
        self._n_frames += 1
        if held is None:
            return
        self._step_s = frame.time_s - held.time_s
        picture = self._converted(held)
        with _plain_errors(self._output):
            self._mux(self._picture.encode(picture))

    def finish(self) -> None:
        """Write what the encoder and the other streams still hold."""
        held = self._held
        if held is None:
            raise OutputError("no frame was written", todo="check that the source has pictures")
        packets = self._picture.encode(self._converted(held))
        packets += encode.flush_picture(self._picture, n_frames=self._n_frames)
        last = max(packets, key=lambda packet: packet.pts)
        before = packets[: packets.index(last)]
        self._mux(before)
        if self._copier is not None:
            self._copier.copy_until(None)
        # The last frame is shown as long as in the source, else as long as the one before.
        ticks = self._copier.last_duration(held.pts) if self._copier is not None else 0
        last.duration = round((ticks * held.time_base or self._step_s) / last.time_base)
        if packets[-1] is not last:
            # The same end for a muxer that counts in decoding order, as mp4 does.
            packets[-1].duration = last.pts + last.duration - packets[-1].pts
        self._mux(packets[len(before) :])

    def _mux(self, packets: list[Packet[Any]]) -> None:
        for packet in packets:
            if self._copier is not None:
                self._copier.copy_until(None if packet.dts is None else packet.dts * packet.time_base)
            self._target.mux(packet)

    def _converted(self, frame: Frame) -> av.VideoFrame:
        picture = encode.to_encoder(frame, self._info, self._encoder, self._target.format.name)
        return picture if self._fields is None else self._fields.mark(picture)


def _container_name(output: Path) -> str:
    """FFmpeg's name of the muxer for a file name; no file is created."""
    suffix = output.suffix.lower()
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    try:
        with av.open(f"x{suffix}", "w") as guess:
            name, default = str(guess.format.name), guess.default_video_codec
    except ValueError:
        name, default = "", "none"
    if not suffix or default == "none":
        raise UsageError(
            f"{output.name} has no extension of a video format",
            expected=".mp4, .mov, .mkv, .webm, .avi or another that FFmpeg writes",
            todo="give the output such a name, or one that ends in / for a folder of PNG files",
        )
    return name


def _check_place(output: Path, info: VideoInfo, *, overwrite: bool) -> None:
    """What can be said of a file name without writing."""
    check_parent(output, info)
    if output.exists() and not output.is_file():
        raise OutputError(f"{output} is not a regular file", todo="give another name")
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists", todo="give -y to replace it, or another name")


def _check_space(output: Path, info: VideoInfo, encoder: EncoderConfig) -> None:
    """Refuse where even a low estimate of the file does not fit on the disk."""
    raw = sum(plane.nbytes for plane in encode.gray_planes(info))
    n_frames = info.n_frames or int(info.duration_s * info.rate)
    needed = raw * n_frames * (_MIN_RATIO_LOSSLESS if encoder.is_lossless else _MIN_RATIO_LOSSY)
    free = shutil.disk_usage(output.parent).free
    if free < needed:
        raise OutputError(
            f"{free / 1e6:.1f} MB are free in {output.parent}",
            expected=f"about {needed / 1e6:.1f} MB for {n_frames} frames by {encoder.name}",
            todo="free some space, or write somewhere else",
        )


def _timing_warnings(info: VideoInfo, container: str) -> list[str]:
    """What the container does to timestamps."""
    if container in WITHOUT_TIMESTAMPS:
        return [f"{container} has no timestamps: every frame is shown for 1/{float(info.rate):g} s"]
    if container in _TIME_PER_PACK:
        return [f"{container} has the time of one frame in each pack of 2 kB: smaller ones are shown at wrong times"]
    whole_steps = (1000 / info.rate).denominator == 1
    if container in _IN_MILLISECONDS and (1000 * info.time_base).denominator != 1 and not whole_steps:
        return [f"{container} counts in milliseconds: timestamps are rounded to 1 ms (mp4 and mov keep them)"]
    return []


def _orientation_warnings(info: VideoInfo, container: str) -> list[str]:
    """Which part of the orientation the container cannot hold."""
    turned = bool(info.orientation.quarter_turns or info.orientation.mirrored)
    if turned and container not in _QUICKTIME | _ROTATION_ONLY:
        return [f"{container} has no rotation: players will show the picture as it is stored, turned"]
    if info.orientation.mirrored and container in _ROTATION_ONLY:
        return [f"{container} has rotation but no mirroring: players will not mirror the picture (mp4 and mov do)"]
    return []


@contextmanager
def _plain_errors(output: Path) -> Iterator[None]:
    """Turn what PyAV and the system raise into an `OutputError`."""
    try:
        yield
    except WRITE_ERRORS as error:
        found, todo = _SYSTEM_ERRORS.get(getattr(error, "errno", None) or 0, _OTHER_ERROR)
        raise OutputError(found.format(output=output, reason=encode.reason(error)), todo=todo) from error
