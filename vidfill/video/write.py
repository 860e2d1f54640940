"""From frames to a finished file: encode, copy the other streams, appear under the final name only when complete."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import av
from av.packet import Packet

from vidfill.errors import OutputError, UsageError
from vidfill.files.atomic import atomic_write
from vidfill.settings import EncodeSettings
from vidfill.video.codecs import EncoderConfig, choose_encoder
from vidfill.video.encode import (
    WITHOUT_TIMESTAMPS,
    WRITE_ERRORS,
    FieldMarker,
    add_picture,
    encode_one_frame,
    encoder_frame,
    flush_picture,
    gray_planes,
    open_encoder,
    reason,
)
from vidfill.video.frame import Frame, VideoInfo
from vidfill.video.streams import (
    StreamCopier,
    copy_container_data,
    copy_stream_data,
    dropped_chapters,
    plan_routes,
)
from vidfill.video.write_images import ImageWriter, check_folder, check_parent, is_folder_output

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
    """Takes every frame in order; on a clean exit the output is there, on an exception nothing is."""

    def __enter__(self) -> Self:
        """Open the output under a temporary name."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish and rename, or remove what was written."""

    def write(self, frame: Frame) -> None:
        """Append one frame.

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
            lost = [route.warning for route in plan_routes(source, container, info.stream_index)]
            warnings += filter(None, [*lost, dropped_chapters(source, container)])
    encode_one_frame(info, encoder, container)
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


def open_writer(
    output: Path | str,
    info: VideoInfo,
    settings: EncodeSettings,
    *,
    overwrite: bool = False,
    picture_only: bool = False,
) -> Writer:
    """Make the writer for an output; arguments and errors are those of `check_output`."""
    if is_folder_output(output):
        return ImageWriter(Path(output), info, overwrite=overwrite)
    return VideoWriter(Path(output), info, settings, overwrite=overwrite, picture_only=picture_only)


class VideoWriter:
    """Encodes frames into a file that gets its final name on a clean exit only.

    Every frame is given to the encoder one call late, so that the last one is known: how long it is shown is written
    into its packet, since neither encoders nor muxers know it.
    """

    def __init__(
        self,
        output: Path,
        info: VideoInfo,
        settings: EncodeSettings,
        *,
        overwrite: bool = False,
        picture_only: bool = False,
    ) -> None:
        self._output, self._info = output, info
        self._overwrite, self._picture_only = overwrite, picture_only
        self._container_name = _container_name(output)
        self._encoder = choose_encoder(info, settings, container=self._container_name)
        self._fields = FieldMarker(info, self._encoder) if info.interlaced else None
        self._stack = ExitStack()
        self._held: Frame | None = None
        self._n_frames = 0
        self._step_s = 1 / info.rate
        self._copier: StreamCopier | None = None

    def __enter__(self) -> Self:
        """Open the output under a temporary name."""
        _check_place(self._output, self._info, overwrite=self._overwrite)
        options = " ".join(f"{key}={value}" for key, value in self._encoder.options.items())
        _log.info("%s: %s, %s, %s", self._output, self._encoder.name, self._encoder.pixel_format, options)
        self._partial = self._stack.enter_context(atomic_write(self._output))
        with self._abandoned_on_error():
            self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish and rename, or remove what was written."""
        if error is not None:
            self._abandon(error)
            return
        with self._abandoned_on_error():
            self._finish()
            self._stack.close()

    def write(self, frame: Frame) -> None:
        """Append one frame; its pts must be later than that of the frame before.

        Raises:
            OutputError: the disk is full, or the encoder refuses the frame.
        """
        held, self._held = self._held, frame
        self._n_frames += 1
        if held is None:
            return
        self._step_s = frame.time_s - held.time_s
        picture = self._converted(held)
        with _plain_errors(self._output):
            self._mux(self._picture.encode(picture))

    def _open(self) -> None:
        source = None if self._info.is_folder else self._stack.enter_context(av.open(str(self._info.path)))
        # No versions, dates or random numbers: equal input, equal bytes.
        options = {"fflags": "+bitexact"}
        if self._container_name in _QUICKTIME:
            options["movflags"] = "+faststart"
            # The unit of edit lists: a start or an end between two milliseconds is kept.
            options["movie_timescale"] = str(max(1000, self._info.time_base.denominator))
        self._target = av.open(str(self._partial), "w", format=self._container_name, container_options=options)
        self._stack.callback(self._target.close)
        if source is None:
            self._picture = add_picture(self._target, self._info, self._encoder)
        else:
            routes = [] if self._picture_only else plan_routes(source, self._container_name, self._info.stream_index)
            self._copier = StreamCopier(source, self._target, routes, self._info.stream_index)
            if not self._picture_only:
                copy_container_data(source, self._target)
            streams: list[Any] = list(source.streams)
            for stream in streams:
                if stream.index != self._info.stream_index:
                    self._copier.add(stream.index)
                    continue
                self._picture = add_picture(self._target, self._info, self._encoder)
                copy_stream_data(stream, self._picture)
                if self._info.interlaced:
                    self._picture.codec_context.field_order = stream.codec_context.field_order
        open_encoder(self._picture)

    def _finish(self) -> None:
        held = self._held
        if held is None:
            raise OutputError("no frame was written", todo="check that the source has pictures")
        packets = [*self._picture.encode(self._converted(held)), *flush_picture(self._picture, n_frames=self._n_frames)]
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
        picture = encoder_frame(frame, self._info, self._encoder, self._container_name)
        return picture if self._fields is None else self._fields.mark(picture)

    @contextmanager
    def _abandoned_on_error(self) -> Iterator[None]:
        try:
            with _plain_errors(self._output):
                yield
        except BaseException as error:
            self._abandon(error)
            raise

    def _abandon(self, error: BaseException) -> None:
        # Closing writes a trailer, for mp4 by moving the whole file: without its name that fails at once.
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)
        with suppress(*WRITE_ERRORS):
            self._stack.__exit__(type(error), error, error.__traceback__)


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
    raw = sum(plane.nbytes for plane in gray_planes(info))
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
        raise OutputError(found.format(output=output, reason=reason(error)), todo=todo) from error
