"""What a run shows of itself: metrics as JSON lines, curves and sample sheets as PNG."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.errors import OutputError
from vidfill.files.atomic import write_file
from vidfill.train.recipe import Recipe
from vidfill.train.validation import Example
from vidfill.video.display import contact_sheet, encode_picture

_METRICS = "metrics.jsonl"
_RECIPE = "recipe.json"
_CURVES = "curves.png"
_PANEL_WH = (420, 220)
_MARGIN_PX = 28
# Of a sheet: rows, and moments of each clip.
_SHEET_ROWS = 12
_MOMENTS = 2


def append_metrics(run: Path, values: Mapping[str, Any]) -> None:
    """Add one line to the run's metrics; numbers that are not finite become null."""
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    try:
        with (run / _METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite) + "\n")
    except OSError as error:
        raise OutputError(f"cannot write {run / _METRICS} ({error.strerror})", todo="free some space") from error


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The run's metrics so far, in order; a last line that was cut off is left out."""
    path = run / _METRICS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def forget_metrics_from(run: Path, step: int) -> None:
    """Drop the lines of a step and later ones: a resumed run writes them again."""
    kept = [json.dumps(line) + "\n" for line in read_metrics(run) if line["step"] < step]
    write_file(run / _METRICS, "".join(kept).encode())


def write_recipe(run: Path, recipe: Recipe, model: str, sizes: Mapping[str, Any]) -> None:
    """Write what the run is made of into its `recipe.json`."""
    described = {"recipe": plain(asdict(recipe)), "sizes": sizes, "model": model}
    (run / _RECIPE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def recipe_changes(run: Path, recipe: Recipe) -> list[str]:
    """Where a recipe differs from the one that the run was last given, as phrases ("n_steps: 12000, was 9000")."""
    try:
        before = json.loads((run / _RECIPE).read_text(encoding="utf-8"))["recipe"]
    except (OSError, ValueError, KeyError):
        return [f"{_RECIPE} cannot be read, so what it was is unknown"]
    return sorted(differences(before, plain(asdict(recipe))))


def plain(value: Any) -> Any:
    """The value as JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(value))


def differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Leaves of plain data that differ, as phrases ("sizes.head: 8, was 16"); keys that only one has are left out."""
    if path == "stages":
        before, now = ({stage["name"]: stage for stage in stages} for stages in (before, now))
        if list(before) != list(now):
            yield f"stages: {', '.join(now)}, was {', '.join(before)}"
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() & now.keys():
            yield from differences(before[key], now[key], f"{path}.{key}" if path else key)
    elif before != now:
        yield f"{path}: {json.dumps(now)}, was {json.dumps(before)}"


def draw_curves(run: Path) -> None:
    """Draw every quantity of the metrics against the steps, smoothed, into the run's `curves.png`."""
    lines = read_metrics(run)
    names = [n for n in dict.fromkeys(k for line in lines for k in line) if n not in ("step", "stage", "seconds")]
    panels = []
    for name in names:
        points = [(line["step"], line[name]) for line in lines if isinstance(line.get(name), (int, float))]
        panels.append(_panel(name, np.array(points, np.float64).reshape(-1, 2)))
    if not panels:
        return
    sheet = contact_sheet([panels[i : i + 3] for i in range(0, len(panels), 3)])
    write_file(run / _CURVES, encode_picture(sheet))


def draw_sheet(path: Path, examples: Sequence[Example]) -> None:
    """One row for each clip and moment: what the model is given, Telea, the model's fill, the truth."""
    rows = []
    for example in examples:
        n_frames = len(example.truth)
        for moment in sorted({(k + 1) * n_frames // (_MOMENTS + 1) for k in range(_MOMENTS)}):
            given = example.truth[moment] * (1 - example.holes[moment])
            columns = (given, example.telea[moment], example.filled[moment], example.truth[moment])
            rows.append([_rgb(picture) for picture in columns])
    if rows:
        write_file(path, encode_picture(contact_sheet(rows[:_SHEET_ROWS], ("given", "Telea", "filled", "truth"))))


def _rgb(picture: Tensor) -> NDArray[np.uint8]:
    return np.asarray((picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def _panel(name: str, points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A small plot of (step, value), with a running mean over a fiftieth of the points."""
    width, height = _PANEL_WH
    panel = np.full((height, width, 3), 255, np.uint8)
    if not len(points):
        return panel
    window = max(1, len(points) // 50)
    smooth = np.convolve(np.pad(points[:, 1], (window - 1, 0), mode="edge"), np.ones(window) / window, mode="valid")
    low, high = np.percentile(points[:, 1], [1, 99]) if len(points) > 20 else (points[:, 1].min(), points[:, 1].max())
    span_x, span_y = max(np.ptp(points[:, 0]), 1), max(high - low, 1e-9)
    x = _MARGIN_PX + (points[:, 0] - points[0, 0]) / span_x * (width - 2 * _MARGIN_PX)
    cv2.rectangle(panel, (_MARGIN_PX, _MARGIN_PX), (width - _MARGIN_PX, height - _MARGIN_PX), (200, 200, 200), 1)
    for values, colour in ((points[:, 1], (190, 205, 225)), (smooth, (0, 60, 160))):
        y = height - _MARGIN_PX - np.clip((values - low) / span_y, 0, 1) * (height - 2 * _MARGIN_PX)
        cv2.polylines(panel, [np.stack((x, y), axis=1).round().astype(np.int32)], False, colour, 1, cv2.LINE_AA)
    text = f"{name}: {smooth[-1]:.4g} at step {points[-1, 0]:.0f}  [{low:.4g}, {high:.4g}]"
    cv2.putText(panel, text, (_MARGIN_PX, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return panel
