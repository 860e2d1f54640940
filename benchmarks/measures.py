"""Whether the measures of `vidfill evaluate --removal`, which need no truth, see what they are meant to see.

    python -m benchmarks.measures CLIPS [--models propagate,telea,ns] [--frames 11] [--only CLIP,...]

CLIPS is as for `vidfill evaluate`. On clips with a truth (protocols S and O) the truth inside the hole is damaged:
blurred (Gaussian, sigma 6 px), cut into patches of 16 px that change places, or brightened by 10 levels in every other
frame. On the clips' own objects half of a removed object is put back. A measure passes if it is worse for nine of ten
of the cases of each damage that it is meant to see, and if it ranks the models' fills of a clip like the feature
distance does (mean rank correlation above 0.3; it needs three models), flicker like the warp error; residue has nothing
to be ranked against. The agreement with PSNR is shown, but not asked for, since PSNR prefers a blur to a sharp guess:
that of RC-S lite is 0.7 between propagate and Telea, and none where the painter is among the models.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.evaluate.contenders import make_filler, parse_contenders
from vidfill.evaluate.features import load_features
from vidfill.evaluate.no_reference import judge_removal
from vidfill.evaluate.protocol import EvaluationClip, Frames, ProtocolName, chosen_clips, load_clip, load_removal
from vidfill.evaluate.results import Measures
from vidfill.evaluate.run import sampled, score
from vidfill.settings import EngineSettings
from vidfill.video.frame import Bool

BLUR_SIGMA_PX, PATCH_PX, FLICKER_LEVELS = 6, 16, 10
MIN_SEEN, MIN_CORRELATION = 0.9, 0.3
PROTOCOLS: tuple[ProtocolName, ...] = ("S", "O")
# Measure -> how good a value is, the damages that it is meant to see, the score that it has to rank fills like.
MEANT: dict[str, tuple[Callable[[float], float], tuple[str, ...], str]] = {
    "rc_s_lite": (lambda value: value, ("blurred", "swapped"), "feature_distance"),
    "sharpness": (lambda value: -abs(math.log(value)), ("blurred", "swapped"), "feature_distance"),
    "flicker": (lambda value: -value, ("swapped", "flickering"), "warp_error"),
    "residue_lite": (lambda value: -value, ("half left",), ""),
}
BETTER = {"feature_distance": -1.0, "hole_psnr_db": 1.0, "warp_error": -1.0}  # the sign of what is good
Damage = Callable[[NDArray[np.uint8], Bool, int], NDArray[np.uint8]]
Found = dict[str, dict[str, Measures]]


def blurred(frame: NDArray[np.uint8], _hole: Bool, _index: int) -> NDArray[np.uint8]:
    """The frame without its detail."""
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), BLUR_SIGMA_PX), np.uint8)


def swapped(frame: NDArray[np.uint8], hole: Bool, index: int) -> NDArray[np.uint8]:
    """The frame with its patches that lie in the hole in random order."""
    height, width = (side // PATCH_PX * PATCH_PX for side in hole.shape)
    cells = [
        np.s_[y : y + PATCH_PX, x : x + PATCH_PX] for y in range(0, height, PATCH_PX) for x in range(0, width, PATCH_PX)
    ]
    cells = [cell for cell in cells if hole[cell].mean() > 0.5]
    result: NDArray[np.uint8] = frame.copy()
    for cell, other in zip(cells, np.random.default_rng(index).permutation(len(cells)), strict=True):
        result[cell] = frame[cells[other]]
    return result


def flickering(frame: NDArray[np.uint8], _hole: Bool, index: int) -> NDArray[np.uint8]:
    """Every other frame brighter."""
    return np.asarray(cv2.add(frame, np.full_like(frame, FLICKER_LEVELS * (index % 2))), np.uint8)


DAMAGES: dict[str, Damage] = {"blurred": blurred, "swapped": swapped, "flickering": flickering}


def half_left(source: EvaluationClip, output: Frames) -> list[NDArray[np.uint8]]:
    """A removal in which the left half of the hole still shows the object."""
    columns = np.arange(source.frames[0].shape[1])
    middles = [np.median(np.nonzero(hole)[1]) if hole.any() else 0 for hole in source.holes]
    return [
        np.where((hole & (columns < middle))[..., None], frame, fill)
        for frame, hole, middle, fill in zip(source.frames, source.holes, middles, output, strict=True)
    ]


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's; values that are equal are taken in their order."""
    ranks, others = (values.argsort().argsort().astype(np.float64) for values in (a, b))
    return float(np.asarray(np.corrcoef(ranks, others))[0, 1])


def measure(root: Path, clips: Sequence[str], models: Sequence[str], n_frames: int) -> Found:
    """Case (a clip in a protocol) -> variant ("truth", a damage, a model, ...) -> measures."""
    network = load_features()
    machine = EngineSettings(threads=1)
    fillers = {item.label: make_filler(item, machine) for item in parse_contenders(models, {}, machine)}
    found: Found = defaultdict(dict)
    for name in clips:
        for protocol in PROTOCOLS:
            clip = load_clip(root, name, protocol, n_frames=n_frames)
            case = found[f"{protocol} {name}"]
            case["truth"] = judge_removal(clip.frames, clip, sampled(clip), network)
            for label, damage in DAMAGES.items():
                frames = [damage(f, h, i) for i, (f, h) in enumerate(zip(clip.frames, clip.holes, strict=True))]
                case[label] = judge_removal(clip.composited(frames), clip, sampled(clip), network)
            for label, fill in fillers.items():
                output = clip.composited(list(fill(clip.given(), clip.holes)))
                case[label] = judge_removal(output, clip, sampled(clip), network) | score(output, clip, network)
        clip = load_removal(root, name, n_frames=n_frames)
        case = found[f"removal {name}"]
        removed = clip.composited(list(next(iter(fillers.values()))(clip.given(), clip.holes)))
        for variant, frames in (("removed", removed), ("half left", half_left(clip, removed)), ("source", clip.frames)):
            case[variant] = judge_removal(frames, clip, sampled(clip), network)
        print(name, "done", flush=True)
    return found


def table(found: Found, models: Sequence[str]) -> str:
    """What was found as Markdown: means, how often each damage is seen, rank correlations, and the verdicts."""
    variants = list(dict.fromkeys(variant for case in found.values() for variant in case))
    lines = ["| measure | " + " | ".join([*variants, *(f"ranks like {name}" for name in BETTER), "verdict"]) + " |"]
    lines.append("|" + "---|" * (len(variants) + len(BETTER) + 2))
    for name, (goodness, meant, like) in MEANT.items():
        cells, passes = [], True
        for variant in variants:
            rows = [case for case in found.values() if name in case.get(variant, {})]
            cells.append(f"{np.mean([case[variant][name] for case in rows]):.3f}")
            whole = "removed" if variant == "half left" else "truth"
            if variant in (*DAMAGES, "half left"):
                pairs = [(case[whole][name], case[variant][name]) for case in rows if name in case.get(whole, {})]
                n_worse = sum(goodness(before) > goodness(after) for before, after in pairs)
                cells[-1] += f" ({n_worse}/{len(pairs)} worse)"
                passes &= variant not in meant or n_worse >= MIN_SEEN * len(pairs)
        for score_name, sign in BETTER.items():
            correlations = []
            for case in found.values():
                rows_of = [case[model] for model in models if {name, score_name} <= set(case.get(model, {}))]
                if len(rows_of) >= 3:
                    ours = np.array([goodness(row[name]) for row in rows_of])
                    correlations.append(rank_correlation(ours, np.array([sign * row[score_name] for row in rows_of])))
            mean = float(np.mean(correlations)) if correlations else math.nan
            cells.append(f"{mean:.2f}")
            passes &= score_name != like or mean > MIN_CORRELATION
        lines.append("| " + " | ".join([name, *cells, "pass" if passes else "fail"]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--models", default="propagate,telea,ns")
    parser.add_argument("--frames", type=int, default=11)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    named = options.models.split(",")
    only = [name for name in options.only.split(",") if name]
    print(table(measure(options.clips, chosen_clips(options.clips, only), named, options.frames), named))
