"""Frames at the source's own size, for models that work on a smaller one and give details back."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.engine.models import Recorder
from tests.engine.test_fill import CPU, FULL, FakeMasks, FakeReader, a_plan, a_segment
from vidfill.engine.fill import fill
from vidfill.errors import InputError
from vidfill.models.base import Detail, Step, Window, WindowSpec
from vidfill.video.frame import Box, Frame


class Detailing(Recorder):
    """Fills with black, and lays a white square over it at the source's own size."""

    def step(self, window: Window, state: object, pass_index: int) -> Step:
        target = window.target
        assert target.original is not None
        height, width = target.original.size
        assert (height, width) == FULL
        picture = target.original.read()
        assert picture.shape == (height, width, 3)
        assert set(np.unique(picture)) == {target.index}
        alpha = np.zeros((height, width), np.float32)
        alpha[:12] = 1
        detail = Detail((height, width), Box(0, 0, width, height), np.full((height, width, 3), 255, np.uint8), alpha)
        return Step(torch.zeros_like(target.frame), detail=(detail,))


def test_source_detail_is_laid_over_the_enlarged_fill() -> None:
    plan = a_plan(a_segment(0, 0, 2, size=(12, 16)))
    for patch in fill(plan, FakeReader(30), FakeMasks(), Detailing(WindowSpec()), CPU):
        rows = np.arange(patch.box.y0, patch.box.y1) - 4  # of the crop
        inside = patch.alpha > 0
        assert (patch.rgb[rows < 12][inside[rows < 12]] == 65535).all()
        assert (patch.rgb[rows >= 12][inside[rows >= 12]] < 65535).all()


def test_a_frame_that_is_not_made_smaller_has_no_original() -> None:
    class Looking(Recorder):
        def step(self, window: Window, state: object, pass_index: int) -> Step:
            assert window.target.original is None
            return Step(window.target.frame)

    assert list(fill(a_plan(a_segment(0, 0, 2, size=FULL)), FakeReader(30), FakeMasks(), Looking(WindowSpec()), CPU))


class Vanishing(FakeReader):
    """A source that is there for one pass alone."""

    n_passes = 0

    def frames(self, *, start_pts: int | None = None, start_index: int = 0) -> Iterator[Frame]:
        self.n_passes += 1
        return iter(()) if self.n_passes > 1 else super().frames(start_pts=start_pts, start_index=start_index)


def test_an_original_that_is_gone_is_an_unreadable_source() -> None:
    plan = a_plan(a_segment(0, 0, 2, size=(12, 16)))
    with pytest.raises(InputError, match="frame 0 is no longer in the source"):
        list(fill(plan, Vanishing(30), FakeMasks(), Detailing(WindowSpec()), CPU))
