"""Score models on clips whose truth is known: a table in Markdown or JSON, and contact sheets to look at.

    python benchmarks/quality.py CLIPS --models telea propagate --sheets /tmp/sheets

CLIPS is a folder of clips as DAVIS has them (`frames/` and `masks/` in each); the protocol is that of
`vidfill.metrics.evaluate`. The sheets show, for three frames of a clip, the source with its hole, each model's
result and the truth.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from vidfill.engine import EngineSettings, fill_clip
from vidfill.metrics.evaluate import (
    Clip,
    Filler,
    Frame,
    Hole,
    Scores,
    clip_names,
    evaluate,
    load_clip,
    mean_scores,
    telea,
)
from vidfill.models import load_model

COLUMNS = ("psnr", "ssim", "hole_psnr", "warp_error", "seconds")
HOLE_COLOUR = (255, 0, 255)


def main() -> None:
    options = _options()
    cv2.setNumThreads(options.threads)
    fillers = {name: _filler(name, options) for name in options.models}
    table: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for protocol in options.protocols:
        scores: dict[str, dict[str, Scores]] = {name: {} for name in fillers}
        for clip_name in options.only or clip_names(options.clips):
            clip = load_clip(options.clips, clip_name, protocol, n_frames=options.frames)
            outputs = {}
            for name, filler in fillers.items():
                scores[name][clip_name], outputs[name] = evaluate(filler, clip)
            if options.sheets:
                options.sheets.mkdir(parents=True, exist_ok=True)
                sheet = contact_sheet(clip, list(outputs.values()))
                cv2.imwrite(str(options.sheets / f"{protocol}_{clip_name}.png"), sheet[..., ::-1])
        table[protocol] = {
            name: {clip: asdict(row) for clip, row in {**rows, "mean": mean_scores(list(rows.values()))}.items()}
            for name, rows in scores.items()
        }
        if not options.json:
            print(markdown(protocol, scores))
    if options.json:
        print(json.dumps(table, indent=2))


def markdown(protocol: str, scores: dict[str, dict[str, Scores]]) -> str:
    """One table a protocol: a row for each model and clip, the mean last."""
    lines = [
        f"Protocol {protocol}",
        "",
        "| model | clip | PSNR | SSIM | hole | warp error | s/frame |",
        "|" + "---|" * 7,
    ]
    for model, rows in scores.items():
        for clip, row in {**rows, "**mean**": mean_scores(list(rows.values()))}.items():
            lines.append(
                f"| {model} | {clip} | {row.psnr:.2f} | {row.ssim:.4f} | {row.hole_psnr:.2f} "
                f"| {row.warp_error:.2f} | {row.seconds:.3f} |"
            )
    return "\n".join(lines) + "\n"


def contact_sheet(clip: Clip, outputs: Sequence[Sequence[Frame]], *, n_frames: int = 3) -> Frame:
    """One row for each of `n_frames` frames: the source with its hole, the outputs, the truth."""
    rows = []
    for index in np.linspace(0, len(clip.frames) - 1, n_frames + 2).round().astype(int)[1:-1]:
        frame, hole = clip.frames[index], clip.holes[index]
        source = np.where(hole[..., None], np.array(HOLE_COLOUR, np.uint8), frame)
        rows.append(np.concatenate([source, *(output[index] for output in outputs), frame], axis=1))
    return np.concatenate(rows)


def _filler(name: str, options: argparse.Namespace) -> Filler:
    if name == "telea":
        return telea
    model = load_model(name, checkpoint=options.checkpoint)
    settings = EngineSettings(device=options.device, threads=options.threads)

    def fill(frames: Sequence[Frame], holes: Sequence[Hole]) -> Iterable[Frame]:
        return fill_clip(model, frames, holes, settings=settings)

    return fill


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of clips, each with frames/ and masks/")
    parser.add_argument("--models", nargs="+", default=["telea", "propagate"], help="telea, or a model's name")
    parser.add_argument("--checkpoint", type=Path, help="weights for the models that take them")
    parser.add_argument("--protocols", nargs="+", choices=["S", "O"], default=["S", "O"])
    parser.add_argument("--only", nargs="+", metavar="CLIP", help="these clips alone")
    parser.add_argument("--frames", type=int, default=50, help="the first so many frames of each clip")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument("--json", action="store_true", help="JSON instead of Markdown")
    return parser.parse_args()


if __name__ == "__main__":
    main()
