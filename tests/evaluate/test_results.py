"""The table: what it shows, what it keeps, what it refuses."""

import json
from pathlib import Path

import pytest

from vidfill.errors import OutputError
from vidfill.evaluate.contenders import Contender
from vidfill.evaluate.results import Results, open_results

SETTINGS = {"mode": "quality", "n_frames": 5}
VINET = Contender("mine", "vinet", sha256="a" * 64)


def _kept(out: Path) -> Results:
    results = open_results(out, SETTINGS, overwrite=False, resume=False)
    results.add_model(VINET)
    results.add("S", "mine", "ant", {"psnr_db": 30.0, "drift_db": -0.25})
    results.add("S", "mine", "bee", {"psnr_db": 20.0, "drift_db": 0.75, "peak_memory_mb": 7.0})
    results.of_all = {"S": {"mine": {"vfid": 0.5}}}
    results.save(out)
    return results


def test_markdown_has_means_then_clips(tmp_path: Path) -> None:
    assert _kept(tmp_path).markdown() == (
        "### quality, protocol S\n\n"
        "| model | clip | PSNR | VFID | drift |\n|---|---|---|---|---|\n| mine | 2 clips | 25.00 | 0.500 | +0.25 |\n\n"
        "| model | clip | PSNR | drift | peak MB |\n|---|---|---|---|---|\n"
        "| mine | ant | 30.00 | -0.25 |  |\n| mine | bee | 20.00 | +0.75 | 7 |\n"
    )


def test_results_come_back_and_other_weights_lose_their_row(tmp_path: Path) -> None:
    first = _kept(tmp_path)
    again = open_results(tmp_path, SETTINGS, overwrite=False, resume=True)
    assert again.as_json() == first.as_json()
    assert again.mean("S", "mine")["vfid"] == 0.5, "of all clips together, no mean of theirs"
    again.add_model(VINET)
    assert again.has("S", "mine", "ant") and not again.has("O", "mine", "ant")
    again.add_model(Contender("mine", "vinet", sha256="b" * 64))
    assert not again.has("S", "mine", "ant")


def test_results_are_not_replaced_unasked(tmp_path: Path) -> None:
    _kept(tmp_path)
    with pytest.raises(OutputError, match="--resume"):
        open_results(tmp_path, SETTINGS, overwrite=False, resume=False)
    with pytest.raises(OutputError, match=r"made with n_frames 5; expected 6"):
        open_results(tmp_path, {**SETTINGS, "n_frames": 6}, overwrite=False, resume=True)
    assert open_results(tmp_path, SETTINGS, overwrite=True, resume=False).scores == {}


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"settings": {}, "models": {}, "scores": {"S": 3}})])
def test_a_file_that_holds_no_results(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(OutputError, match="cannot be read"):
        open_results(tmp_path, SETTINGS, overwrite=False, resume=True)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        open_results(tmp_path / "file" / "scores", SETTINGS, overwrite=False, resume=False)
