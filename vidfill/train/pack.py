"""Pack training pictures for a machine that few bytes can be sent to: `python -m vidfill.train.pack`.

Photos and frames of clips become WebP pictures in zip archives, shuffled, so that the first archives alone are a fair
sample. Pictures of held-back clips, and a few photos, go into the folder `held_back` of the first archive; training
never sees them. Archives are stored without compression, which cannot shrink WebP.
"""

from __future__ import annotations

import argparse
import logging
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import InputError, OutputError, UsageError, VidfillError
from vidfill.train.data import (
    HELD_BACK_FOLDER,
    ArchiveMember,
    archive_members,
    decoded_picture,
    is_held_back,
    training_files,
)

_log = logging.getLogger("vidfill")

MIB = 2**20
# Of the photos, one in so many is held back. Clips have a rule of their own (`is_held_back`).
HELD_BACK_PHOTOS_ONE_IN = 128
MAX_HELD_BACK = 96
# A frame is left out if its thumbnail differs by less than so many gray levels from the last one taken.
THUMBNAIL_PX = 32
MIN_CHANGE = 6.0


def pack(
    paths: Sequence[Path],
    out: Path,
    *,
    total_mib: float,
    archive_mib: float,
    every: int,
    short_side_px: int,
    quality: int,
) -> list[Path]:
    """Write archives of pictures and one of shapes.

    Args:
        paths: videos, archives, or folders of them, as for training.
        out: folder of the archives; made if it is not there.
        total_mib: maximum size of all archives together.
        archive_mib: maximum size of one archive of pictures.
        every: of a clip, one frame in so many is looked at.
        short_side_px: larger pictures are reduced to this short side.
        quality: of WebP, 1 to 100, for what has to be encoded.

    Raises:
        InputError: a path that does not exist or cannot be read, or no pictures.
        OutputError: the folder cannot be written.
        UsageError: a size or number that is not positive.
    """
    if min(total_mib, archive_mib, every, short_side_px, quality) <= 0:
        raise UsageError("a size or number is not positive", expected="numbers above 0")
    videos, photo_archives, shape_archives = training_files(paths)
    shapes = list(archive_members(shape_archives))
    packed = [*_photos(photo_archives, short_side_px, quality), *_frames(videos, every, short_side_px, quality)]
    if not packed:
        raise InputError("no pictures to pack", todo="name folders with videos or archives of photos")
    order = np.random.default_rng(0).permutation(len(packed))
    held_back = [packed[i] for i in order if packed[i].name.startswith(HELD_BACK_FOLDER)][:MAX_HELD_BACK]
    others = [packed[i] for i in order if not packed[i].name.startswith(HELD_BACK_FOLDER)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        written = _write(shapes, out, "silhouettes", total_mib * MIB, total_mib * MIB)
        left = total_mib * MIB - sum(file.stat().st_size for file in written)
        written += _write([*held_back, *others], out, "pictures", archive_mib * MIB, left)
    except OSError as error:
        raise OutputError(f"cannot write to {out} ({error.strerror})", todo="name another --out") from error
    _log.info("%d pictures, %d of them held back; %d shapes", len(packed), len(held_back), len(shapes))
    return written


def _photos(archives: Sequence[Path], short_side_px: int, quality: int) -> Iterator[ArchiveMember]:
    """The photos of the archives; WebP of the right size goes in as it is."""
    for number, photo in enumerate(archive_members(archives)):
        picture = decoded_picture(photo)
        is_ready = photo.content[8:12] == b"WEBP" and min(picture.shape[:2]) <= short_side_px
        content = photo.content if is_ready else _encoded(picture, short_side_px, quality)
        is_held = zlib.crc32(photo.content) % HELD_BACK_PHOTOS_ONE_IN == 0
        yield ArchiveMember(f"{HELD_BACK_FOLDER if is_held else ''}photo_{number:05d}.webp", content)


def _frames(videos: Sequence[Path], every: int, short_side_px: int, quality: int) -> Iterator[ArchiveMember]:
    for video in videos:
        folder = HELD_BACK_FOLDER if is_held_back(video.name) else ""
        capture = cv2.VideoCapture(str(video))
        last: NDArray[np.uint8] | None = None
        number = 0
        while capture.grab():
            if number % every == every // 2:
                picture = np.asarray(capture.retrieve()[1], np.uint8)
                thumbnail = cv2.resize(picture, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
                if last is None or np.abs(thumbnail.astype(float) - last).mean() >= MIN_CHANGE:
                    last = np.asarray(thumbnail, np.uint8)
                    content = _encoded(picture[..., ::-1], short_side_px, quality)
                    yield ArchiveMember(f"{folder}{video.stem}_frame_{number:05d}.webp", content)
            number += 1


def _encoded(rgb: NDArray[np.uint8], short_side_px: int, quality: int) -> bytes:
    scale = short_side_px / min(rgb.shape[:2])
    picture = np.ascontiguousarray(rgb[..., ::-1])
    if scale < 1:
        size_wh = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
        picture = np.asarray(cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()


def _write(
    pictures: Sequence[ArchiveMember], out: Path, name: str, archive_bytes: float, total_bytes: float
) -> list[Path]:
    """Fill archives `NAME_00.zip`, `NAME_01.zip` and so on, until nothing or no room is left."""
    written: list[Path] = []
    archive: zipfile.ZipFile | None = None
    size = used = 0
    try:
        for picture in pictures:
            # A zip entry has two headers that hold its name: 30 and 46 bytes beside it.
            needed = len(picture.content) + 2 * len(picture.name.encode()) + 80
            if used + needed > total_bytes:
                break
            if archive is None or size + needed > archive_bytes:
                if archive is not None:
                    archive.close()
                written.append(out / f"{name}_{len(written):02d}.zip")
                archive, size = zipfile.ZipFile(written[-1], "w", zipfile.ZIP_STORED), 0
            archive.writestr(zipfile.ZipInfo(picture.name), picture.content)
            size += needed
            used += needed
    finally:
        if archive is not None:
            archive.close()
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack; an error meant for the user is one line on stderr. Returns the exit code."""
    parser = argparse.ArgumentParser("python -m vidfill.train.pack", description=__doc__)
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="as --data of training")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the archives")
    parser.add_argument("--mib", type=float, default=56, help="maximum size of all archives together")
    parser.add_argument("--archive-mib", type=float, default=56, help="maximum size of one archive")
    parser.add_argument("--every", type=int, default=25, help="of a clip, look at one frame in so many")
    parser.add_argument("--short-side", type=int, default=288, help="maximum of pictures, in pixels")
    parser.add_argument("--quality", type=int, default=80, help="of WebP, 1 to 100")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        files = pack(
            given.paths, given.out, total_mib=given.mib, archive_mib=given.archive_mib, every=given.every,
            short_side_px=given.short_side, quality=given.quality,
        )  # fmt: skip
    except VidfillError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    for file in files:
        _log.info("%s, %.1f MiB", file, file.stat().st_size / MIB)
    return 0


if __name__ == "__main__":
    sys.exit(main())
