"""Whether a model's fills get worse the longer it runs: a clip played to and fro, far beyond its length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vidfill.evaluate.contenders import Contender
from vidfill.evaluate.protocol import EvaluationClip, Frames, ProtocolName, load_clip
from vidfill.evaluate.quality import psnr
from vidfill.evaluate.results import Measures, Results
from vidfill.evaluate.run import Task, score_all
from vidfill.progress import OnProgress

MARKS = (10, 30, 50, 100, 300)
N_FRAMES = MARKS[-1] + 1


def ping_pong(n_frames: int, length: int) -> list[int]:
    """Positions that go to and fro in a clip of `n_frames`, end frames once: 0 1 2 1 0 1 ... for three."""
    period = max(1, 2 * (n_frames - 1))
    return [min(i % period, period - i % period) if period > 1 else 0 for i in range(length)]


def looped(clip: EvaluationClip, length: int = N_FRAMES) -> EvaluationClip:
    """The clip with its holes, played to and fro."""
    order = ping_pong(len(clip.frames), length)
    return EvaluationClip(clip.name, [clip.frames[i] for i in order], [clip.holes[i] for i in order])


def drift_scores(output: Frames, clip: EvaluationClip, *, period: int) -> Measures:
    """PSNR inside the hole along a looped clip, of which one round, to and fro, has `period` frames.

    Single frames differ in how hard they are to fill. Whole rounds show the same frames with the same holes, so the
    last full one less the first is the effect of time alone.

    Returns:
        `hole_psnr_db_at_N` for each of `MARKS` (0-based; left out where that frame has no hole or is not there), and
        `first_round_db`, `last_round_db`, `drift_db` (negative: it gets worse) where there are two full rounds.
    """
    db = {
        i: psnr(frame, truth, hole)
        for i, (frame, truth, hole) in enumerate(zip(output, clip.frames, clip.holes, strict=True))
        if hole.any()
    }
    measures = {f"hole_psnr_db_at_{mark}": db[mark] for mark in MARKS if mark in db}
    n_rounds = len(clip.frames) // period
    if n_rounds >= 2:
        first, last = (
            float(np.mean([db[i] for i in range(k * period, (k + 1) * period) if i in db])) for k in (0, n_rounds - 1)
        )
        measures |= {"first_round_db": first, "last_round_db": last, "drift_db": last - first}
    return measures


def measure_drift(
    task: Task,
    contenders: Sequence[Contender],
    protocols: Sequence[ProtocolName],
    results: Results,
    *,
    progress: OnProgress | None = None,
) -> None:
    """Loop every clip to 301 frames, fill it in one go with every contender, and enter the scores; see `evaluate`."""
    periods: dict[str, int] = {}

    def load(name: str, protocol: ProtocolName) -> EvaluationClip:
        clip = load_clip(task.root, name, protocol, n_frames=task.n_frames)
        periods[name] = max(1, 2 * (len(clip.frames) - 1))
        return looped(clip)

    def score(output: Frames, clip: EvaluationClip) -> Measures:
        return drift_scores(output, clip, period=periods[clip.name])

    score_all(task, contenders, protocols, load, score, results, progress=progress)
