"""A bounded number of frames, spread over the clip, each the picture that the model would see."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.adapt.models import SIZE, opened, write_pan
from tests.clips import write_images
from vidfill.adapt.excerpts import EXCERPT_FRAMES, LEAST_FRAMES, MOST_BYTES, N_EXCERPTS, choose_spans, read_excerpts
from vidfill.frame import Box
from vidfill.plan import Plan, Segment


def _plan(*spans: tuple[int, int], size: tuple[int, int] = (240, 432), context: int = 10) -> Plan:
    box = Box(0, 0, size[1], size[0])
    segments = tuple(
        Segment(i, 0, start, stop, max(0, start - context), stop + context, 0, box, size)
        for i, (start, stop) in enumerate(spans)
    )
    settings: dict[str, Any] = {"n_hole_frames": 1, "dilate_px": 4, "feather_px": 4, "memory_bytes": 0}
    return Plan("in.mp4", *size, 10**5, 0, ((0, 10**5),), segments, **settings)


def test_a_long_film_gives_as_many_as_a_short_one_spread_over_all_of_it() -> None:
    plan = _plan(*((240 * k, 240 * (k + 1)) for k in range(100)))
    spans = choose_spans(plan)
    assert len(spans) == N_EXCERPTS
    assert [span.start // 4000 for span in spans] == list(range(N_EXCERPTS))
    for segment, start, stop in spans:
        assert stop - start == EXCERPT_FRAMES
        assert segment.read_start <= start < stop <= segment.read_stop


@pytest.mark.parametrize("size", [(240, 432), (480, 720), (720, 1280), (1080, 1920)])
def test_memory_is_bounded_whatever_the_working_size(size: tuple[int, int]) -> None:
    spans = choose_spans(_plan((0, 240), (240, 480), size=size))
    lengths = [stop - start for _, start, stop in spans]
    assert min(lengths) >= LEAST_FRAMES
    assert math.prod(size) * (4 * sum(lengths) + 20 * max(lengths)) <= MOST_BYTES


def test_what_is_too_short_or_too_large_gives_none() -> None:
    assert choose_spans(_plan((0, 4), context=0)) == []
    assert choose_spans(_plan((0, 240), size=(4320, 7680))) == []
    (span,) = choose_spans(_plan((20, 24), context=10))
    assert (span.start, span.stop) == (10, 34)


def test_the_frames_are_those_of_the_span(tmp_path: Path) -> None:
    clip = write_pan(tmp_path, n=8)
    given = opened(tmp_path, dilate_px=0, feather_px=0)
    spans = [span._replace(start=2, stop=7) for span in choose_spans(given.plan)]
    n_decoded: list[None] = []
    (excerpt,) = read_excerpts(given, spans, lambda: n_decoded.append(None))
    given.reader.close()  # type: ignore[attr-defined]
    assert len(n_decoded) == 7, "no frame after the last one is decoded"
    assert excerpt.frames.shape == (5, *SIZE, 3) and excerpt.frames.dtype == np.uint8
    assert np.abs(excerpt.frames.astype(int) - clip.pictures[2:7]).mean() < 2
    assert excerpt.holes[:, 20:44, 44:68].all()
    assert excerpt.holes.sum() == 5 * 24 * 24


def test_an_excerpt_without_any_hole_is_none(tmp_path: Path) -> None:
    clip = write_pan(tmp_path, n=8)
    masks = clip.masks.copy()
    masks[0, 20:44, 44:68] = True
    write_images(tmp_path / "masks", masks)
    given = opened(tmp_path)
    spans = [span._replace(start=1, stop=8) for span in choose_spans(given.plan)]
    assert spans and not list(read_excerpts(given, spans, lambda: None))
    given.reader.close()  # type: ignore[attr-defined]
