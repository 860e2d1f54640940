"""Fetching published checkpoints: only when asked, resumed after a break, checked against the sha256 known here."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vidfill.errors import OutputError, UsageError, WeightsError
from vidfill.weights.files import file_sha256
from vidfill.weights.manifest import Card, Installed, default_model_dir, register_file

_log = logging.getLogger("vidfill")

N_TRIES = 4
WAIT_S = 1.0
TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 16
"""The most that a broken transfer loses."""


@dataclass(frozen=True, slots=True)
class Published:
    """A file that its authors publish; `about` says what it is for and what it was trained on."""

    name: str
    url: str
    n_bytes: int
    sha256: str
    licence: str
    about: str

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.url.rpartition("/")[2]

    def describe(self) -> str:
        """Size, source and licence, in one line."""
        return f"{self.name}: {self.n_bytes / 1e6:.0f} MB from {self.url}, {self.licence}; {self.about}"


def _sam(size: str, digits: str, n_bytes: int, sha256: str) -> Published:
    url = f"https://dl.fbaipublicfiles.com/segment_anything/sam_vit_{size}_{digits}.pth"
    about = "Segment Anything, trained on SA-1B"
    return Published(f"sam_vit_{size}", url, n_bytes, sha256, "Apache-2.0 (Meta)", about)


PUBLISHED = (
    _sam("b", "01ec64", 375_042_383, "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
    _sam("l", "0b3195", 1_249_524_607, "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
    _sam("h", "4b8939", 2_564_550_879, "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
)


def published(name: str) -> Published:
    """The file of a name that can be fetched.

    Raises:
        UsageError: there is none.
    """
    for item in PUBLISHED:
        if item.name == name:
            return item
    raise UsageError(f"nothing called {name!r} to fetch", expected=", ".join(item.name for item in PUBLISHED))


def fetch(
    item: Published,
    *,
    model_dir: Path | None = None,
    offline: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Installed:
    """Bring a published file into the user's folder of weights and its manifest.

    A broken transfer is resumed, in this call a few times and in the next one. The file has its name only once its
    sha256 is right. `offline` uses only what is here already; `progress` is called with (bytes here, bytes in all).

    Raises:
        WeightsError: it cannot be fetched, or what came is not the file; or it is not here and `offline`.
        OutputError: the disk has no room for it, or the folder cannot be written.
    """
    folder = model_dir or default_model_dir()
    path = folder / item.file
    if not path.is_file() or path.stat().st_size != item.n_bytes or file_sha256(path) != item.sha256:
        if offline:
            raise WeightsError(
                f"{item.name} is not in {folder}",
                todo=f"leave out --offline, or fetch {item.url} elsewhere and put it there",
            )
        _download(item, path, progress or (lambda done, total: None))
    card = Card(item.name, item.file, item.sha256, item.n_bytes, recipe=item.url, data=item.about, licence=item.licence)
    return register_file(card, folder)


def _download(item: Published, path: Path, progress: Callable[[int, int], None]) -> None:
    import requests

    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        n_missing = item.n_bytes - _size(partial)
        if shutil.disk_usage(path.parent).free < n_missing:
            raise OutputError(
                f"{item.name} needs {n_missing / 1e6:.0f} MB in {path.parent}",
                expected="as much free space on the disk",
                todo="free some, or name another folder with --model-dir",
            )
        for n_left in reversed(range(N_TRIES)):
            try:
                _resume(item, partial, progress)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                if not n_left:
                    raise
                _log.info("the transfer broke (%s) and is resumed", _innermost(error))
                time.sleep(WAIT_S)
        if (found := file_sha256(partial)) != item.sha256:
            raise _not_the_file(item, partial, f"a file of sha256 {found}", item.sha256)
        partial.replace(path)
    except requests.RequestException as error:
        raise WeightsError(
            f"{item.url} cannot be fetched ({_innermost(error)}); "
            f"{_size(partial) / 1e6:.0f} of {item.n_bytes / 1e6:.0f} MB are here",
            todo="run the same command again to go on, or fetch it elsewhere and put it into the folder of weights",
        ) from error
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error})", todo="free some space, or name another folder"
        ) from error


def _resume(item: Published, partial: Path, progress: Callable[[int, int], None]) -> None:
    """Fetch what is missing of a file, all of it where the server knows no ranges."""
    import requests

    here = _size(partial)
    if here == item.n_bytes:
        return
    if here > item.n_bytes:
        partial.unlink()
        here = 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
    with requests.get(item.url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            here = 0
        n_bytes = here + int(answer.headers.get("Content-Length", item.n_bytes - here))
        if n_bytes != item.n_bytes:
            raise _not_the_file(item, partial, f"{n_bytes} bytes", f"{item.n_bytes} bytes")
        with partial.open("ab" if here else "wb") as file:
            for chunk in answer.iter_content(CHUNK_BYTES):
                here += file.write(chunk)
                if here > item.n_bytes:
                    break
                progress(here, item.n_bytes)
    if here > item.n_bytes:
        raise _not_the_file(item, partial, f"more than {item.n_bytes} bytes", f"{item.n_bytes} bytes")
    if here < item.n_bytes:
        raise requests.ConnectionError(f"the transfer ended after {here} of {item.n_bytes} bytes")


def _not_the_file(item: Published, partial: Path, found: str, expected: str) -> WeightsError:
    partial.unlink(missing_ok=True)
    return WeightsError(
        f"{item.url} answers with {found}",
        expected=expected,
        todo="try again; a proxy or a captive portal may have answered in its place",
    )


def _size(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _innermost(error: Exception) -> str:
    """The message of the innermost of the errors that libraries have wrapped in one another."""
    cause = getattr(error, "reason", None) or (error.args[0] if error.args else type(error).__name__)
    return _innermost(cause) if isinstance(cause, Exception) else str(cause)
