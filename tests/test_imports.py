"""The shape of the package: imports go one way, files and signatures stay small, a class name stands for one thing.

Run as a script, it prints the number of rooms and of imports between them.
"""

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent / "vidfill"
ORDER = [
    *["errors", "settings", "progress", "files", "weights", "video", "align", "masks", "track", "models", "engine"],
    *["compose", "removal", "retarget", "batch", "evaluate", "train", "ui", "cli"],
]
MAX_ROOMS = 26
MAX_ARROWS = 135
MAX_LINES = 400
MAX_PARAMETERS = 8
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}
NODES = [(str(path.relative_to(ROOT)), node) for path, tree in TREES.items() for node in ast.walk(tree)]


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(TREES[path]):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [f"{node.module}.{a.name}" for a in node.names if node.module == "vidfill"]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {n.split(".")[1] for n in names if n.startswith("vidfill.")}
    return found - {"__version__"}


def rooms() -> set[str]:
    """The packages and modules directly under `vidfill`."""
    return {_room(path) for path in TREES}


@cache
def arrows() -> set[tuple[str, str]]:
    """All pairs (importing room, imported room)."""
    return {(_room(path), room) for path in TREES for room in _imported(path) if room != _room(path)}


def test_imports_point_to_earlier_rooms_only() -> None:
    assert rooms() - {"__init__", "__main__"} == set(ORDER)
    between = [arrow for arrow in arrows() if "__init__" not in arrow and "__main__" not in arrow]
    assert [(one, other) for one, other in between if ORDER.index(one) < ORDER.index(other)] == []


def test_the_house_stays_small() -> None:
    assert len(rooms()) <= MAX_ROOMS
    assert len(arrows()) <= MAX_ARROWS


def test_no_file_is_long() -> None:
    assert [path for path in TREES if len(path.read_text(encoding="utf-8").splitlines()) > MAX_LINES] == []


def test_no_function_has_many_parameters() -> None:
    long = []
    for path, node in NODES:
        if isinstance(node, ast.FunctionDef):
            given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            n_parameters = len([argument for argument in given if argument.arg not in ("self", "cls")])
            if n_parameters > MAX_PARAMETERS:
                long.append(f"{path}:{node.lineno} {node.name} has {n_parameters}")
    assert long == []


def test_a_class_name_stands_for_one_thing() -> None:
    places = defaultdict(list)
    for path, node in NODES:
        if isinstance(node, ast.ClassDef):
            places[node.name.lstrip("_")].append(f"{path}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


if __name__ == "__main__":
    print(f"{len(rooms())} rooms, {len(arrows())} arrows")  # noqa: T201
