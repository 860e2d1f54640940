"""Imports go one way only, so that a stage can be read, tested and replaced without the ones after it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "vidfill"
ORDER = [
    *["errors", "settings", "progress", "files", "weights", "video", "align", "masks", "track", "models", "engine"],
    *["compose", "removal", "retarget", "batch", "evaluate", "train", "ui", "cli"],
]
MAX_ROOMS = 26
MAX_ARROWS = 135
FILES = sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT or p.stem not in ("__init__", "__main__"))


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [f"{node.module}.{a.name}" for a in node.names if node.module == "vidfill"]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {n.split(".")[1] for n in names if n.startswith("vidfill.")}
    return found - {"__version__"}


def rooms() -> set[str]:
    """The packages and modules directly under `vidfill`."""
    return {_room(p) for p in ROOT.rglob("*.py")}


def arrows() -> set[tuple[str, str]]:
    """All pairs (importing room, imported room)."""
    return {(_room(p), room) for p in ROOT.rglob("*.py") for room in _imported(p) if room != _room(p)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_to_earlier_rooms_only(path: Path) -> None:
    own = ORDER.index(_room(path))
    late = {name for name in _imported(path) if ORDER.index(name) > own}
    assert not late, f"{path.name} imports later rooms: {late}"


def test_the_house_stays_small() -> None:
    assert len(rooms()) <= MAX_ROOMS
    assert len(arrows()) <= MAX_ARROWS


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 420


if __name__ == "__main__":
    print(f"{len(rooms())} rooms, {len(arrows())} arrows")  # noqa: T201
