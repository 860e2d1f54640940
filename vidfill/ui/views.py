"""What the page shows, as JSON values."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidfill.errors import VidfillError
from vidfill.track.base import CONFIDENT
from vidfill.track.result import Track
from vidfill.ui.jobs import Job
from vidfill.ui.project import MAX_PREVIEW_FRAMES, Project
from vidfill.ui.selection import FrameMask
from vidfill.ui.shell import removal_command

N_COLUMNS = 600
"""Of the confidence strip, at most."""


def error_view(error: VidfillError) -> dict[str, str]:
    """An error."""
    parts = {"found": error.found, "expected": error.expected, "todo": error.todo}
    return {"kind": type(error).__name__, "message": str(error), **parts}


def state_view(project: Project) -> dict[str, Any]:
    """Everything except pictures and the strip: small, polled several times a second while a job runs."""
    tracked, preview, removed = project.tracked, project.preview, project.removed
    return {
        "source": _source_view(project),
        "is_ready": project.pictures is not None,
        "prompts": json.loads(project.prompts.to_json()),
        "prompts_file": str(project.prompts_file),
        "command": removal_command(project.source, project.output, project.prompts_file, project.settings),
        "job": _job_view(project.jobs.last),
        "shadow": project.settings.shadow,
        "track": tracked and {"number": tracked.number, "is_stale": project.is_stale, "shadow": tracked.shadow},
        "preview": preview
        and {"number": preview.number, "start": preview.frames.start, "stop": preview.frames.stop}
        | {"done": list(preview.frames[: len(preview.jpegs)])},
        "result": removed
        and {"number": removed.number, "name": removed.result.output.name, "is_file": removed.result.output.is_file()}
        | {"invented": removed.result.invented, "licence_notice": removed.result.licence_notice},
        "warnings": list(project.warnings),
    }


def track_view(track: Track) -> dict[str, Any]:
    """The strip of confidences, and where objects are lost or have left."""
    return {
        "tracker": track.tracker,
        "confident": CONFIDENT,
        "objects": [
            {"id": object_id, "columns": strip(values).tolist()} for object_id, values in track.confidence.items()
        ],
        "prompted": list(track.prompted),
        "lost": [
            {"object": lost.object_id, "start": lost.start, "stop": lost.stop}
            | {"text": lost.describe(), "hint": lost.hint(), "seen": _seen(lost.seen, lost.seen_x, lost.seen_y)}
            for lost in track.lost
        ],
        "left": [
            {"object": left.object_id, "start": left.start, "stop": left.stop, "time_s": left.time_s}
            for left in track.left
        ],
    }


def mask_view(frame_mask: FrameMask) -> dict[str, Any]:
    """The mask of a frame, and its confidence."""
    return {
        "origin": frame_mask.origin,
        "is_stale": frame_mask.is_stale,
        "image": frame_mask.data_url() if frame_mask.mask.any() else None,
        "objects": [
            {"id": view.object_id, "confidence": view.confidence, "reason": view.reason}
            | {"is_sure": view.confidence >= CONFIDENT}
            for view in frame_mask.objects
        ],
    }


def strip(values: NDArray[np.floating]) -> NDArray[np.int16]:
    """Confidences in percent in at most `N_COLUMNS` columns, each the minimum of its frames; -1 if one has none."""
    edges = np.linspace(0, len(values), min(len(values), N_COLUMNS), endpoint=False).astype(int)
    minima = np.minimum.reduceat(values, edges)
    return np.where(minima < 0, -1, np.floor(100 * minima + 1e-3)).astype(np.int16)


def _source_view(project: Project) -> dict[str, Any]:
    height, width = project.info.display_size
    timeline = None if project.pictures is None else project.pictures.timeline
    return {
        "name": project.source.name,
        "output": str(project.output),
        "height": height,
        "width": width,
        "aspect": float(project.info.sample_aspect),
        "rate": float(project.info.rate),
        "n_frames": 0 if timeline is None else len(timeline),
        "duration_s": 0.0 if timeline is None else float(timeline.time_s(len(timeline) - 1)),
        "cuts": [] if timeline is None else [scene.start for scene in timeline.scenes[1:]],
        "max_preview": MAX_PREVIEW_FRAMES,
    }


def _job_view(job: Job | None) -> dict[str, Any] | None:
    if job is None:
        return None
    shown = {field.name: getattr(job, field.name) for field in fields(job)}
    return shown | {"error": job.error and error_view(job.error)}


def _seen(index: int, x: int, y: int) -> dict[str, int] | None:
    return None if index < 0 else {"frame": index, "x": x, "y": y}
