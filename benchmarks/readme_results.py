"""Write the means of an evaluation into the results section of the README and the manifest of the weights.

`--model auto` goes by what the manifest says.

vidfill evaluate CLIPS --models telea,ns,propagate --out scores
python benchmarks/readme_results.py scores/results.json
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

from vidfill.evaluate.results import COLUMNS
from vidfill.weights import Card, read_manifest, write_manifest

ROOT = Path(__file__).parent.parent
QUALITY = ("psnr_db", "ssim", "hole_psnr_db", "feature_distance", "warp_error", "flicker")  # kept in the manifest
SHOWN = (*QUALITY, "seconds_per_frame", "peak_memory_mb")
PROTOCOLS = {"S": "stationary", "O": "object"}
SECTION = re.compile(r"(<!-- results: begin.*?-->\n).*?(<!-- results: end -->)", re.DOTALL)
Table = dict[str, dict[str, dict[str, dict[str, float]]]]


def section(scores: Table) -> str:
    """The means of each protocol and model as one Markdown table."""
    headings = ["protocol", "model", *(COLUMNS[key][0] for key in SHOWN)]
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    for protocol, models in scores.items():
        for model, clips in models.items():
            mean = clips["mean"]
            values = [format(mean[key], COLUMNS[key][1]) for key in SHOWN]
            lines.append("| " + " | ".join([protocol, model, *values]) + " |")
    return "\n".join(lines) + "\n"


def replaced(text: str, scores: Table) -> str:
    """The README's text with the table between its two markers.

    Raises:
        ValueError: the markers are not there.
    """
    new, count = SECTION.subn(lambda found: found[1] + section(scores) + found[2], text)
    if count != 1:
        raise ValueError(f"found {count} results sections; expected 1")
    return new


def scored(cards: tuple[Card, ...], scores: Table) -> tuple[Card, ...]:
    """The cards with the means of those models that were evaluated in every protocol; others keep what they have."""

    def means(name: str) -> dict[str, dict[str, float]]:
        if any(name not in models for models in scores.values()):
            return {}  # what `auto` compares is the mean of the protocols
        found = {PROTOCOLS[p]: models[name]["mean"] for p, models in scores.items()}
        return {protocol: {key: round(mean[key], 4) for key in QUALITY} for protocol, mean in found.items()}

    return tuple(replace(card, scores=card.scores | means(card.name)) for card in cards)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results.json of vidfill evaluate")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights", help="folder of the manifest")
    options = parser.parse_args()
    found = json.loads(options.results.read_text(encoding="utf-8"))
    options.readme.write_text(replaced(options.readme.read_text(encoding="utf-8"), found["scores"]), encoding="utf-8")
    write_manifest(options.weights, scored(read_manifest(options.weights), found["scores"]))
