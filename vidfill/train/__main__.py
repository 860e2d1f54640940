"""`python -m vidfill.train`: `vidfill train` where torch, NumPy, OpenCV and safetensors are all that is installed."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from vidfill.errors import VidfillError
from vidfill.models import LEARNED_NAMES
from vidfill.settings.commands import TrainSettings
from vidfill.settings.define import settings_of
from vidfill.train import RECIPE_NAMES
from vidfill.train.command import describe, run_training, sized_recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; an error meant for the user is one line on stderr. Returns the exit code."""
    given = vars(option_parser().parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    model, data, out, recipe_name = (given.pop(name) for name in ("model", "data", "out", "recipe"))
    try:
        settings = TrainSettings(**given)
        recipe = sized_recipe(model, recipe_name, settings)
        result = run_training(model, data, out, recipe, settings)
    except VidfillError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    logging.getLogger("vidfill").info("%s", describe(result, recipe))
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
    for name, known in settings_of(TrainSettings).items():
        flag = known.flags[0].split("/")[0]
        if known.kind is bool:
            action = argparse.BooleanOptionalAction
            parser.add_argument(flag, dest=name, action=action, default=known.default, help=known.help)
        else:
            unit = known.unit or known.kind.__name__.upper()
            parser.add_argument(flag, dest=name, type=known.kind, default=known.default, metavar=unit, help=known.help)
    return parser


if __name__ == "__main__":
    sys.exit(main())
