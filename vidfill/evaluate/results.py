"""The table of an evaluation: kept after every clip, shown as JSON and as Markdown."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vidfill import __version__
from vidfill.errors import OutputError
from vidfill.evaluate.contenders import Contender
from vidfill.files.atomic import write_file

Measures = dict[str, float]
RowSettings = dict[str, Any]

RESULTS = "results.json"
MEAN = "mean"
# Measure -> heading and format, in the order of the columns; those that no row has are left out.
COLUMNS = {
    "psnr_db": ("PSNR", ".2f"),
    "ssim": ("SSIM", ".4f"),
    "hole_psnr_db": ("hole", ".2f"),
    "feature_distance": ("features", ".3f"),
    "warp_error": ("warp error", ".2f"),
    "flicker": ("flicker", ".2f"),
    "rc_s_lite": ("RC-S lite", ".3f"),
    "residue_lite": ("residue lite", ".3f"),
    "sharpness": ("sharpness", ".2f"),
    "lpips": ("LPIPS", ".4f"),
    "vfid": ("VFID", ".3f"),
    "hole_psnr_db_at_10": ("frame 10", ".2f"),
    "hole_psnr_db_at_30": ("frame 30", ".2f"),
    "hole_psnr_db_at_50": ("frame 50", ".2f"),
    "hole_psnr_db_at_100": ("frame 100", ".2f"),
    "hole_psnr_db_at_300": ("frame 300", ".2f"),
    "first_round_db": ("first round", ".2f"),
    "last_round_db": ("last round", ".2f"),
    "drift_db": ("drift", "+.2f"),
    "seconds_per_frame": ("s/frame", ".3f"),
    "peak_memory_mb": ("peak MB", ".0f"),
    "device_memory_mb": ("GPU MB", ".0f"),
}
# Those that a sheet shows beside a model's name, as far as they are known.
_ON_SHEETS = {
    "hole_psnr_db": "{:.2f} dB",
    "feature_distance": "features {:.3f}",
    "flicker": "flicker {:.2f}",
    "rc_s_lite": "RC-S {:.2f}",
    "residue_lite": "residue {:.2f}",
    "sharpness": "sharpness {:.2f}",
}
_LARGEST = frozenset({"peak_memory_mb", "device_memory_mb"})  # of these the "mean" row holds the largest


@dataclass(slots=True)
class Results:
    """Scores by protocol, row and clip."""

    settings: RowSettings  # what every row has in common
    models: dict[str, dict[str, str]] = field(default_factory=dict)  # what each row is
    scores: dict[str, dict[str, dict[str, Measures]]] = field(default_factory=dict)  # protocol, label, clip, measure
    of_all: dict[str, dict[str, Measures]] = field(default_factory=dict)  # protocol, label, measures of all clips

    def add_model(self, contender: Contender) -> None:
        """Make room for a row; what an earlier run has of another model under this label is dropped."""
        about = {"model": contender.model, "sha256": contender.sha256, "without": contender.without}
        if self.models.get(contender.label) not in (None, about):
            for table in (self.scores, self.of_all):
                for rows in table.values():
                    rows.pop(contender.label, None)
        self.models[contender.label] = about

    def has(self, protocol: str, label: str, clip: str) -> bool:
        """Whether a clip was scored."""
        return clip in self.scores.get(protocol, {}).get(label, {})

    def add(self, protocol: str, label: str, clip: str, measures: Measures) -> None:
        """Enter the scores of one clip."""
        self.scores.setdefault(protocol, {}).setdefault(label, {})[clip] = measures

    def mean(self, protocol: str, label: str) -> Measures:
        """Means over the clips; of memory the largest; and what holds for all clips together."""
        rows = list(self.scores[protocol][label].values())
        names = [name for name in COLUMNS if all(name in row for row in rows)]
        means = {name: float((np.max if name in _LARGEST else np.mean)([row[name] for row in rows])) for name in names}
        return means | self.of_all.get(protocol, {}).get(label, {})

    def as_json(self) -> dict[str, Any]:
        """Settings, models and scores, each row of clips with its "mean"."""
        scores = {
            protocol: {label: {**clips, MEAN: self.mean(protocol, label)} for label, clips in rows.items()}
            for protocol, rows in self.scores.items()
        }
        return {"settings": self.settings, "models": self.models, "scores": scores}

    def markdown(self) -> str:
        """For each protocol a table of the means and one of the clips."""
        parts = []
        for protocol, rows in self.scores.items():
            means = {
                (label, "1 clip" if len(clips) == 1 else f"{len(clips)} clips"): self.mean(protocol, label)
                for label, clips in rows.items()
            }
            each = {(label, clip): measures for label, clips in rows.items() for clip, measures in clips.items()}
            mode = self.settings["mode"]
            heading = mode if protocol == mode else f"{mode}, protocol {protocol}"
            parts += [f"### {heading}\n", _table(means), _table(each)]
        return "\n".join(parts)

    def save(self, out: Path, *, name: str = RESULTS) -> None:
        """Write JSON and, beside it, Markdown into a folder."""
        write_file(out / name, (json.dumps(self.as_json(), indent=2) + "\n").encode())
        write_file((out / name).with_suffix(".md"), self.markdown().encode())


def title(label: str, measures: Measures) -> str:
    """The heading of a model's column on a sheet: its label and what people would ask for first."""
    return "  ".join([label, *(text.format(measures[name]) for name, text in _ON_SHEETS.items() if name in measures)])


def open_results(out: Path | None, settings: RowSettings, *, overwrite: bool, resume: bool) -> Results:
    """Start a table, or go on with the one of an earlier run if `resume` allows it; `overwrite` replaces it.

    Args:
        out: folder for results, made if it is not there; None to keep them in memory alone.
        settings: of this run.
        overwrite: see above.
        resume: keep the scores that are there and add what is missing.

    Raises:
        OutputError: there are results and neither is allowed, or they are of other settings, or cannot be read; or a
            folder that cannot be made or written.
    """
    settings = {"vidfill": __version__, **settings}
    if out is None:
        return Results(settings)
    path = out / RESULTS
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {out} ({error.strerror})", todo="name another one") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {out} is not writable", todo="name another one")
    if not path.exists() or overwrite:
        return Results(settings)
    if not resume:
        raise OutputError(
            f"{path} exists", todo="give --resume to add what is missing, -y to replace it, or another folder"
        )
    return _read(path, settings)


def _read(path: Path, settings: RowSettings) -> Results:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        kept = Results(found["settings"], found["models"])
        for protocol, rows in found["scores"].items():
            for label, clips in rows.items():
                for clip, measures in clips.items():
                    if clip != MEAN:
                        kept.add(protocol, label, clip, measures)
                of_clips = {name for clip, row in clips.items() if clip != MEAN for name in row}
                of_all = {name: value for name, value in clips.get(MEAN, {}).items() if name not in of_clips}
                kept.of_all.setdefault(protocol, {})[label] = of_all
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{path} cannot be read ({error})", todo="give -y to replace it, or another folder"
        ) from error
    other = [name for name in settings if kept.settings.get(name) != settings[name]]
    if other:
        raise OutputError(
            f"{path} was made with {other[0]} {kept.settings.get(other[0])}",
            expected=f"{settings[other[0]]}",
            todo="give the same options, -y to replace it, or another folder",
        )
    return kept


def _table(rows: Mapping[tuple[str, str], Measures]) -> str:
    names = [name for name in COLUMNS if any(name in measures for measures in rows.values())]
    table = [["model", "clip", *(COLUMNS[name][0] for name in names)]]
    for head, measures in rows.items():
        table.append([*head, *(format(measures[n], COLUMNS[n][1]) if n in measures else "" for n in names)])
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    lines.insert(1, "|" + "---|" * (len(names) + 2))
    return "\n".join(lines) + "\n"
