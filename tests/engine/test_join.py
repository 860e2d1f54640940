"""A long hole is filled in segments: where one ends and the next begins must not be seen."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.clips import write_clip
from vidfill.engine.fill import fill
from vidfill.engine.plan import Plan, SegmentLimits, analyse
from vidfill.masks.files import open_masks
from vidfill.models.base import Model
from vidfill.models.propagate.model import Propagate
from vidfill.models.vinet.model import VINet, VINetSizes
from vidfill.settings import EngineSettings, MaskSettings, PlanSettings
from vidfill.video.frame import Patch
from vidfill.video.read import Reader

CPU = EngineSettings(device="cpu", precision="fp32", threads=1)


def _tiny_vinet() -> VINet:
    torch.manual_seed(3)
    narrow = ((4, 4, 4, 4, 4),) * 4, ((4, 4, 4, 4, 4, 4),) * 4
    return VINet(VINetSizes(encoder=(4, 6, 8, 8), head=4, estimator=narrow[0], context=narrow[1], search_range_px=1))


def _filled(path: Path, model: Model, *, longest: int, context: int = 48) -> tuple[Plan, list[Patch]]:
    with Reader(path) as reader:
        spec = MaskSettings(box=("30,20,20,16",))
        masks = open_masks(spec, reader.info, rate=reader.info.rate)
        limits = SegmentLimits(max_segment=longest, context=context)
        _, plan = analyse(reader, masks, PlanSettings(dilate=1, feather=1), limits=limits)
        return plan, list(fill(plan, reader, masks, model, CPU))


def _values(patch: Patch) -> NDArray[np.float64]:
    """The fill in grey levels; the hole stays where it is, so patches can be compared."""
    return patch.rgb[patch.alpha > 0] / 257


def _apart(a: Patch, b: Patch) -> float:
    return float(np.abs(_values(a) - _values(b)).mean())


def _step(patches: list[Patch], index: int) -> float:
    """How much a fill differs from the one before; the background moves, so it is never 0."""
    return _apart(patches[index - 1], patches[index])


def test_a_recurrent_network_goes_on_as_if_it_had_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=60, size=(48, 80), codec="ffv1", pix_fmt="yuv444p").path
    _, whole = _filled(clip, _tiny_vinet(), longest=60)
    plan, parts = _filled(clip, _tiny_vinet(), longest=30)
    monkeypatch.setattr(import_module("vidfill.engine.fill"), "WARM_UP_FRAMES", 0)
    _, cold = _filled(clip, _tiny_vinet(), longest=30)
    join = plan.segments[1].start
    assert _step(cold, join) > 2 * _step(whole, join), "the recurrence matters here"
    assert _step(parts, join) < 1.05 * _step(whole, join)
    assert max(_apart(a, b) for a, b in zip(whole, parts, strict=True)) < 0.02


def test_propagate_fills_both_sides_of_a_join_alike(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", n=28, size=(64, 96), codec="ffv1", pix_fmt="yuv444p").path
    _, whole = _filled(clip, Propagate(), longest=28)
    plan, parts = _filled(clip, Propagate(), longest=14, context=10)
    join = plan.segments[1].start
    assert _step(parts, join) < 1.05 * _step(whole, join)
    assert max(_apart(a, b) for a, b in zip(whole, parts, strict=True)) < 1
