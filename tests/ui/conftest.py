"""A small clip, the project of its page, and a server that runs while a test asks it things."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.clips import Clip, write_clip
from vidfill.settings.commands import UiSettings
from vidfill.ui.project import Project
from vidfill.ui.server import listening, make_server

N_FRAMES = 10


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Page:
    """Asks a server, with its token and Host unless told otherwise."""

    def __init__(self, project: Project, address: str) -> None:
        self.project = project
        self.address = address
        parts = urlsplit(address)
        self.host, self.prefix = parts.netloc, parts.path

    def ask(
        self,
        method: str,
        path: str,
        content: object = None,
        *,
        prefix: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request."""
        body = content if isinstance(content, bytes) else None if content is None else json.dumps(content).encode()
        connection = http.client.HTTPConnection(self.host)
        try:
            sent = {"Host": self.host, "Content-Type": "application/json", "Connection": "close", **(headers or {})}
            connection.request(method, (self.prefix if prefix is None else prefix) + path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """What a GET gives as JSON."""
        return self.ask("GET", path).json

    def wait(self) -> dict[str, Any]:
        """Wait for the job that runs; what there is to say of it."""
        while (job := self.get("api/state")["job"])["state"] == "running":
            time.sleep(0.02)
        return dict(job)

    def do(self, path: str, content: object = None) -> dict[str, Any]:
        """Start a job, and wait until it is done."""
        answer = self.ask("POST", path, content)
        assert answer.status == 202, answer.body
        job = self.wait()
        assert (job["state"], job["error"]) == ("done", None)
        return job


@contextmanager
def serving(project: Project) -> Iterator[Page]:
    """Serve a project from a thread; the source is read."""
    with listening(0) as listener:
        server, address = make_server(project, listener)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            project.open()
            project.jobs.wait()
            yield Page(project, address)
        finally:
            server.should_exit = True
            thread.join()
            project.close()


@pytest.fixture(scope="package")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A disc that crosses a moving texture, with sound."""
    folder = tmp_path_factory.mktemp("ui")
    return write_clip(folder / "in.mp4", n=N_FRAMES, size=(72, 112), with_object=True, audio_tracks=1)


def _project_in(folder: Path, clip: Clip) -> Project:
    (folder / "in.mp4").symlink_to(clip.path)
    return Project(folder / "in.mp4", folder / "out.mp4", UiSettings())


@pytest.fixture(scope="package")
def untouched(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page without prompts, for tests that add none."""
    with serving(_project_in(tmp_path_factory.mktemp("untouched"), clip)) as page:
        yield page


@pytest.fixture
def page(clip: Clip, tmp_path: Path) -> Iterator[Page]:
    """A page without prompts, of the clip as in.mp4 in a folder that is empty otherwise."""
    with serving(_project_in(tmp_path, clip)) as page:
        yield page


def prompts_of(*entries: dict[str, Any], object_id: int = 1) -> dict[str, Any]:
    """The JSON of prompts for one object."""
    return {"schema_version": 1, "objects": [{"id": object_id, "prompts": list(entries)}]}


def box_around(clip: Clip, index: int) -> dict[str, Any]:
    """A box round the object, drawn a little generously."""
    rows, columns = np.nonzero(clip.masks[index])
    box = [int(columns.min()) - 2, int(rows.min()) - 2, int(columns.max()) + 3, int(rows.max()) + 3]
    return {"time": f"#{index}", "box": box}
