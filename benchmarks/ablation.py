"""What the parts of a trained network are worth: its scores with each of them switched off.

    python benchmarks/ablation.py CLIPS run/vinet.safetensors --protocols S O --only bmx-trees camel

CLIPS is a folder of clips as `vidfill evaluate` takes it. Switched off are the memory (its state is reset at every
frame), the feedback (no frame sees the output before it; VINet gets the masked frame itself in its place, as at the
start of a clip) and the flow (zero everywhere). The weights stay as they are: the table shows what they lean on, not
what a network trained without the part could do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vidfill.metrics.ablation import SWITCHES
from vidfill.metrics.contenders import WITHOUT, Machine, parse_contenders
from vidfill.metrics.evaluate import evaluate, make_task
from vidfill.metrics.results import Measures, open_results

LABEL = "network"


def main() -> None:
    options = _options()
    labels = [LABEL, *(LABEL + WITHOUT + part for part in options.parts)]
    machine = Machine(device=options.device, threads=options.threads)
    contenders = parse_contenders(labels, {LABEL: options.weights}, machine)
    task = make_task(
        options.clips,
        only=options.only,
        protocols=options.protocols,
        n_frames=options.frames,
        machine=machine,
        out=None,
    )
    results = open_results(None, task.settings("quality"), overwrite=False, resume=False)
    evaluate(task, contenders, options.protocols, results)
    for protocol in options.protocols:
        print(markdown(protocol, {label: results.mean(protocol, label) for label in labels}))


def markdown(protocol: str, means: dict[str, Measures]) -> str:
    """One table: a row for the whole network and for each part that is switched off, with the difference it makes."""
    lines = [
        f"Protocol {protocol}",
        "",
        "| network | hole PSNR | difference | PSNR | SSIM | warp error |",
        "|" + "---|" * 6,
    ]
    whole = means[LABEL]
    for label, row in means.items():
        name = label.removeprefix(LABEL + WITHOUT)
        shown = "whole" if name == LABEL else f"without {name}"
        lines.append(
            f"| {shown} | {row['hole_psnr_db']:.2f} | {row['hole_psnr_db'] - whole['hole_psnr_db']:+.2f} "
            f"| {row['psnr_db']:.2f} | {row['ssim']:.4f} | {row['warp_error']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of clips, each with frames/ and masks/")
    parser.add_argument("weights", type=Path, help="a weight file of vidfill's own")
    parser.add_argument("--parts", nargs="+", choices=SWITCHES, default=list(SWITCHES), help="to switch off")
    parser.add_argument("--protocols", nargs="+", choices=["S", "O"], default=["S", "O"])
    parser.add_argument("--only", nargs="+", metavar="CLIP", default=[], help="these clips alone")
    parser.add_argument("--frames", type=int, default=50, help="the first so many frames of each clip")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
