"""Write the means of an evaluation into the results section of the README.

vidfill evaluate CLIPS --models telea,ns,propagate --out scores
python benchmarks/readme_results.py scores/results.json
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
SECTION = re.compile(r"(<!-- results: begin.*?-->\n).*?(<!-- results: end -->)", re.DOTALL)
Table = dict[str, dict[str, dict[str, dict[str, float]]]]


def section(scores: Table) -> str:
    """The means of each protocol and model as one Markdown table."""
    lines = ["| protocol | model | PSNR | SSIM | hole | warp error | s/frame | peak MB |", "|" + "---|" * 8]
    for protocol, models in scores.items():
        for model, clips in models.items():
            mean = clips["mean"]
            lines.append(
                f"| {protocol} | {model} | {mean['psnr_db']:.2f} | {mean['ssim']:.4f} | {mean['hole_psnr_db']:.2f} "
                f"| {mean['warp_error']:.2f} | {mean['seconds_per_frame']:.3f} | {mean['peak_memory_mb']:.0f} |"
            )
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results.json of vidfill evaluate")
    parser.add_argument("--readme", type=Path, default=README)
    options = parser.parse_args()
    found = json.loads(options.results.read_text(encoding="utf-8"))
    options.readme.write_text(replaced(options.readme.read_text(encoding="utf-8"), found["scores"]), encoding="utf-8")
