"""What is one object: parts that hang together in space and time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction

import numpy as np

from vidfill.retarget.objects import MAX_GAP_FRAMES, ObjectTracks, split_mask, track_objects
from vidfill.video.frame import Bool, Box, Frame

SIZE = (90, 160)


def _mask(*boxes: Box) -> Bool:
    mask = np.zeros(SIZE, np.bool_)
    for box in boxes:
        mask[box.slices] = True
    return mask


class _Masks:
    """A list of masks, one a frame."""

    def __init__(self, masks: Sequence[Bool]) -> None:
        self._list = masks

    @contextmanager
    def cursor(self) -> Iterator["_Masks"]:
        yield self

    def at(self, frame: Frame) -> Bool:
        return self._list[frame.index]


def _tracked(
    masks: Sequence[Bool], *, scenes: Sequence[tuple[int, int]] | None = None, held: Sequence[int] = ()
) -> ObjectTracks:
    frames = (Frame(i, i, Fraction(1, 25), (), held=i in held) for i in range(len(masks)))
    return track_objects(frames, _Masks(masks), scenes or [(0, len(masks))])


def _moving(n: int, *, start: int, step: int, y: int = 30) -> list[Box]:
    return [Box(start + step * t, y, start + step * t + 20, y + 30) for t in range(n)]


def test_near_parts_join_far_ones_do_not() -> None:
    near = split_mask(_mask(Box(10, 10, 30, 40), Box(32, 12, 40, 20)))
    assert near.boxes == (Box(10, 10, 40, 40),)
    far = split_mask(_mask(Box(10, 10, 30, 40), Box(90, 50, 120, 80)))
    assert far.boxes == (Box(10, 10, 30, 40), Box(90, 50, 120, 80))
    np.testing.assert_array_equal(far.labels == 2, _mask(Box(90, 50, 120, 80)))
    np.testing.assert_array_equal(far.labels > 0, _mask(Box(10, 10, 30, 40), Box(90, 50, 120, 80)))


def test_parts_of_large_pictures() -> None:
    mask = np.zeros((1003, 1501), np.bool_)
    mask[7:300, 11:401] = True
    mask[601:1003, 1200:1501] = True
    parts = split_mask(mask)
    assert parts.boxes == (Box(11, 7, 401, 300), Box(1200, 601, 1501, 1003))
    np.testing.assert_array_equal(parts.labels > 0, mask)


def test_empty_mask_has_no_parts() -> None:
    parts = split_mask(_mask())
    assert parts.boxes == ()
    assert not parts.labels.any()


def test_two_objects_are_followed() -> None:
    left, right = _moving(12, start=5, step=2), _moving(12, start=130, step=-1)
    tracks = _tracked([_mask(*pair) for pair in zip(left, right, strict=True)])
    assert [track.start for track in tracks.tracks] == [0, 0]
    np.testing.assert_array_equal(tracks.tracks[0].boxes, left)
    np.testing.assert_array_equal(tracks.tracks[1].boxes, right)
    assert tracks.owners == ((0, 1),) * 12


def test_objects_that_meet_are_one() -> None:
    left, right = _moving(16, start=20, step=4), _moving(16, start=120, step=-3)
    tracks = _tracked([_mask(*pair) for pair in zip(left, right, strict=True)])
    assert len(tracks.tracks) == 1
    np.testing.assert_array_equal(tracks.tracks[0].boxes[0], left[0].union(right[0]))
    assert tracks.owners[0] == (0, 0)


def test_object_that_reappears_soon_is_the_same() -> None:
    boxes = _moving(30, start=40, step=0)
    for gap, n_objects in ((MAX_GAP_FRAMES, 1), (MAX_GAP_FRAMES + 1, 2)):
        masks = [_mask(box) if not 5 <= t < 5 + gap else _mask() for t, box in enumerate(boxes)]
        tracks = _tracked(masks)
        assert len(tracks.tracks) == n_objects
        assert tracks.owners[6] == ()
    assert tracks.tracks[1].start == 5 + MAX_GAP_FRAMES + 1


def test_trail_of_one_object_is_free_for_another() -> None:
    """One crosses the place where another was a few frames ago, and has left in the meantime."""
    first, second = _moving(12, start=10, step=6), _moving(12, start=130, step=-1, y=30)
    follower = [Box(box.x0 - 40, 30, box.x1 - 40, 60) for box in first]
    masks = [_mask(a, b) if c.x0 < 0 else _mask(a, b, c) for a, b, c in zip(first, second, follower, strict=True)]
    assert len(_tracked(masks[:9]).tracks) == 3


def test_a_cut_ends_all_objects() -> None:
    masks = [_mask(Box(40, 30, 60, 60))] * 10
    assert len(_tracked(masks).tracks) == 1
    tracks = _tracked(masks, scenes=[(0, 4), (4, 10)])
    assert [(track.start, len(track.visible)) for track in tracks.tracks] == [(0, 4), (4, 6)]


def test_held_frame_has_the_parts_of_the_one_before() -> None:
    boxes = _moving(6, start=40, step=5)
    tracks = _tracked([_mask(box) for box in boxes], held=[3])
    np.testing.assert_array_equal(tracks.tracks[0].boxes[3], boxes[2])
    np.testing.assert_array_equal(tracks.tracks[0].boxes[4], boxes[4])
