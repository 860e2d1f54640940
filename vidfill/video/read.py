"""Reads a source, a video file or a folder of images, as frames in their own samples."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Self

from vidfill.errors import InputError, UsageError
from vidfill.video.decode import Damage, DecodedFrame, Decoding, NoSeek, Suspicious
from vidfill.video.formats import to_planes
from vidfill.video.frame import Frame, VideoInfo
from vidfill.video.read_images import ImageFolder
from vidfill.video.source import MEDIA_ERRORS, OpenVideo, has_stored_times, open_video, packets_of

__all__ = ["Damage", "Reader", "probe"]

# Attempts to seek, in seconds before the wanted time; after them a file is read from the start. Some containers seek by
# decoding time, which is earlier, and a stream with gradual refresh takes a while until it is whole.
_SEEK_BACK_S = (0, 2, 20)


def probe(path: Path, *, fps: Fraction | None = None) -> VideoInfo:
    """What a source is; arguments and errors as those of `Reader`."""
    with Reader(path, fps=fps) as reader:
        return reader.info


class Reader:
    """Decodes the frames of a source, in any number of passes.

    The last good frame is held in the place of each damaged one, so that count and timing stay.

    Args:
        path: a video file or a folder of images.
        fps: frames per second of a folder of images, None for 25.
        threads: of the decoder, 0 for its own choice.

    Raises:
        InputError: the source cannot be read.
        UsageError: `fps` was given for a video.

    Example:
        >>> with Reader(Path("in.mp4")) as reader:  # doctest: +SKIP
        ...     for frame in reader.frames():
        ...         print(frame.index, float(frame.time_s))
    """

    def __init__(self, path: Path, *, fps: Fraction | None = None, threads: int = 0) -> None:
        path = Path(path)
        self._threads = threads
        self._images = ImageFolder(path, fps=fps) if path.is_dir() else None
        self._opened: OpenVideo | None = None  # for the first pass
        self.info = self._images.info if self._images else self._open(path, fps)
        self._is_orderly: bool | None = None
        self._needs_care = False  # whether a pass has found damage
        self._passes: list[Generator[DecodedFrame, None, None]] = []
        self.damage = Damage()

    def _open(self, path: Path, fps: Fraction | None) -> VideoInfo:
        if fps is not None:
            raise UsageError(
                f"a frame rate was given for {path}, which is a video", todo="leave --fps to folders of images"
            )
        opened = OpenVideo(path, threads=self._threads)
        try:
            info = opened.describe()
        except BaseException:
            opened.close()
            raise
        if info.start_pts is None:
            opened.close()
        else:
            self._opened = opened
        return info

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End all passes and close the file."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        for pictures in self._passes:
            pictures.close()
        self._passes.clear()

    def frames(self, *, start_pts: int | None = None, start_index: int = 0) -> Iterator[Frame]:
        """Start a new pass, with frames in strictly rising time; `damage` counts from its beginning.

        Args:
            start_pts: presentation time of the first frame wanted, in ticks; None for the first there is. The frames
                are those of a pass from the start, whether or not the file can be entered there.
            start_index: the index that the first frame is given.

        Raises:
            InputError: size or pixel format change on the way.
        """
        if self._images is not None:
            yield from self._images.frames(start_pts=start_pts, start_index=start_index)
            return
        pictures = self._from_start(None) if start_pts is None else self._from_pts(start_pts)
        self._passes.append(pictures)
        try:
            for index, picture in enumerate(pictures, start_index):
                planes = to_planes(picture.frame, self.info.pixel_format)
                yield Frame(index, picture.pts, self.info.time_base, planes, picture.held)
        finally:
            pictures.close()
            if pictures in self._passes:  # not if the reader was closed before this pass
                self._passes.remove(pictures)

    def _from_start(self, start_pts: int | None) -> Generator[DecodedFrame, None, None]:
        for picture in self._pass(seek_pts=None, start_pts=None):
            if start_pts is None or picture.pts >= start_pts:
                yield picture

    def _from_pts(self, start_pts: int) -> Generator[DecodedFrame, None, None]:
        if self._can_seek():
            for back_s in _SEEK_BACK_S:
                pictures = self._pass(seek_pts=start_pts - round(back_s / self.info.time_base), start_pts=start_pts)
                first = self._first_at(start_pts, pictures)
                if first is not None:
                    yield first
                    yield from pictures
                    return
                pictures.close()
        yield from self._from_start(start_pts)

    def _first_at(self, start_pts: int, pictures: Iterator[DecodedFrame]) -> DecodedFrame | None:
        """The picture of exactly this time, None if it might differ from that of a pass from the start."""
        try:
            for picture in pictures:
                if self.damage or picture.pts > start_pts:
                    return None
                if picture.pts == start_pts:
                    return picture
        except (NoSeek, InputError):
            pass
        return None

    def _pass(self, *, seek_pts: int | None, start_pts: int | None) -> Generator[DecodedFrame, None, None]:
        """Decode fast until something looks damaged, then again with care, yielding no picture twice."""
        given: int | None = None
        for is_careful in (True,) if self._needs_care else (False, True):
            opened = self._opened if seek_pts is None and not is_careful else None
            if opened is None:
                opened = OpenVideo(self.info.path, threads=self._threads, is_careful=is_careful)
            else:
                self._opened = None
            decoding = Decoding(self.info, opened, is_careful=is_careful, seek_pts=seek_pts, start_pts=start_pts)
            self.damage = decoding.damage
            try:
                for picture in decoding.pictures():
                    if given is None or picture.pts > given:
                        given = picture.pts
                        yield picture
            except Suspicious:
                self._needs_care |= seek_pts is None
                continue
            finally:
                decoding.close()
            if seek_pts is None:
                self._is_orderly = decoding.times.is_as_stored and has_stored_times(self.info)
            return

    def _can_seek(self) -> bool:
        """Whether timestamps are complete, unique and in order, as a pass from the start or a look at packets shows."""
        if self._is_orderly is None:
            self._is_orderly = has_stored_times(self.info) and self._packets_are_orderly()
        return self._is_orderly

    def _packets_are_orderly(self) -> bool:
        seen: set[int] = set()
        last_dts: int | None = None
        container, stream = open_video(self.info.path)
        with container:
            try:
                for packet in packets_of(container, stream):
                    pts, dts = packet.pts, packet.dts
                    if pts is None or pts in seen or (dts is not None and last_dts is not None and dts <= last_dts):
                        return False
                    seen.add(pts)
                    last_dts = dts
            except MEDIA_ERRORS:
                return bool(seen)
        return True
