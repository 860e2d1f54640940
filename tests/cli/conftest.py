"""One small clip with an object, its masks and sound, and a way to run commands on it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from tests.clips import Clip, write_clip, write_images
from tests.engine.models import WINDOW, Chained
from vidfill.batch import run as batch_module
from vidfill.batch import work as work_module
from vidfill.cli import app
from vidfill.removal import run as removal_module

N_FRAMES = 8


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found


Run = Callable[..., Outcome]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("clip")
    clip = write_clip(folder / "in.mp4", n=N_FRAMES, with_object=True, audio_tracks=1)
    write_images(folder / "masks", clip.masks)
    return clip


@pytest.fixture
def clip(prepared: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clip:
    """The clip as in.mp4 and its masks as masks/ in the working folder."""
    for name in ("in.mp4", "masks"):
        (tmp_path / name).symlink_to(prepared.path.parent / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIDFILL_MODEL_DIR", str(tmp_path / "models"))
    return prepared


@pytest.fixture
def chained(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of any model: one that remembers, and says that a quarter of its fill is invented."""
    for user in (removal_module, work_module, batch_module):
        monkeypatch.setattr(user, "load_model", lambda name, **options: Chained(WINDOW))


@pytest.fixture
def run() -> Run:
    def command(*words: object) -> Outcome:
        result = CliRunner().invoke(app, [str(word) for word in words])
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return command
