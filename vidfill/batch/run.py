"""`batch()`: many removals in one call."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vidfill.batch.driver import BatchRules, Driver
from vidfill.batch.events import BatchResult, JobEvent, JobReport, OnEvent
from vidfill.batch.inputs import DEFAULT_NAME, BatchJob, Shard, find_jobs
from vidfill.batch.local import LocalScheduler, share_out
from vidfill.batch.report import write_reports
from vidfill.batch.scheduling import Scheduler
from vidfill.engine.device import check_settings, choose_device
from vidfill.errors import OutputError, UsageError
from vidfill.masks.boxes import TimedBox, TimeRange
from vidfill.models import has_network, load_model
from vidfill.removal.request import Weights
from vidfill.removal.run import remove
from vidfill.settings import RemovalSettings, parse_working_size

# Arguments of `remove` that the batch itself gives, and those that are of one video alone.
_OWN = frozenset(["source", "output", "overwrite", "resume", "work_dir", "keep_work", "segments", "load", "progress"])
_OF_ONE = frozenset(["output_fill", "prompts"])


def batch(
    inputs: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    mask_pattern: str | None = None,
    name: str = DEFAULT_NAME,
    settings: Mapping[str, Any] | None = None,
    n_workers: int = 0,
    shard: str | None = None,
    split: bool = False,
    cluster: str | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    progress: OnEvent | None = None,
) -> BatchResult:
    """Remove objects from many videos; what is done already is passed over.

    May be killed and called again: each job's state is in a file of `out`/.vidfill. Several calls, on several machines
    that share the folders, may work on the same batch at once. A script that calls this keeps its own work under
    `if __name__ == "__main__":`, since worker processes import it.

    Args:
        inputs: videos, folders of videos (or, with `settings["fps"]`, of images), and globs.
        out: folder of outputs; made if need be.
        mask_pattern: where the mask of a video is, relative to the video's folder, with {stem}, {ext}, {name} and
            {parent}: "{stem}_masks". None where `settings` say what goes in all videos.
        name: of an output, with the same fields.
        settings: arguments of `vidfill.remove` by name, the same for all.
        n_workers: 0 for one a GPU, or one without a GPU; on the CPU they share the threads out.
        shard: "I/N" does the I-th of N parts only.
        split: spread the segments of each video over the workers, for few long videos.
        cluster: address of a Ray cluster, "auto" for the one that this machine is part of; None for this machine alone.
        overwrite: replace outputs that are there and are not what this batch would make.
        retry_failed: try jobs anew that were given up.
        progress: is told of every change.

    Returns:
        A report for each job; jobs that failed raise nothing.

    Raises:
        UsageError: contradictory or unknown arguments, two videos for one output, nothing to do.
        InputError: an input that is not there.
        OutputError: `out` cannot be written.
        WeightsError, DeviceError: no job could run.

    Example:
        >>> import vidfill
        >>> vidfill.batch("clips/", "out/", mask_pattern="{stem}_masks", settings={"dilate": 6})  # doctest: +SKIP
    """
    began_s, out = time.monotonic(), Path(out).absolute()
    settings = _checked(settings or {}, mask_pattern)
    part = Shard.parse(shard) if shard is not None else None
    sources = [inputs] if isinstance(inputs, (str, Path)) else inputs
    jobs = find_jobs(sources, out, name=name, mask_pattern=mask_pattern, fps=settings.get("fps"))
    jobs = [job for job in jobs if part is None or part.holds(job)]
    weights = _tried_out(settings, here=cluster is None)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {out} ({error.strerror})", todo="give another --out") from error
    scheduler = _scheduler(cluster, n_workers if split else min(n_workers, len(jobs)), settings, weights.model)
    reports = _done(jobs, out, settings, BatchRules(split, overwrite, retry_failed), scheduler, progress)
    suffix = f"-{part.index}-of-{part.count}" if part is not None else ""
    summary, page = out / f"summary{suffix}.json", out / f"report{suffix}.html"
    notice = weights.licence_notice()
    result = BatchResult(tuple(reports), round(time.monotonic() - began_s, 3), summary, page, notice)
    write_reports(result)
    return result


def _done(
    jobs: Sequence[BatchJob],
    out: Path,
    settings: Mapping[str, Any],
    rules: BatchRules,
    scheduler: Scheduler,
    progress: OnEvent | None,
) -> list[JobReport]:
    def tell(event: JobEvent) -> None:
        if progress is not None:
            progress(event)

    for job in jobs:
        tell(JobEvent(job.name, "waiting"))
    driver = Driver(jobs, out, settings, rules, scheduler, tell)
    try:
        with scheduler:
            return driver.run()
    finally:
        driver.close()


def _checked(settings: Mapping[str, Any], mask_pattern: str | None) -> dict[str, Any]:
    """The settings that differ from the defaults, if `remove` knows them all.

    Raises:
        UsageError: it does not, or values out of range.
    """
    parameters = inspect.signature(remove).parameters
    known = parameters.keys() - _OWN - _OF_ONE
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise UsageError(f"no setting {unknown[0]!r}", expected="one of " + ", ".join(sorted(known)))
    if mask_pattern is not None and settings.get("mask") is not None:
        raise UsageError("a mask for all videos and a pattern for the mask of each", todo="give one of them")
    boxes = settings.get("box") or ()
    if mask_pattern is None and settings.get("mask") is None and not boxes:
        raise UsageError("no mask", expected="what to remove", todo="give --mask-pattern, --mask or --box")
    for box in boxes:
        TimedBox.parse(box)
    TimeRange.parse(settings.get("start"), settings.get("end"))
    parse_working_size(settings.get("working_size"))
    empty: tuple[Any, ...] = (None, (), [], {})
    return {name: value for name, value in settings.items() if value not in (*empty, parameters[name].default)}


def _tried_out(settings: Mapping[str, Any], *, here: bool) -> Weights:
    """The model and its weights, loaded once on trial: better one error now than the same one for each video.

    Args:
        settings: of the removals.
        here: whether they run on this machine, whose devices are then looked at.

    Raises:
        UsageError: no such model, device or precision.
        WeightsError: no weights, or ones that do not fit.
        DeviceError: the device is not there.
    """
    device = str(settings.get("device", "auto")) if here else "cpu"
    removal = RemovalSettings(**settings)
    check_settings(replace(removal, device=device))
    weights = Weights.chosen(removal)
    weights.load(load_model)
    return weights


def _scheduler(cluster: str | None, n_workers: int, settings: Mapping[str, Any], model: str) -> Scheduler:
    threads = int(settings.get("threads", 0))
    if cluster is not None:
        from vidfill.batch.cluster import RayScheduler

        return RayScheduler(cluster, n_workers, threads=threads, wants_gpu=has_network(model))
    n_gpus = _n_gpus(str(settings.get("device", "auto")), model)
    devices, threads = share_out(n_workers, n_gpus=n_gpus, threads=threads)
    return LocalScheduler(devices, threads=threads)


def _n_gpus(device: str, model: str) -> int:
    """How many GPUs workers are to be spread over: none for a model without weights, or where the user names one."""
    if device not in ("auto", "cuda") or not has_network(model) or choose_device(device).type != "cuda":
        return 0
    import torch

    return torch.cuda.device_count()
