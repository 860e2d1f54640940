"""From frames to a finished file: encode, copy the other streams, appear under the final name only when complete."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import av
from av.container import InputContainer
from av.packet import Packet

from vidfill.errors import OutputError, UsageError
from vidfill.files.atomic import atomic_write
from vidfill.video.codecs import Encoder, EncodeSettings, choose_encoder, is_lossless
from vidfill.video.encode import (
    FAULTS,
    IN_MILLISECONDS,
    WITHOUT_TIMESTAMPS,
    FieldMarker,
    add_picture,
    encode_one_frame,
    encoder_frame,
    flush_picture,
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
from vidfill.video.write_images import ImageWriter, check_folder, is_folder_output

_log = logging.getLogger("vidfill")

_FORMATS = {".m4v": "mp4"}  # FFmpeg's own choice, ipod, refuses most codecs
_QUICKTIME = frozenset({"mp4", "mov", "ipod"})
_TIMES_OF_PACKS = frozenset({"mpeg", "svcd", "vob"})  # MPEG program streams
_TURNING = frozenset({"matroska", "webm"})


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
    """Answer before the work starts whether the output can be written, with one frame encoded on trial.

    Args:
        output: a video file, or a folder for PNG files (an existing one, or a name that ends in a slash: see
            `is_folder_output`).
        info: of the source.
        settings: of the encoder.
        overwrite: whether an existing output may be replaced.
        inputs: what else is read (masks, a result to compare with) and is never replaced.
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
    with ExitStack() as stack:
        source = _open_source(info, stack)
        if source is not None and not picture_only:
            warnings += [route.warning for route in plan_routes(source, container, info.stream_index) if route.warning]
            warnings += [text] if (text := dropped_chapters(source, container)) else []
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
    """Make the writer for an output; `check_output`, whose arguments are the same, says beforehand if it will do.

    Raises:
        OutputError: see `check_output`.
        UsageError: see `check_output`.
    """
    if is_folder_output(output):
        return ImageWriter(Path(output), info, overwrite=overwrite)
    return VideoWriter(Path(output), info, settings, overwrite=overwrite, picture_only=picture_only)


class VideoWriter:
    """Encodes frames into a file beside its final name; the final name appears on a clean exit only.

    Every frame is handed to the encoder one call late, so that the last one is known as such: how long it is shown
    is written into its packet, since neither encoders nor muxers know it.
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
        self._output = output
        self._picture_only = picture_only
        self._info = info
        self._overwrite = overwrite
        self._container_name = _container_name(output)
        self._encoder = choose_encoder(info, settings, container=self._container_name)
        self._fields = FieldMarker(info, self._encoder) if info.interlaced else None
        self._stack = ExitStack()
        self._held: Frame | None = None
        self._n_frames = 0
        self._step_s = 1 / info.rate

    def __enter__(self) -> Self:
        """Open the output under a temporary name."""
        _check_place(self._output, self._info, overwrite=self._overwrite)
        _log.info(
            "%s: %s, %s, %s",
            self._output,
            self._encoder.name,
            self._encoder.pixel_format,
            " ".join(f"{key}={value}" for key, value in self._encoder.options.items()),
        )
        self._partial = self._stack.enter_context(atomic_write(self._output))
        with self._all_or_nothing():
            self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish and rename, or remove what was written."""
        if error is not None:
            self._abandon(error)
            return
        with self._all_or_nothing():
            self._finish()
            self._stack.close()

    def write(self, frame: Frame) -> None:
        """Append one frame; its pts must be later than that of the frame before.

        Raises:
            OutputError: the disk is full, or the encoder refuses the frame.
        """
        held, self._held = self._held, frame
        self._n_frames += 1
        self._step_s = frame.time_s - held.time_s if held is not None else self._step_s
        if held is None:
            return
        picture = self._converted(held)
        with _in_plain_words(self._output):
            self._mux(self._picture.encode(picture))

    def _open(self) -> None:
        source = _open_source(self._info, self._stack)
        # No versions, dates or random numbers: equal input, equal bytes.
        options = {"fflags": "+bitexact"}
        if self._container_name in _QUICKTIME:
            options["movflags"] = "+faststart"
            # Of edit lists: a start or an end between two milliseconds stays where it is.
            options["movie_timescale"] = str(max(1000, self._info.time_base.denominator))
        self._target = av.open(str(self._partial), "w", format=self._container_name, container_options=options)
        self._stack.callback(self._target.close)
        self._copier: StreamCopier | None = None
        if source is None:
            self._picture = add_picture(self._target, self._info, self._encoder)
            return
        routes = [] if self._picture_only else plan_routes(source, self._container_name, self._info.stream_index)
        self._copier = StreamCopier(source, self._target, routes, self._info.stream_index)
        if not self._picture_only:
            copy_container_data(source, self._target)
        streams: list[Any] = list(source.streams)
        for stream in streams:
            if stream.index == self._info.stream_index:
                self._picture = add_picture(self._target, self._info, self._encoder)
                copy_stream_data(stream, self._picture)
                if self._info.interlaced:
                    self._picture.codec_context.field_order = stream.codec_context.field_order
            else:
                self._copier.add(stream.index)

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
        last.duration = round(self._hold_s(held) / last.time_base)
        if packets[-1] is not last:
            # The same end for a muxer that counts in decoding order, as mp4 does.
            packets[-1].duration = last.pts + last.duration - packets[-1].pts
        self._mux(packets[len(before) :])

    def _hold_s(self, last: Frame) -> Fraction:
        """How long the last frame is shown, in seconds: as in the source, else as long as the one before."""
        ticks = self._copier.last_duration(last.pts) if self._copier is not None else 0
        return ticks * last.time_base or self._step_s

    def _mux(self, packets: list[Packet[Any]]) -> None:
        for packet in packets:
            if self._copier is not None:
                self._copier.copy_until(_dts_s(packet))
            self._target.mux(packet)

    def _converted(self, frame: Frame) -> av.VideoFrame:
        picture = encoder_frame(frame, self._info, self._encoder, self._container_name)
        return picture if self._fields is None else self._fields.mark(picture)

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        try:
            with _in_plain_words(self._output):
                yield
        except BaseException as error:
            self._abandon(error)
            raise

    def _abandon(self, error: BaseException) -> None:
        # Closing writes a trailer, for mp4 by moving the whole file: without its name that fails at once.
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)
        with contextlib.suppress(*FAULTS):
            self._stack.__exit__(type(error), error, error.__traceback__)


def _open_source(info: VideoInfo, stack: ExitStack) -> InputContainer | None:
    """The source once more, for the packets of its other streams; None for a folder of images."""
    if info.is_folder:
        return None
    return stack.enter_context(av.open(str(info.path)))


def _container_name(output: Path) -> str:
    """FFmpeg's name of the muxer for a file name, which is nowhere created."""
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
    if output.exists() and info.path.exists() and output.samefile(info.path):
        raise OutputError(f"the output {output} is the source", todo="give another name")
    if not output.parent.is_dir():
        raise OutputError(f"the folder {output.parent} does not exist", todo="create it, or write somewhere else")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {output.parent} is not writable", todo="write somewhere else")
    if output.exists() and not output.is_file():
        raise OutputError(f"{output} is not a regular file", todo="give another name")
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists", todo="give -y to replace it, or another name")


def _check_space(output: Path, info: VideoInfo, encoder: Encoder) -> None:
    """Refuse where even a low estimate of the file does not fit on the disk."""
    shape = info.pixel_format
    n_planes = shape.n_color_planes + shape.has_alpha
    sizes = [shape.plane_size(i, height=info.height, width=info.width) for i in range(n_planes)]
    raw = sum(height * width for height, width in sizes) * (1 if shape.depth <= 8 else 2)
    n_frames = info.n_frames or int(info.duration_s * info.rate)
    needed = raw * n_frames * _LEAST_SHARE[is_lossless(encoder.name)]
    free = shutil.disk_usage(output.parent).free
    if free < needed:
        raise OutputError(
            f"{free / 1e6:.1f} MB are free in {output.parent}",
            expected=f"about {needed / 1e6:.1f} MB for {n_frames} frames by {encoder.name}",
            todo="free some space, or write somewhere else",
        )


# What encoders leave of the raw samples, lossy and lossless, low estimates.
_LEAST_SHARE = {False: 0.005, True: 0.2}


def _timing_warnings(info: VideoInfo, container: str) -> list[str]:
    """What the container does to timestamps."""
    if container in WITHOUT_TIMESTAMPS:
        return [f"{container} has no timestamps: every frame is shown for 1/{float(info.rate):g} s"]
    if container in _TIMES_OF_PACKS:
        return [f"{container} has the time of one frame in each pack of 2 kB: smaller ones are shown at wrong times"]
    steady = (1000 / info.rate).denominator == 1
    if container in IN_MILLISECONDS and (1000 * info.time_base).denominator != 1 and not steady:
        return [f"{container} counts in milliseconds: timestamps are rounded to 1 ms (mp4 and mov keep them)"]
    return []


def _orientation_warnings(info: VideoInfo, container: str) -> list[str]:
    """What the container cannot say about turning the picture."""
    turned = bool(info.orientation.quarter_turns or info.orientation.mirrored)
    if turned and container not in _QUICKTIME | _TURNING:
        return [f"{container} has no rotation: players will show the picture as it is stored, turned"]
    if info.orientation.mirrored and container in _TURNING:
        return [f"{container} has rotation but no mirroring: players will not mirror the picture (mp4 and mov do)"]
    return []


def _dts_s(packet: Packet[Any]) -> Fraction | None:
    return None if packet.dts is None else packet.dts * packet.time_base


@contextlib.contextmanager
def _in_plain_words(output: Path) -> Iterator[None]:
    """Turn what PyAV and the system raise into an `OutputError`."""
    try:
        yield
    except FAULTS as error:
        raise _explained(error, output) from error


def _explained(error: BaseException, output: Path) -> OutputError:
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"no space is left for {output}", todo="free some space, or write somewhere else")
    if number == errno.EFBIG:
        return OutputError(f"{output} grew larger than a file may be there", todo="write somewhere else")
    if number == errno.EPIPE:
        return OutputError(f"the reader of {output} has gone", todo="write to a file")
    return OutputError(f"{output} cannot be written ({reason(error)})", todo="try another container or --codec")
