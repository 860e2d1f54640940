"""Imports go one way only, so that a stage can be read, tested and replaced without the ones after it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "vidfill"
# ui joins pipeline, track and engine for a person to look at; only the command that starts it knows of it.
ORDER = [
    *["errors", "lock", "processes", "frame", "weights", "fetch", "video", "align", "masks", "scenes", "dissolves"],
    *["track", "models", "plan", "engine", "compose", "layer", "assemble", "store", "run", "request", "patches"],
    *["masking", "pipeline", "retargeting", "preview", "batching", "metrics", "train", "ui", "cli"],
]
FILES = sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT or p.stem not in ("__init__", "__main__"))


def _stage(path: Path) -> str:
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


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_to_earlier_stages_only(path: Path) -> None:
    own = ORDER.index(_stage(path))
    late = {name for name in _imported(path) if ORDER.index(name) > own}
    assert not late, f"{path.name} imports later stages: {late}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 420
