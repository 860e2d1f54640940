"""Write the means of `benchmarks/quality.py --json` (on stdin) into the results section of the README.

python benchmarks/quality.py CLIPS --json | python benchmarks/readme_results.py
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
SECTION = re.compile(r"(<!-- results: begin.*?-->\n).*?(<!-- results: end -->)", re.DOTALL)
Table = dict[str, dict[str, dict[str, dict[str, float]]]]


def section(table: Table) -> str:
    """The means of each protocol and model as one Markdown table."""
    lines = ["| protocol | model | PSNR | SSIM | hole | warp error | s/frame |", "|" + "---|" * 7]
    for protocol, models in table.items():
        for model, clips in models.items():
            mean = clips["mean"]
            lines.append(
                f"| {protocol} | {model} | {mean['psnr']:.2f} | {mean['ssim']:.4f} | {mean['hole_psnr']:.2f} "
                f"| {mean['warp_error']:.2f} | {mean['seconds']:.3f} |"
            )
    return "\n".join(lines) + "\n"


def replaced(text: str, table: Table) -> str:
    """The README's text with the table between its two markers.

    Raises:
        ValueError: the markers are not there.
    """
    new, count = SECTION.subn(lambda found: found[1] + section(table) + found[2], text)
    if count != 1:
        raise ValueError(f"found {count} results sections; expected 1")
    return new


if __name__ == "__main__":
    readme = Path(sys.argv[1]) if len(sys.argv) > 1 else README
    readme.write_text(replaced(readme.read_text(encoding="utf-8"), json.load(sys.stdin)), encoding="utf-8")
