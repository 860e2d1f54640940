"""A new setting is one line: it reaches the library, the command line, batch and the page."""

import inspect
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import vidfill
from tests.clips import write_clip
from vidfill.errors import UsageError
from vidfill.settings import EngineSettings, MaskSettings, RemoveSettings
from vidfill.settings.commands import PreviewSettings, RetargetSettings
from vidfill.settings.define import Settings, converted, settings_of

# What a developer would write, in front of an existing setting; everything else of the program stays as it is.
BEFORE = "    grain: bool = setting("
NEW = '    sparkle: int = setting(3, "Add stars.", panel=OUTPUT, unit="N", min=0)\n'

# Runs in a process of its own, whose `vidfill.settings` has the new line; prints what became of it.
CHILD = """
import importlib.util, inspect, json, sys
from pathlib import Path
from typer.testing import CliRunner

source, output, new, before = sys.argv[1:]
spec = importlib.util.find_spec("vidfill.settings")
text = Path(spec.origin).read_text()
assert text.count(before) == 1
module = importlib.util.module_from_spec(spec)
sys.modules["vidfill.settings"] = module
exec(compile(text.replace(before, new + before), spec.origin, "exec"), module.__dict__)

import vidfill
from vidfill.batch import work
import vidfill.removal.run as removal
import vidfill.ui.server as server
from vidfill.cli import app
from vidfill.errors import UsageError
from vidfill.ui.shell import removal_command

handed = []

def remember(source, output, arguments):
    handed.append(arguments.sparkle)
    raise UsageError("no removal")

removal.run_removal = work.run_removal = remember
found = {}

def run(*words):
    return CliRunner().invoke(app, words)

def error_of(function, *args, **options):
    try:
        function(*args, **options)
    except UsageError as error:
        return str(error)

for function in (vidfill.remove, vidfill.retarget):
    found[function.__name__] = inspect.signature(function).parameters["sparkle"].default, function.__doc__
found["out of range"] = error_of(vidfill.remove, source, output, sparkle=-1)

for command in ("remove", "retarget", "batch", "ui"):
    found[f"{command} --help"] = " ".join(run(command, "--help").stdout.replace("\u2502", " ").split())
words = "remove", source, "--box", "1,1,9,9", "-o", output
found["codes"] = [run(*words, *more).exit_code for more in (["--sparkle", "-1"], ["--sparkle", "7"], [])]
found["handed by the command"] = handed.copy()
handed.clear()

box = {"box": ["1,1,9,9"]}
folder = Path(output).parent
part = work.JobPart(
    "a", "whole", Path(source), output, folder / "w", (folder / "b.jpg", folder / "a.jpg"),
    module.RemovalSettings(sparkle=7, **box), False
)
work.PartWorker().do(part, lambda step: None)
found["handed by batch"] = handed
found["batch"] = [error_of(vidfill.batch, source, folder, settings=box | wrong)
                  for wrong in ({"sparkle": -1}, {"sparkel": 7})]

server.serve = lambda project, **options: found.update(
    page=project.settings.sparkle,
    line=removal_command(Path(source), output, Path("in.prompts.json"), project.settings)
)
run("ui", source, "-o", output, "--sparkle", "7", "--no-browser")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("sparkle")
    words = [str(write_clip(folder / "in.mp4", n=2).path), str(folder / "out.mp4"), NEW, BEFORE]
    child = subprocess.run([sys.executable, "-c", CHILD, *words], check=True, stdout=subprocess.PIPE)
    result: dict[str, Any] = json.loads(child.stdout)
    return result


def test_new_setting_in_the_library(found: dict[str, Any]) -> None:
    for function in ("remove", "retarget"):
        default, doc = found[function]
        assert default == 3
        assert "\n    sparkle: Add stars. (N, 0 or more)\n" in doc
    assert found["out of range"] == "--sparkle -1; expected 0 or more"


def test_new_setting_on_the_command_line(found: dict[str, Any]) -> None:
    for command in ("remove", "retarget", "batch", "ui"):
        assert "--sparkle N [x>=0] Add stars. [default: 3]" in found[f"{command} --help"]
    assert found["codes"][0] == 2
    assert found["handed by the command"] == [7, 3]


def test_new_setting_in_batch(found: dict[str, Any]) -> None:
    assert found["handed by batch"] == [7]
    assert found["batch"][0] == "--sparkle -1; expected 0 or more"
    assert "no setting 'sparkel'" in found["batch"][1] and "sparkle" in found["batch"][1]


def test_new_setting_on_the_page(found: dict[str, Any]) -> None:
    assert found["page"] == 7
    assert "--sparkle 7" in found["line"]


def test_settings_import_nothing_heavy() -> None:
    code = "import sys, vidfill.settings.commands; assert not {'numpy', 'torch', 'cv2', 'av'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_flat_functions_document_every_argument() -> None:
    for function in (vidfill.remove, vidfill.retarget, vidfill.write_masks):
        named = [name for name, each in inspect.signature(function).parameters.items()]
        assert named[:2] == ["source", "output"]
        assert all(f"\n    {name}: " in (function.__doc__ or "") for name in named)


@pytest.mark.parametrize(
    ("group", "wrong", "message"),
    [
        (RemoveSettings, {"dilate": -1}, "--dilate -1; expected 0 or more"),
        (EngineSettings, {"threads": 513}, "--threads 513; expected 0 to 512"),
        (PreviewSettings, {"layout": "tiled"}, "--layout tiled; expected one of overlay, side-by-side"),
        (PreviewSettings, {"n_cells": 0}, "--cells 0; expected 1 or more"),
    ],
)
def test_values_out_of_range(group: type[Settings], wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        group(**wrong)


def test_converted_keeps_what_both_have() -> None:
    settings = RemoveSettings(mask="alpha", device="cpu", start="2")
    assert converted(MaskSettings, settings, start=None) == MaskSettings(mask="alpha")
    assert converted(RemoveSettings, EngineSettings(device="cpu")) == RemoveSettings(device="cpu")


def test_flags() -> None:
    known = settings_of(RemoveSettings)
    assert known["mask"].flags == ("--mask", "-m")
    assert known["work_dir"].flags == ("--work-dir",)
    assert known["grain"].flags == ("--grain/--no-grain",)


@pytest.mark.parametrize(
    ("name", "value"),
    [("dilate", np.int64(-3)), ("dilate", "3"), ("dilate", 2.5), ("threads", True), ("crf", "20"), ("codec", None)]
    + [("box", "1,1,9,9"), ("box", [(1, 1, 9, 9)]), ("start", 0.5), ("mask", np.zeros((2, 2))), ("working_size", 99)]
    + [("preset", 3), ("progress", 3)],
)
def test_values_of_another_type_or_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} ") as raised:
        vidfill.remove("in.mp4", "out.mp4", **{name: value})
    assert "\n" not in str(raised.value) and raised.value.__cause__ is None


def test_a_number_that_is_none_is_out_of_range() -> None:
    with pytest.raises(UsageError, match=r"--object-scale nan; expected 0.1 to 10"):
        vidfill.retarget("in.mp4", "out.mp4", width=64, object_scale=float("nan"))


def test_values_become_plain() -> None:
    given: dict[str, Any] = {"dilate": np.int64(3), "crf": np.float32(20), "box": (box for box in ["1,1,9,9"])}
    settings = RemoveSettings(**given)
    assert (type(settings.dilate), type(settings.crf), settings.box) == (int, float, ("1,1,9,9",))
    halved: Any = 1920 / 2
    assert repr(RetargetSettings(width=halved).width) == "960"


def test_calls_that_fit_no_signature() -> None:
    remove: Any = vidfill.remove
    with pytest.raises(TypeError, match="unexpected keyword argument 'nope'") as wrong:
        remove("in.mp4", "out.mp4", nope=1)
    with pytest.raises(TypeError, match="missing a required argument: 'output'"):
        remove("in.mp4")
    with pytest.raises(TypeError, match="too many positional arguments"):
        remove("in.mp4", "out.mp4", "masks")
    assert "Arguments" not in str(wrong.value)
