"""What only a process of its own shows: imports, signals, pipes, terminals."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import Clip, write_clip
from vidfill import __version__

COMMAND = [sys.executable, "-m", "vidfill"]
MASKED = [*COMMAND, "remove", "in.mp4", "--mask", "masks", "-o", "out.mp4"]
# Runs the command line and then names the heavy packages that it imported on the way.
HEAVY = """
import sys
from vidfill.__main__ import main
sys.argv[1:] = {words}
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print([name for name in ("torch", "cv2", "av", "numpy", "scenedetect") if name in sys.modules])
"""


@pytest.mark.parametrize("words", [["--help"], ["remove", "--help"], ["preview", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", HEAVY.format(words=words)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version() -> None:
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"vidfill {__version__}\n"


@pytest.mark.parametrize(("number", "code", "says"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_signals_leave_no_output(number: signal.Signals, code: int, says: str, clip: Clip) -> None:
    write_clip(Path("long.mp4"), n=90)  # long enough to be still at work when the signal comes
    words = ["remove", "long.mp4", "--box", "10,10,20,16", "-o", "out.mp4", "--progress", "json"]
    with subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        first = next(line for line in running.stderr if '"fill"' in line)
        running.send_signal(number)
        rest = running.stderr.read()
    assert running.returncode == code, first + rest
    assert f"error: stopped by {says}" in rest
    assert "--resume" in rest
    assert "Traceback" not in rest
    assert not [path for path in Path.cwd().iterdir() if path.name.startswith("out.mp4")]


def test_closed_pipe_is_no_error(clip: Clip) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run([*COMMAND, "info", "in.mp4"], stdout=gone, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("words", [["info", "in.mp4"], ["info", "in.mp4", "--json"], ["--help"]])
def test_stdout_that_cannot_be_written(words: list[str], clip: Clip) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 5
    assert done.stderr.startswith("error: standard output cannot be written (No space left on device)")
    assert done.stderr.count("\n") == 1


def _on_a_terminal(command: list[str], environment: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stderr=theirs, stdout=theirs, env=os.environ | environment) as running:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says so when the other side is closed
                break
            if not piece:
                break
            shown += piece
    os.close(ours)
    assert running.returncode == 0, shown
    return shown.decode()


def test_bars_on_a_terminal(clip: Clip) -> None:
    shown = _on_a_terminal(MASKED, {"TERM": "xterm-256color", "COLUMNS": "90"})
    bars, summary = shown.rsplit("\x1b[?25h", 1)  # the cursor is shown again when the bars are done
    assert "8/8" in bars
    assert "wrote out.mp4" in summary
    assert "\x1b[9" in bars or "\x1b[3" in bars


def test_no_color_is_obeyed(clip: Clip) -> None:
    shown = _on_a_terminal(MASKED, {"TERM": "xterm-256color", "COLUMNS": "90", "NO_COLOR": "1"})
    assert not any(f"\x1b[{code}" in shown for code in ("31m", "32m", "33m", "35m", "38;", "90m"))
