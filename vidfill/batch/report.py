"""The result of a batch: a JSON file for programs, and an HTML page for people with pictures before and after."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from urllib.parse import quote

from vidfill import __version__
from vidfill.batch.events import BatchResult, JobReport
from vidfill.files.atomic import write_file

_SCHEMA_VERSION = 1
_ORDER = ("failed", "done", "already done")  # what needs attention comes first

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


def write_reports(result: BatchResult) -> None:
    """Write the summary and the page of a batch; the page needs no server, and shows pictures beside the outputs.

    "Painted" is the ratio of the holes that no frame shows.

    Raises:
        OutputError: they cannot be written.
    """
    summary = {
        "schema_version": _SCHEMA_VERSION,
        "vidfill": __version__,
        "seconds": result.seconds,
        "counts": _counts(result.jobs),
        "licence_notice": result.licence_notice,
        "jobs": [asdict(job) for job in result.jobs],
    }
    _write(result.summary, json.dumps(summary, indent=1, ensure_ascii=False, default=str) + "\n")
    jobs = sorted(result.jobs, key=lambda job: _ORDER.index(job.status) if job.status in _ORDER else 0)
    page = _PAGE.format(
        title=escape(f"{len(jobs)} videos in {result.report.parent.name}"),
        counts=escape(", ".join(f"{n} {status}" for status, n in _counts(jobs).items())),
        seconds=result.seconds,
        notice=f"<br>{escape(result.licence_notice)}" if result.licence_notice else "",
        rows="\n".join(_row(job, result.report.parent) for job in jobs),
    )
    _write(result.report, page)


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
    # Undecodable bytes of a file's name are surrogates, written as \udcXX, which JSON reads as the name again.
    write_file(path, text.encode("utf-8", errors="backslashreplace"))
