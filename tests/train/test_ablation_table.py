"""The table of `benchmarks/ablation.py`."""

import runpy
from pathlib import Path

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "ablation.py"))


def test_a_part_that_is_switched_off_is_compared_with_the_whole() -> None:
    whole = SCRIPT["LABEL"]
    row = {"hole_psnr_db": 20.0, "psnr_db": 30.0, "ssim": 0.9, "warp_error": 1.5}
    text = SCRIPT["markdown"]("S", {whole: row, f"{whole}-without-flow": {**row, "hole_psnr_db": 18.5}})
    assert text.splitlines()[-2:] == [
        "| whole | 20.00 | +0.00 | 30.00 | 0.9000 | 1.50 |",
        "| without flow | 18.50 | -1.50 | 30.00 | 0.9000 | 1.50 |",
    ]
