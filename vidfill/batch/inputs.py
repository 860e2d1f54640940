"""From the inputs that the user names (files, folders, globs) to one job per video: source, mask, output."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vidfill.errors import InputError, UsageError

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mxf", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob")
    + (".wmv", ".flv", ".f4v", ".ogv", ".3gp", ".3g2", ".y4m", ".gif")
)
"""What counts as a video in a folder; a file that is named itself may have any suffix."""
FIELDS = ("stem", "ext", "name", "parent")


@dataclass(frozen=True, slots=True)
class BatchJob:
    """One video of a batch.

    Attributes:
        source: a video, or a folder of images.
        name: of the output, relative to the folder of outputs; also the job's name.
        mask: where its mask is expected, "alpha", or None if the settings say what to remove.
        makes_folder: whether the output is a folder of PNG files.
    """

    source: Path
    name: str
    mask: str | None
    makes_folder: bool


@dataclass(frozen=True, slots=True)
class Shard:
    """The `index`-th (from 1) of `count` parts of a batch."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "I/N".

        Raises:
            UsageError: anything else, or an index outside 1 to N.
        """
        numbers = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if numbers is None or not 1 <= int(numbers[1]) <= int(numbers[2]):
            raise UsageError(f"shard {text!r}", expected="I/N, from 1/N to N/N", todo="write for example 1/8")
        return cls(int(numbers[1]), int(numbers[2]))

    def holds(self, job: BatchJob) -> bool:
        """Whether a job belongs to this shard; depends on its name alone, so that all machines agree."""
        return int.from_bytes(hashlib.sha256(os.fsencode(job.name)).digest()[:8]) % self.count == self.index - 1


def find_jobs(
    inputs: Sequence[Path | str],
    out: Path,
    *,
    name: str = "{stem}_filled{ext}",
    mask_pattern: str | None = None,
    fps: Fraction | None = None,
) -> list[BatchJob]:
    """The jobs of a batch, in the order of the inputs.

    An input that is the mask or the output of another one is left out, so all may be in one folder. A link is a video
    of its own, unless it would give the same output as its target.

    Args:
        inputs: videos; folders, whose videos are taken (with `fps`, a folder without videos is one of images); globs,
            with `**` for any depth.
        out: the folder of outputs.
        name: of an output, with {stem}, {ext}, {name} and {parent} of its source; may name a folder within `out`.
        mask_pattern: the mask of a source, with the same fields; relative to the source's folder.
        fps: frame rate of folders of images.

    Raises:
        UsageError: nothing found, an unknown field, two sources for one output, or an output that is a source.
        InputError: a file does not exist.
    """
    sources, bare = _expand(inputs, takes_images=fps is not None)
    distinct: dict[tuple[str, str], BatchJob] = {}  # by the real file and the output
    for source in sources:
        job = _job(source, name, mask_pattern)
        distinct.setdefault((_key(source), job.name), job)
    jobs = list(distinct.values())
    masks = {_key(Path(job.mask)) for job in jobs if job.mask is not None}
    outputs = {_key(out / job.name) for job in jobs if _key(out / job.name) != _key(job.source)}
    for folder in bare:
        if _key(folder) not in masks:
            raise UsageError(
                f"no videos in the folder {folder}",
                expected=f"files such as {', '.join(sorted(VIDEO_SUFFIXES)[:4])}",
                todo="name the files, or give --fps for folders of images",
            )
    taken = [job for job in jobs if _key(job.source) not in masks | outputs]
    if not taken:
        raise UsageError("nothing but masks and outputs among the inputs", expected="videos")
    _check_names(taken, out)
    return taken


def _expand(inputs: Sequence[Path | str], *, takes_images: bool) -> tuple[list[Path], list[Path]]:
    """The sources, and the folders without any."""
    sources: list[Path] = []
    bare: list[Path] = []
    for text in inputs:
        try:
            for match in _matches(text):
                is_folder = match.is_dir() and (match == Path(text) or match.suffix.lower() not in VIDEO_SUFFIXES)
                found = _inside(match, takes_images=takes_images) if is_folder else [match]
                sources += found
                if not found:
                    bare.append(match)
        except OSError as error:
            raise InputError(f"cannot read {text} ({error.strerror})") from error
    if not sources and not bare:
        raise UsageError("no inputs", expected="videos, folders or globs")
    return sources, bare


def _matches(text: Path | str) -> list[Path]:
    if not str(text):  # an unset shell variable, say; as a path it would be the current folder
        raise InputError("an empty name among the inputs", expected="videos, folders or globs")
    if Path(text).exists():
        return [Path(text)]
    if not glob.has_magic(str(text)):
        raise InputError(f"no file {text}", todo="check the name")
    matches = sorted(glob.glob(str(text), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
    if not matches:
        raise UsageError(f"nothing matches {text}", todo="check the pattern")
    return [Path(match) for match in matches]


def _inside(folder: Path, *, takes_images: bool) -> list[Path]:
    """The videos of a folder; if it has none, the folder itself if it may be one of images."""
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))  # macOS writes ._a.mp4
    videos = sorted(path for path in visible if path.suffix.lower() in VIDEO_SUFFIXES)
    if videos:
        return videos
    return [folder] if takes_images else []


def _job(source: Path, name: str, mask_pattern: str | None) -> BatchJob:
    is_folder = source.is_dir()
    fields = {
        "stem": source.name if is_folder else source.stem,
        "ext": "" if is_folder else source.suffix,
        "name": source.name,
        "parent": source.absolute().parent.name,
    }
    output = Path(_filled_in(name, fields))
    if output.is_absolute() or ".." in output.parts or not output.name:
        raise UsageError(f"the name {name!r}", expected="one inside the folder of outputs", todo="leave out / and ..")
    mask = None
    if mask_pattern is not None:
        mask = mask_pattern if mask_pattern == "alpha" else str(source.parent / _filled_in(mask_pattern, fields))
    return BatchJob(source, output.as_posix(), mask, makes_folder=is_folder and name.endswith("{ext}"))


def _filled_in(pattern: str, fields: Mapping[str, str]) -> str:
    try:
        return pattern.format_map(fields)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        known = ", ".join(f"{{{field}}}" for field in FIELDS)
        raise UsageError(f"the pattern {pattern!r}", expected=f"the fields {known}") from error


def _check_names(jobs: Sequence[BatchJob], out: Path) -> None:
    sources = {_key(job.source): job.source for job in jobs}
    makers: dict[str, BatchJob] = {}
    for job in jobs:
        key = _key(out / job.name)
        if key in sources:
            raise UsageError(
                f"the output {job.name} of {job.source} would replace {sources[key]}",
                todo="give another --out or --name",
            )
        other = makers.setdefault(key, job)
        if other is not job:
            raise UsageError(
                f"{other.source} and {job.source} would both become {job.name}",
                todo="tell them apart by --name, for example '{parent}_{stem}_filled{ext}'",
            )


def _key(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))  # Path.resolve raises on circular links
