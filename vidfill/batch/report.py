"""What a batch came to: one JSON file for programs, one HTML page for people, with a picture before and after."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vidfill import __version__
from vidfill.batch.events import JobReport
from vidfill.files.atomic import write_file

_SCHEMA_VERSION = 1
_ORDER = {"failed": 0, "done": 1, "already done": 2}  # what needs attention comes first

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vidfill batch: {title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color-scheme: light dark; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .5rem .8rem; border-bottom: 1px solid #8884; }}
th:nth-child(2), th:nth-child(3) {{ width: 22%; }}
img {{ display: block; width: 100%; height: auto; }}
.failed td:first-child {{ box-shadow: inset .3rem 0 #d33; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
.warning {{ color: #a60; }}
</style>
<h1>{title}</h1>
<p>{counts}; {seconds:.1f} s{notice}</p>
<table>
<thead><tr><th>Video<th>Before<th>After<th>Status
<th class="number">Frames<th class="number">Painted<th class="number">Seconds</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</html>
"""


def summarise(jobs: Sequence[JobReport], seconds: float, *, licence_notice: str | None) -> dict[str, Any]:
    """The content of the summary: counts by status, what limits the use of the weights, every job; paths as text."""
    return {
        "schema_version": _SCHEMA_VERSION,
        "vidfill": __version__,
        "seconds": seconds,
        "counts": _counts(jobs),
        "licence_notice": licence_notice,
        "jobs": [
            {
                **asdict(job),
                "source": str(job.source),
                "output": str(job.output),
                "thumbnails": [*map(str, job.thumbnails)],
            }
            for job in jobs
        ],
    }


def write_summary(path: Path, jobs: Sequence[JobReport], seconds: float, *, licence_notice: str | None) -> None:
    """Write the summary as JSON.

    Raises:
        OutputError: it cannot be written.
    """
    _write(
        path, json.dumps(summarise(jobs, seconds, licence_notice=licence_notice), indent=1, ensure_ascii=False) + "\n"
    )


def write_report(path: Path, jobs: Sequence[JobReport], seconds: float, *, licence_notice: str | None) -> None:
    """Write the page; it needs no server, and its pictures lie beside the outputs.

    "Painted" is the ratio of the holes that no frame shows.

    Raises:
        OutputError: it cannot be written.
    """
    rows = "\n".join(_row(job, path.parent) for job in sorted(jobs, key=lambda job: _ORDER.get(job.status, 0)))
    title = escape(f"{len(jobs)} videos in {path.parent.name}")
    counts = escape(", ".join(f"{n} {status}" for status, n in _counts(jobs).items()))
    notice = f"<br>{escape(licence_notice)}" if licence_notice else ""
    _write(path, _PAGE.format(title=title, counts=counts, seconds=seconds, notice=notice, rows=rows))


def _row(job: JobReport, folder: Path) -> str:
    video = escape(job.source.name)
    pictures = [f'<img src="{_link(path, folder)}" alt="" loading="lazy">' for path in job.thumbnails] or ["", ""]
    if job.status != "failed":
        video = f'<a href="{_link(job.output, folder)}">{video}</a>'
    note = f"<br>{escape(job.message)}" if job.message else ""
    note += "".join(f'<br><span class="warning">{escape(text)}</span>' for text in job.result.get("warnings", ()))
    if job.n_attempts > 1:
        note += f"<br>{job.n_attempts} attempts"
    cells = "".join(f"<td>{cell}" for cell in (video, *pictures, escape(job.status) + note))
    invented = job.result.get("invented")
    painted = "" if invented is None else f"{100 * invented:.0f} %"
    shown = (str(job.result.get("n_frames", "")), painted, f"{job.seconds:.1f}")
    numbers = "".join(f'<td class="number">{number}' for number in shown)
    return f'<tr class="{escape(job.status)}">{cells}{numbers}</tr>'


def _counts(jobs: Sequence[JobReport]) -> dict[str, int]:
    found = Counter(job.status for job in jobs)
    return {status: found[status] for status in ("done", "already done", "failed")}


def _link(path: Path, folder: Path) -> str:
    return quote(os.fsencode(Path(os.path.relpath(path, folder)).as_posix()))


def _write(path: Path, text: str) -> None:
    # A file's name may be no text; then its bytes are \udcXX, which JSON reads as the name again.
    write_file(path, text.encode("utf-8", errors="backslashreplace"))
