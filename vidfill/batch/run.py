"""`batch()`: many removals in one call."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidfill.batch.driver import Driver
from vidfill.batch.events import BatchResult, JobEvent, JobReport, OnEvent
from vidfill.batch.inputs import BatchJob, Shard, find_jobs
from vidfill.batch.local import LocalScheduler, share_out
from vidfill.batch.report import write_reports
from vidfill.batch.scheduling import Scheduler
from vidfill.engine.device import check_settings, choose_device
from vidfill.errors import OutputError, UsageError
from vidfill.masks.boxes import TimedBox, TimeRange
from vidfill.models import has_network, load_model
from vidfill.removal.request import Weights
from vidfill.settings import RemovalSettings
from vidfill.settings.commands import BatchSettings
from vidfill.settings.define import flat, setting, settings_of


@dataclass(frozen=True, kw_only=True)
class BatchArguments(BatchSettings):
    """The keyword arguments of `vidfill.batch`."""

    settings: Mapping[str, Any] | RemovalSettings | None = setting(
        None, "Arguments of `vidfill.remove` by name, the same for all videos."
    )
    progress: OnEvent | None = setting(None, "Called with every change of a job.")


def run_batch(inputs: Sequence[Path | str] | Path | str, out: Path | str, arguments: BatchArguments) -> BatchResult:
    """Remove objects from many videos; what is already done is skipped.

    May be killed and called again: the state of each job is in a file in `out`/.vidfill. Several calls, also on several
    machines that share the folders, may work on the same batch at once. A script that calls this must keep its own work
    under `if __name__ == "__main__":`, since worker processes import it.

    Args:
        inputs: videos, folders of videos (with `settings["fps"]` also of images), and globs.
        out: folder of outputs; made if it does not exist.
        arguments: all that `vidfill.batch` takes by name.

    Returns:
        A report for each job; failed jobs raise nothing.

    Raises:
        UsageError: contradictory or unknown arguments, two videos for one output, nothing to do.
        InputError: an input does not exist.
        OutputError: `out` cannot be written.
        WeightsError, DeviceError: no job could run.

    Example:
        >>> import vidfill
        >>> vidfill.batch("clips/", "out/", mask_pattern="{stem}_masks", settings={"dilate": 6})  # doctest: +SKIP
    """
    began_s, out = time.monotonic(), Path(out).absolute()
    settings = _checked(arguments.settings, arguments.mask_pattern)
    shard = Shard.parse(arguments.shard) if arguments.shard is not None else None
    sources = [inputs] if isinstance(inputs, (str, Path)) else inputs
    jobs = find_jobs(sources, out, name=arguments.name, mask_pattern=arguments.mask_pattern, fps=settings.fps)
    jobs = [job for job in jobs if shard is None or shard.holds(job)]
    # The model is loaded once on trial: better one error now than the same one for each video. Of a cluster only the
    # machines themselves know the devices.
    check_settings(settings if arguments.cluster is None else replace(settings, device="cpu"))
    weights = Weights.chosen(settings)
    weights.load(load_model)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {out} ({error.strerror})", todo="give another --out") from error
    reports = _done(jobs, out, settings, arguments, _scheduler(arguments, settings, len(jobs), weights.model))
    suffix = f"-{shard.index}-of-{shard.count}" if shard is not None else ""
    files = out / f"summary{suffix}.json", out / f"report{suffix}.html"
    result = BatchResult(tuple(reports), round(time.monotonic() - began_s, 3), *files, weights.licence_notice())
    write_reports(result)
    return result


batch = flat("batch", BatchArguments)(run_batch)


def _done(
    jobs: Sequence[BatchJob], out: Path, settings: RemovalSettings, arguments: BatchArguments, scheduler: Scheduler
) -> list[JobReport]:
    tell = arguments.progress or (lambda event: None)
    for job in jobs:
        tell(JobEvent(job.name, "waiting"))
    driver = Driver(jobs, out, settings, arguments, scheduler, tell)
    try:
        with scheduler:
            return driver.run()
    finally:
        driver.close()


def _checked(given: Mapping[str, Any] | RemovalSettings | None, mask_pattern: str | None) -> RemovalSettings:
    """The settings of the removals.

    Raises:
        UsageError: an unknown name, a value out of range, no mask or too many.
    """
    if isinstance(given, RemovalSettings):
        settings = given
    else:
        if not isinstance(given or {}, Mapping):
            raise UsageError(f"settings {given!r}", expected="names and values")
        known = settings_of(RemovalSettings).keys()
        unknown = sorted((given or {}).keys() - known)
        if unknown:
            raise UsageError(f"no setting {unknown[0]!r}", expected="one of " + ", ".join(sorted(known)))
        settings = RemovalSettings(**(given or {}))
    if mask_pattern is not None and settings.mask is not None:
        raise UsageError("a mask for all videos and a pattern for the mask of each", todo="give one of them")
    if mask_pattern is None and settings.mask is None and not settings.box:
        raise UsageError("no mask", expected="what to remove", todo="give --mask-pattern, --mask or --box")
    for box in settings.box:
        TimedBox.parse(box)
    TimeRange.parse(settings.start, settings.end)
    return settings


def _scheduler(rules: BatchSettings, settings: RemovalSettings, n_jobs: int, model: str) -> Scheduler:
    n_workers = rules.n_workers if rules.split else min(rules.n_workers, n_jobs)
    if rules.cluster is not None:
        from vidfill.batch.cluster import RayScheduler

        return RayScheduler(rules.cluster, n_workers, threads=settings.threads, wants_gpu=has_network(model))
    devices, threads = share_out(n_workers, n_gpus=_n_gpus(settings.device, model), threads=settings.threads)
    return LocalScheduler(devices, threads=threads)


def _n_gpus(device: str, model: str) -> int:
    """How many GPUs the workers are spread over: none for a model without weights, or if the user names one."""
    if device not in ("auto", "cuda") or not has_network(model) or choose_device(device).type != "cuda":
        return 0
    import torch

    return torch.cuda.device_count()
