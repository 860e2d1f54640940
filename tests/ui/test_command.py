"""`vidfill ui` as a command: what it prints, refuses and leaves."""

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.clips import Clip
from tests.ui.conftest import box_around, prompts_of
from vidfill.cli import app
from vidfill.settings.commands import UiSettings
from vidfill.ui.shell import removal_command

README = Path(__file__).parent.parent.parent / "README.md"


@pytest.fixture
def folder(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in.mp4").symlink_to(clip.path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _ask(method: str, url: str, content: object = None) -> dict[str, Any]:
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as answer:
        return dict(json.load(answer))


def test_ctrl_c_during_a_removal_keeps_the_prompts(folder: Path, clip: Clip) -> None:
    found = re.search(r"^\$ vidfill (ui .*)$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    command = [sys.executable, "-m", "vidfill", *shlex.split(found[1]), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        address = running.stdout.readline().strip()
        try:
            assert address.startswith("http://127.0.0.1:")
            _wait(address)
            _ask("PUT", address + "api/prompts", prompts_of(box_around(clip, 0)))
            _ask("POST", address + "api/track", {})
            _wait(address)
            _ask("POST", address + "api/remove", {})
        finally:
            running.send_signal(signal.SIGINT)
        said = running.stderr.read()
    assert running.returncode == 130, said
    assert "error: stopped by Ctrl-C. The same command opens the prompts again" in said
    assert "Traceback" not in said
    assert sorted(path.name for path in folder.iterdir()) == ["in.mp4", "in.prompts.json"]


def _wait(address: str) -> None:
    while _ask("GET", address + "api/state")["job"]["state"] == "running":
        time.sleep(0.05)


def test_taken_port(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        outcome = CliRunner().invoke(app, ["ui", "in.mp4", "--no-browser", "--port", str(port)])
    assert outcome.exit_code == 2
    assert f"port {port} cannot be had" in outcome.stderr
    assert [path.name for path in folder.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_missing_extra_says_how_to_install(package: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    outcome = CliRunner().invoke(app, ["ui", "in.mp4"])
    assert outcome.exit_code == 2
    assert "pip install 'vidfill[ui]'" in outcome.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["no.mp4"], 3, "no.mp4"),
        (["in.mp4", "-o", "there.mp4"], 5, "there.mp4 exists"),
        (["in.mp4", "-o", "in.mp4", "-y"], 5, "in.mp4"),
        (["in.mp4", "--prompts", "broken.json"], 2, "cannot be used"),
        (["in.mp4", "--prompts", "outside.json"], 4, "outside the picture"),
        (["in.mp4", "--model", "none"], 2, "none"),
        (["in.mp4", "--tracker", "none"], 2, "none"),
        (["in.mp4", "--fps", "25"], 2, "frame rate"),
    ],
)
def test_invalid_arguments(words: list[str], code: int, says: str, folder: Path) -> None:
    (folder / "there.mp4").write_text("something of the user's")
    (folder / "broken.json").write_text("{")
    (folder / "outside.json").write_text(json.dumps(prompts_of({"time": 0, "points": [[999, 5]]})))
    before = sorted(path.name for path in folder.iterdir())
    outcome = CliRunner().invoke(app, ["ui", *words, "--no-browser"])
    assert (outcome.exit_code, says in outcome.stderr) == (code, True), outcome.stderr
    assert sorted(path.name for path in folder.iterdir()) == before


def test_shell_command_has_all_options() -> None:
    plain = removal_command(Path("in.mp4"), "out.mp4", Path("a b.json"), UiSettings())
    assert plain == "vidfill remove in.mp4 --prompts 'a b.json' -o out.mp4"
    settings = UiSettings(
        fps=Fraction(30000, 1001),
        tracker="flow",
        whole=False,
        grow_px=0,
        shadow=True,
        model="opn",
        model_dir=Path("m"),
        device="cuda:1",
        encoder_options={"tune": "film", "bf": "2"},
        grain=False,
        overwrite=True,
    )
    words = removal_command(Path("frames"), "out/", Path("p.json"), settings)
    shown = CliRunner().invoke(app, ["remove", "--help"], env={"COLUMNS": "200"}).stdout
    assert words.startswith("vidfill remove frames --prompts p.json -o out/ -")
    options = shlex.split(words.partition("-o out/ ")[2])
    assert " ".join(options) == (
        "--model opn --device cuda:1 --model-dir m --encoder-option tune=film --encoder-option bf=2 --no-grain "
        "--fps 30000/1001 --tracker flow --part --grow 0"
    )
    assert all(word in shown for word in options if word.startswith("--"))
