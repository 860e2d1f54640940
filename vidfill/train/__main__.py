"""`python -m vidfill.train`: `vidfill train` where torch, NumPy, OpenCV and safetensors are all that is installed."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from vidfill.errors import VidfillError
from vidfill.models import LEARNED_NAMES
from vidfill.train.command import describe, run_training, sized_recipe, start_files
from vidfill.train.recipes import RECIPE_NAMES


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; an error meant for the user is one line on stderr.

    Args:
        arguments: of the command line, None for the process's own.

    Returns:
        The exit code.
    """
    given = option_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        recipe = sized_recipe(given.recipe, model=given.model, steps=given.steps, compile_layers=given.compile)
        outcome = run_training(
            given.model, given.data, given.out, recipe,
            minutes=given.minutes or None, resume=given.resume, start=start_files(given.start),
            device=given.device, threads=given.threads,
        )  # fmt: skip
    except VidfillError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    logging.getLogger("vidfill").info("%s", describe(outcome, recipe))
    return 0


def option_parser() -> argparse.ArgumentParser:
    """The options of `vidfill train` that a run depends on."""
    parser = argparse.ArgumentParser("python -m vidfill.train", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="one of " + ", ".join(LEARNED_NAMES))
    parser.add_argument(
        "--data", type=Path, action="append", required=True, metavar="PATH",
        help="videos, archives of photos or shapes, or folders of them; may be given several times",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the run")
    parser.add_argument("--recipe", default="gpu", help="one of " + ", ".join(RECIPE_NAMES))
    parser.add_argument("--steps", type=int, default=0, help="length of the run in steps; 0 for the recipe's")
    parser.add_argument("--minutes", type=float, default=0, help="stop and save after so long; 0 for no limit")
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction, default=False, help="go on from --out")
    parser.add_argument(
        "--start", default="", metavar="FILE[,FILE]",
        help="weights to begin with; opn-tcn needs those of opn; painter takes discriminators, too",
    )  # fmt: skip
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="torch.compile on CUDA")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0 leaves it to torch")
    return parser


if __name__ == "__main__":
    sys.exit(main())
