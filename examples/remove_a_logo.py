"""Remove what stays in one place: a rectangle given as numbers, and progress through a callback.

python examples/remove_a_logo.py IN OUT X,Y,W,H
"""

from __future__ import annotations

import sys

import vidfill


def main(source: str, output: str, box: str) -> None:
    result = vidfill.remove(source, output, box=[box], progress=lambda step: print(*step))
    print(f"{result.n_filled} of {result.n_frames} frames filled by {result.model} on {result.device}")
    for warning in result.warnings:
        print("warning:", warning)


if __name__ == "__main__":
    main(*sys.argv[1:])
