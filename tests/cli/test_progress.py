import io
import json

from rich.console import Console

from vidfill.cli.progress import Bars, Lines, Pace, ProgressMode, Silent, json_line, make_reporter, plain_line
from vidfill.progress import Progress


class Clock:
    """Seconds that pass when told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_pace_ignores_resumed_frames() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.fps(Progress("fill", 300, 400)) is None
    clock.now_s += 10
    step = Progress("fill", 320, 400)
    assert pace.fps(step) == 2.0
    assert pace.eta_s(step) == 40.0


def test_without_a_total_there_is_no_time_left() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.fps(Progress("analyse", 0, 0))
    clock.now_s += 1
    assert pace.eta_s(Progress("analyse", 5, 0)) is None
    assert plain_line(Progress("analyse", 5, 0), 5.0, None) == "analyse 5/? frames, 5.0 fps"


def test_lines_at_intervals() -> None:
    clock = Clock()
    written: list[str] = []
    lines = Lines(written.append, plain_line, every_s=5, clock=clock)
    for done in range(1, 25):
        lines(Progress("fill", done, 24))
        clock.now_s += 1
    lines(Progress("fill", 24, 24))
    assert [line.split()[1] for line in written] == ["1/24", "6/24", "11/24", "16/24", "21/24", "24/24"]
    assert written[1] == "fill 6/24 frames, 1.0 fps, 0:18 left"


def test_parallel_stages_share_lines() -> None:
    clock = Clock()
    written: list[str] = []
    lines = Lines(written.append, plain_line, every_s=5, clock=clock)
    for done in range(1, 12):
        lines(Progress("fill", done, 12))
        lines(Progress("assemble", done, 12))
        clock.now_s += 1
    assert [line.split(" frames")[0] for line in written] == ["fill 1/12", "assemble 1/12", "fill 6/12", "fill 11/12"]


def test_json_lines_have_null_for_unknown() -> None:
    assert json.loads(json_line(Progress("fill", 0, 0), None, None)) == {
        "event": "progress",
        "stage": "fill",
        "done": 0,
        "total": None,
        "fps": None,
        "eta_s": None,
    }


def test_hours_are_shown_as_such() -> None:
    assert plain_line(Progress("fill", 1, 9), 0.001, 3725.0).endswith("1:02:05 left")


def test_auto_is_a_bar_on_a_terminal_only() -> None:
    terminal, file = Console(file=io.StringIO(), force_terminal=True), Console(file=io.StringIO())
    assert isinstance(make_reporter(ProgressMode.auto, terminal), Bars)
    assert isinstance(make_reporter(ProgressMode.auto, file), Lines)
    assert isinstance(make_reporter(ProgressMode.none, terminal), Silent)


def test_bars() -> None:
    clock, out = Clock(), io.StringIO()
    bars = Bars(Console(file=out, force_terminal=True, width=80), clock=clock)
    bars(Progress("analyse", 0, 0))
    bars(Progress("fill", 1, 40))
    clock.now_s += 4
    bars(Progress("fill", 21, 40))
    bars.close()
    analyse, last = out.getvalue().splitlines()[-3:-1]
    assert "0/?" in analyse
    assert "21/40" in last
    assert "5.0 fps" in last
    assert "0:04 left" in last
