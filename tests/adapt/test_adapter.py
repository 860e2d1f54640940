"""An adaptation is done once, and its outcome belongs to the run that it was made for."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from tests.adapt.models import small_fuse
from vidfill.adapter import Adapted, Clip, Report, Score, adapt_once
from vidfill.engine import EngineSettings
from vidfill.errors import InputError
from vidfill.models.base import Model
from vidfill.models.fuse import Fuse
from vidfill.store import ADAPTED_WEIGHTS, WorkFolder

MADE_FROM = {"source": "a", "adapt": "2 minutes"}
KEPT = Adapted(True, Score(20.0, 1.0), Score(21.0, 0.9), 40, 5, 60.0)
DROPPED = Adapted(False, Score(20.0, 1.0), Score(19.0, 1.2), 40, 5, 60.0)


class Scripted:
    """Adds 1 to a weight where its outcome is to be kept."""

    settings = "scripted"

    def __init__(self, outcome: Adapted) -> None:
        self.outcome, self.n_calls = outcome, 0

    def check(self, model: str) -> None:
        """Anything goes."""

    def fit(self, model: Model, name: str, clip: Clip, settings: EngineSettings, report: Report) -> Adapted:
        self.n_calls += 1
        if self.outcome.is_kept:
            with torch.no_grad():
                next(model.parameters()).add_(1)
        return self.outcome


def _adapt(folder: Path, adapter: Scripted, made_from: Mapping[str, str] = MADE_FROM) -> tuple[Fuse, Adapted]:
    model = small_fuse()
    clip = Clip(None, None, None)  # type: ignore[arg-type]
    outcome = adapt_once(
        adapter, model, "fuse", clip, WorkFolder(folder), made_from, EngineSettings(), lambda done, total: None
    )
    return model, outcome


@pytest.mark.parametrize("outcome", [KEPT, DROPPED, Adapted(False, obstacle="the time is too short")])
def test_the_second_run_has_the_outcome_and_the_weights_of_the_first(outcome: Adapted, tmp_path: Path) -> None:
    adapter = Scripted(outcome)
    first, told = _adapt(tmp_path, adapter)
    again, told_again = _adapt(tmp_path, adapter)
    assert adapter.n_calls == 1
    assert told == told_again == outcome
    ours, theirs = first.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (tmp_path / ADAPTED_WEIGHTS).exists() == outcome.is_kept
    WorkFolder(tmp_path).remove()
    assert not tmp_path.exists()


def test_weights_of_something_else_or_damaged_ones_are_refused(tmp_path: Path) -> None:
    _adapt(tmp_path, Scripted(KEPT))
    with pytest.raises(InputError, match="made from something else. Run again without --resume"):
        _adapt(tmp_path, Scripted(KEPT), {**MADE_FROM, "source": "b"})
    weights = tmp_path / ADAPTED_WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    with pytest.raises(InputError, match="damaged"):
        _adapt(tmp_path, Scripted(KEPT))
    weights.unlink()
    with pytest.raises(InputError, match="damaged"):
        _adapt(tmp_path, Scripted(KEPT))


def test_segments_whose_weights_nobody_knows_are_refused(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path)
    with folder.writing(0):
        pass
    note = tmp_path / "adaptation.json"
    for text in (None, "{half", json.dumps([1])):
        if text is not None:
            note.write_text(text)
        with pytest.raises(InputError, match="filled segments but no outcome"):
            _adapt(tmp_path, Scripted(KEPT))


def test_the_one_line_has_the_numbers() -> None:
    assert KEPT.describe("fuse") == (
        "fuse adapted in 40 steps; in held-out holes PSNR 20.00 -> 21.00 dB, warp error 1.00 -> 0.90: kept"
    )
    assert DROPPED.describe("fuse").endswith(
        "warp error 1.00 -> 1.20: not clearly better, so the weights stay as they were"
    )
