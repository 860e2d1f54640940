"""The table of `benchmarks/ablation.py`."""

from benchmarks.ablation import LABEL, markdown


def test_a_part_that_is_switched_off_is_compared_with_the_whole() -> None:
    row = {"hole_psnr_db": 20.0, "psnr_db": 30.0, "ssim": 0.9, "warp_error": 1.5}
    text = markdown("S", {LABEL: row, f"{LABEL}-without-flow": {**row, "hole_psnr_db": 18.5}})
    assert text.splitlines()[-2:] == [
        "| whole | 20.00 | +0.00 | 30.00 | 0.9000 | 1.50 |",
        "| without flow | 18.50 | -1.50 | 30.00 | 0.9000 | 1.50 |",
    ]
