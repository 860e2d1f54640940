"""Score fillers on clips whose truth is known, each in a process of its own, and keep every score as it comes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidfill.evaluate.appearance import Network, feature_distance, feature_maps
from vidfill.evaluate.contenders import Contender
from vidfill.evaluate.perceptual import Perceptual
from vidfill.evaluate.protocol import (
    HEIGHT,
    WIDTH,
    EvaluationClip,
    Frames,
    ProtocolName,
    check_clip,
    chosen_clips,
    load_clip,
)
from vidfill.evaluate.quality import check_installed, psnr, ssim
from vidfill.evaluate.results import Measures, Results, title
from vidfill.evaluate.sheets import draw_sheet
from vidfill.evaluate.temporal import flicker, warp_error
from vidfill.evaluate.worker import FillerProcess, Usage
from vidfill.progress import OnProgress, Progress
from vidfill.settings import EngineSettings

_log = logging.getLogger("vidfill")

SLOW_EVERY = 5  # what compares whole pictures is slow and changes little from frame to frame
Scorer = Callable[[Frames, EvaluationClip], Measures]


@dataclass(frozen=True, slots=True)
class Task:
    """What is evaluated."""

    root: Path  # folder of clips, each with `frames/` and `masks/`
    clips: tuple[str, ...]  # names, in order
    n_frames: int  # the first so many of each
    machine: EngineSettings  # how models are run
    out: Path | None  # folder for results

    def settings(self, mode: str) -> dict[str, Any]:
        """What rows must have in common to stand in one table."""
        return {
            "mode": mode,
            "clips": str(self.root.resolve()),
            "n_frames": self.n_frames,
            "size": [HEIGHT, WIDTH],
            "device": self.machine.device,
            "precision": self.machine.precision,
            "threads": self.machine.threads,
        }


class Counter:
    """Counts the frames of one contender over its clips, of which each may have another length."""

    def __init__(self, label: str, n_clips: int, progress: OnProgress | None) -> None:
        self._label, self._n_clips, self._progress = label, n_clips, progress
        self._n_done = self._total = 0

    def start_clip(self, n_frames: int) -> None:
        """The next clip has so many frames; those after it are taken to be as long."""
        self._total = self._n_done + self._n_clips * n_frames
        self._n_clips -= 1

    def __call__(self) -> None:
        """One more frame is done."""
        self._n_done += 1
        if self._progress is not None:
            self._progress(Progress(self._label, self._n_done, self._total))


def make_task(
    root: Path,
    *,
    only: Sequence[str],
    protocols: Sequence[ProtocolName],
    n_frames: int,
    machine: EngineSettings,
    out: Path | None,
) -> Task:
    """Choose the clips (all, if `only` names none), and check that each has the frames and masks that it needs.

    No protocols stand for a removal.

    Raises:
        InputError: no clips, or one without frames.
        MaskError: too few masks.
        UsageError: a clip that is not there, or scores without torchmetrics.
    """
    if protocols:
        check_installed()
    clips = chosen_clips(root, only)
    for name in clips:
        check_clip(root, name, protocols, n_frames=n_frames)
    return Task(root, clips, n_frames, machine, out)


def evaluate(
    task: Task,
    contenders: Sequence[Contender],
    protocols: Sequence[ProtocolName],
    results: Results,
    *,
    network: Network,
    perceptual: Perceptual | None = None,
    progress: OnProgress | None = None,
) -> None:
    """Fill every clip with every contender, one contender after another, and score the fills.

    With `task.out` the scores so far, as JSON and Markdown, and the sheets are there after each clip; `results` has the
    scores so far also when this is interrupted.

    Args:
        task: clips and how to run.
        contenders: from `parse_contenders`.
        protocols: which holes.
        results: from `open_results`.
        network: whose features are compared, from `load_features`.
        perceptual: LPIPS and VFID, as far as they can be computed.
        progress: called after each frame; the stage is the contender's label.

    Raises:
        OutputError: the folder cannot be written.
        DeviceError: memory ran out.
        VidfillError: a model failed.
    """
    labels = [contender.label for contender in contenders]

    def load(name: str, protocol: ProtocolName) -> EvaluationClip:
        return load_clip(task.root, name, protocol, n_frames=task.n_frames)

    def judge(output: Frames, clip: EvaluationClip) -> Measures:
        seen = {} if perceptual is None else perceptual.frame_scores(output, clip, sampled(clip))
        return score(output, clip, network) | seen

    def after(protocol: ProtocolName, contender: Contender, clip: EvaluationClip, output: Frames) -> None:
        if perceptual is not None:
            perceptual.add_clip(protocol, contender.label, output, clip)
            found = perceptual.set_scores(protocol, contender.label, list(results.scores[protocol][contender.label]))
            results.of_all.setdefault(protocol, {})[contender.label] = found
        if task.out is not None:
            rows = results.scores[protocol]
            scored = [label for label in dict.fromkeys((*rows, *labels)) if clip.name in rows.get(label, {})]
            titles = {label: title(label, rows[label][clip.name]) for label in scored}
            path = task.out / f"{protocol}-{clip.name}.png"
            draw_sheet(path, clip, {contender.label: output}, titles, has_truth=True)

    score_all(task, contenders, protocols, load, judge, results, after=after, progress=progress)


def score(output: Frames, clip: EvaluationClip, network: Network) -> Measures:
    """The scores of composited frames: means over those that have a hole, and the steadiness of all.

    `ssim` and `feature_distance` are taken at every fifth frame; `warp_error` is times 1,000.
    """

    def distance(i: int) -> float:
        ours, theirs = (feature_maps(network, frames[i]) for frames in (output, clip.frames))
        return feature_distance(ours, theirs, clip.holes[i])

    holed = [i for i, hole in enumerate(clip.holes) if hole.any()]
    return {
        "psnr_db": float(np.mean([psnr(output[i], clip.frames[i]) for i in holed])),
        "ssim": float(np.mean([ssim(output[i], clip.frames[i]) for i in sampled(clip)])),
        "hole_psnr_db": float(np.mean([psnr(output[i], clip.frames[i], clip.holes[i]) for i in holed])),
        "feature_distance": float(np.mean([distance(i) for i in sampled(clip)])),
        "warp_error": 1000 * warp_error(output, clip.frames),
        "flicker": flicker(output, clip.holes),
    }


def sampled(clip: EvaluationClip) -> list[int]:
    """Positions at which slow scores are taken: every fifth frame, of those with a hole; at least one."""
    holed = [i for i, hole in enumerate(clip.holes) if hole.any()]
    return [i for i in holed if i % SLOW_EVERY == 0] or holed[:1]


def score_all(
    task: Task,
    contenders: Sequence[Contender],
    protocols: Sequence[ProtocolName],
    load: Callable[[str, ProtocolName], EvaluationClip],
    scorer: Scorer,
    results: Results,
    *,
    after: Callable[[ProtocolName, Contender, EvaluationClip, Frames], None] | None = None,
    progress: OnProgress | None = None,
) -> None:
    """The loop over contenders, protocols and clips, whatever is scored; saves after each clip.

    Args:
        task: clips and how to run.
        contenders: one process each, one after another.
        protocols: which holes.
        load: gives a clip by name and protocol.
        scorer: the measures of composited frames.
        results: scores go here; those that are there already are not made again.
        after: called with the composited frames of each clip, before the results are saved.
        progress: called after each frame.
    """
    jobs = [(protocol, name) for protocol in protocols for name in task.clips]
    for contender in contenders:
        results.add_model(contender)
        todo = [job for job in jobs if not results.has(job[0], contender.label, job[1])]
        if not todo:
            continue
        counter = Counter(contender.label, len(todo), progress)
        with FillerProcess(contender, task.machine) as worker:
            for protocol, name in todo:
                clip = load(name, protocol)
                counter.start_clip(len(clip.frames))
                filled, usage = worker.fill(clip.given(), clip.holes, on_frame=counter)
                output = clip.composited(filled)
                results.add(protocol, contender.label, name, scorer(output, clip) | cost(usage, len(clip.frames)))
                if after is not None:
                    after(protocol, contender, clip, output)
                if task.out is not None:
                    results.save(task.out)
                _log.info("%s, protocol %s, %s: done", contender.label, protocol, name)


def cost(usage: Usage, n_frames: int) -> Measures:
    """Seconds a frame and peak memory, as far as they are known."""
    measured = {
        "seconds_per_frame": usage.seconds / n_frames,
        "peak_memory_mb": usage.peak_memory_mb,
        "device_memory_mb": usage.device_memory_mb,
    }
    return {name: value for name, value in measured.items() if value is not None}
