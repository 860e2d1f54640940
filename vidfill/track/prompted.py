"""From prompts to a file of masks, with warnings for the user."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vidfill.errors import InputError, MaskError, OutputError
from vidfill.masks.boxes import TimeRange
from vidfill.masks.prompt import Prompting
from vidfill.track.clip import track
from vidfill.track.result import Track
from vidfill.track.tools import open_tools
from vidfill.video.frame import VideoInfo
from vidfill.video.index import SourceIndex
from vidfill.video.read import Reader

_log = logging.getLogger("vidfill")


class Where(NamedTuple):
    """Where networks run and where their weights are."""

    device: str = "cpu"  # torch's name: "cpu", "cuda:0", "mps"
    model_dir: Path | None = None  # None for the default one


def track_prompted(
    reader: Reader,
    prompting: Prompting,
    store: Path,
    where: Where,
    *,
    when: TimeRange | None = None,
    key: str = "",
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SourceIndex | None:
    """Track what the prompts are about and leave the masks in a file.

    Args:
        reader: the source.
        prompting: what is meant, and how it is followed.
        store: the file; its folder is made if it is not there.
        where: device and folder of weights.
        when: frames outside are of no interest; None for all.
        key: everything else that the masks depend on, as text.
        resume: keep the file if it is whole and that of the same key and prompts.
        progress: called with (frames done, frames in all).

    Returns:
        The source's index; None where the file was kept, and the source not read.

    Raises:
        MaskError: an object is lost, and that is not allowed; no file is left.
        VidfillError: of the kind that says what is wrong.
    """
    key = f"{key} {prompting.fingerprint()}"
    index: SourceIndex | None = None
    if not (resume and _is_finished(store, key, reader.info)):
        tools = open_tools(prompting.tracker, whole=prompting.whole, device=where.device, model_dir=where.model_dir)
        try:
            store.parent.mkdir(exist_ok=True)
            found, index = track(
                reader, prompting.prompts, tools, store, when=when, shadow=prompting.shadow, key=key, progress=progress
            )
            found.close()
        except OSError as error:
            raise OutputError(
                f"masks cannot be stored in {store.parent} ({error.strerror})", todo="free some space on the disk"
            ) from error
    try:
        with Track.open(store, reader.info) as found:
            if not prompting.allow_lost:
                found.check()
    except MaskError:
        store.unlink()
        raise
    for left in found.left:
        _log.warning(
            f"object {left.object_id} has left the picture at {left.time_s:.2f} s (frame #{left.start}); "
            "if it comes back, click on it there as well"
        )
    for lost in found.lost:
        _log.warning(f"{lost.describe()}; nothing of it is in the masks there")
    return index


def _is_finished(store: Path, key: str, info: VideoInfo) -> bool:
    try:
        with Track.open(store, info) as found:
            return found.key == key
    except (InputError, OSError):
        return False
