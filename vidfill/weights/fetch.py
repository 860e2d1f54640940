"""Fetch published checkpoints: only when asked, resumed after a break, checked against a sha256 of our own table."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidfill.errors import OutputError, UsageError, WeightsError
from vidfill.weights import Card, Installed, default_model_dir, file_sha256, register_file

if TYPE_CHECKING:
    import requests

_log = logging.getLogger("vidfill")

N_TRIES = 4
WAIT_S = 1.0
TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 16
"""What a broken transfer loses at most."""
_ANOTHER_ANSWER = "try again; a proxy or a captive portal may have answered in its place"


@dataclass(frozen=True, slots=True)
class Published:
    """A file that its authors publish.

    Attributes:
        name: as `vidfill weights fetch` takes it.
        url: where it is.
        n_bytes: its length.
        sha256: 64 hexadecimal digits.
        licence: of the weights.
        about: what it is for, and what it was trained on.
    """

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


def _sam(name: str, file: str, n_bytes: int, sha256: str) -> Published:
    # The eight digits in the names are the beginning of an MD5, and no check.
    url = f"https://dl.fbaipublicfiles.com/segment_anything/{file}"
    return Published(name, url, n_bytes, sha256, "Apache-2.0 (Meta)", "Segment Anything, trained on SA-1B")


PUBLISHED = (
    _sam(
        "sam_vit_b",
        "sam_vit_b_01ec64.pth",
        375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    _sam(
        "sam_vit_l",
        "sam_vit_l_0b3195.pth",
        1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    _sam(
        "sam_vit_h",
        "sam_vit_h_4b8939.pth",
        2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
)


def published(name: str) -> Published:
    """What is known of a file that can be fetched.

    Raises:
        UsageError: nothing.
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

    What a broken transfer leaves is gone on with, in this call a few times and in the next one. The file has its name
    only once its sha256 is right.

    Args:
        item: what to fetch.
        model_dir: the user's folder of weights; None for the default one.
        offline: use no network: only what is here already.
        progress: called with (bytes here, bytes in all).

    Raises:
        WeightsError: it cannot be fetched, or what came is not the file; or it is not here and `offline`.
        OutputError: the disk has no room for it, or the folder cannot be written.
    """
    folder = model_dir or default_model_dir()
    path = folder / item.file
    card = Card(item.name, item.file, item.sha256, item.n_bytes, recipe=item.url, data=item.about, licence=item.licence)
    if path.is_file() and path.stat().st_size == item.n_bytes and file_sha256(path) == item.sha256:
        return register_file(card, folder)
    if offline:
        raise WeightsError(
            f"{item.name} is not in {folder}",
            todo=f"leave out --offline, or fetch {item.url} elsewhere and put it there",
        )
    _download(item, path, progress or (lambda done, total: None))
    return register_file(card, folder)


def _download(item: Published, path: Path, progress: Callable[[int, int], None]) -> None:
    import pooch
    import requests

    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        n_missing = item.n_bytes - (partial.stat().st_size if partial.exists() else 0)
        if shutil.disk_usage(path.parent).free < n_missing:
            raise OutputError(
                f"{item.name} needs {n_missing / 1e6:.0f} MB in {path.parent}",
                expected="as much free space on the disk",
                todo="free some, or name another folder with --model-dir",
            )
        pooch.get_logger().setLevel(logging.WARNING)
        pooch.retrieve(
            item.url, f"sha256:{item.sha256}", path.name, path.parent, downloader=_Resuming(item, partial, progress)
        )
    except requests.RequestException as error:
        here = partial.stat().st_size if partial.exists() else 0
        raise WeightsError(
            f"{item.url} cannot be fetched ({_in_short(error)}); "
            f"{here / 1e6:.0f} of {item.n_bytes / 1e6:.0f} MB are here",
            todo="run the same command again to go on, or fetch it elsewhere and put it into the folder of weights",
        ) from error
    except ValueError as error:  # pooch's word for a wrong hash
        raise WeightsError(
            f"what came from {item.url} has another sha256",
            expected=item.sha256,
            todo=_ANOTHER_ANSWER,
        ) from error
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error})", todo="free some space, or name another folder"
        ) from error


class _Resuming:
    """A downloader for pooch that goes on where the last one stopped (HTTP range requests)."""

    def __init__(self, item: Published, partial: Path, progress: Callable[[int, int], None]) -> None:
        self._item, self._partial, self._progress = item, partial, progress

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        """Fetch into the partial file, which then takes the place that pooch checks."""
        import requests

        for n_left in reversed(range(N_TRIES)):
            try:
                self._go_on(url)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                if not n_left:
                    raise
                _log.info("the transfer broke (%s), going on", _in_short(error))
                time.sleep(WAIT_S)
        self._partial.replace(output_file)

    def _go_on(self, url: str) -> None:
        import requests

        here = self._partial.stat().st_size if self._partial.exists() else 0
        if here > self._item.n_bytes:
            self._partial.unlink()
            here = 0
        if here == self._item.n_bytes:
            return
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
            answer.raise_for_status()
            is_rest = answer.status_code == requests.codes.partial_content
            self._take(answer, here if is_rest else 0)

    def _take(self, answer: requests.Response, here: int) -> None:
        import requests

        length = answer.headers.get("Content-Length")
        if length is not None and here + int(length) != self._item.n_bytes:
            self._partial.unlink(missing_ok=True)
            raise self._not_the_file(f"{here + int(length)} bytes")
        with self._partial.open("ab" if here else "wb") as file:
            for chunk in answer.iter_content(CHUNK_BYTES):
                here += len(chunk)
                if here > self._item.n_bytes:
                    break
                file.write(chunk)
                self._progress(min(here, self._item.n_bytes), self._item.n_bytes)
        if here < self._item.n_bytes:
            raise requests.ConnectionError(f"the transfer ended after {here} of {self._item.n_bytes} bytes")
        if here > self._item.n_bytes:
            self._partial.unlink()
            raise self._not_the_file(f"more than {self._item.n_bytes} bytes")

    def _not_the_file(self, answer: str) -> WeightsError:
        return WeightsError(
            f"{self._item.url} answers with {answer}", expected=f"{self._item.n_bytes} bytes", todo=_ANOTHER_ANSWER
        )


def _in_short(error: Exception) -> str:
    """The innermost words of an error that libraries have wrapped again and again."""
    while (cause := getattr(error, "reason", None) or (error.args[0] if error.args else None)) is not None:
        if not isinstance(cause, Exception):
            return str(cause)
        error = cause
    return type(error).__name__
