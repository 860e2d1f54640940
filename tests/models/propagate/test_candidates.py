"""Fields, candidates, chains and the choice of references on scenes whose answer is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.align.scenes import box_hole, painted, seen_through, shift
from vidfill.models.propagate.candidates import Candidate, Region, temperature, weighted
from vidfill.models.propagate.chains import COST_PER_STEP, UNKNOWN_COST, Chain, carry, go_on
from vidfill.models.propagate.fields import extrapolate
from vidfill.models.propagate.poses import Pose, between, choose, place
from vidfill.models.propagate.seen import look_at

HOLE = box_hole(96, 160, (60, 30, 100, 70))
SCENE = painted(180, 300)


def _frame(x: float) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return seen_through(SCENE, shift(x, 40), (160, 96))


def test_a_constant_stays_that_constant_and_nothing_gives_zero() -> None:
    values = np.full((96, 160, 2), 7, np.float32)
    assert extrapolate(values, ~HOLE, sigmas_px=(6.0, 15.0)) == pytest.approx(7, abs=1e-3)
    assert not extrapolate(values, np.zeros_like(HOLE), sigmas_px=(6.0,)).any()


def test_values_beyond_all_reach_get_the_mean() -> None:
    where = np.zeros((40, 400), np.bool_)
    where[:, :4] = True
    field = extrapolate(np.full((40, 400, 1), 5, np.float32), where, sigmas_px=(3.0,))
    assert field == pytest.approx(5, abs=1e-2)


def test_a_registered_frame_has_its_exposure_matched() -> None:
    truth = _frame(60)
    darker = np.clip(_frame(120).astype(np.int16) - 8, 0, 255).astype(np.uint8)
    region = Region(np.where(HOLE[..., None], 0, truth).astype(np.uint8), ~HOLE)
    candidate = region.bring(look_at(darker, ~HOLE).rgbk, shift(60, 0), 20)
    assert candidate is not None
    uncovered = candidate.valid & region.hole
    assert uncovered.sum() == HOLE.sum()  # the camera has moved by more than the hole is wide
    difference = candidate.rgb.astype(int) - truth[region.box.slices]
    assert np.abs(difference[uncovered]).max() <= 2
    assert candidate.error[region.hole].max() < 3


def test_a_frame_that_shows_nothing_of_the_hole_is_no_candidate() -> None:
    region = Region(_frame(60), ~HOLE)
    assert region.bring(look_at(_frame(60), ~HOLE).rgbk, shift(0, 0), 1) is None
    assert region.bring(look_at(_frame(60), ~HOLE).rgbk, shift(1000, 0), 1) is None


def test_the_smaller_error_wins_and_equal_ones_share() -> None:
    pixels = (np.array([0, 0]), np.array([0, 1]))
    valid = np.array([[True, True]])

    def candidate(level: int, errors: list[float], is_valid: list[bool]) -> Candidate:
        rgb = np.full((1, 2, 3), level, np.uint8)
        return Candidate(rgb, valid & is_valid, np.array([errors], np.float32), 0)

    def mixed_of(*candidates: Candidate) -> NDArray[np.float32]:
        return weighted(candidates, pixels)

    mixed = mixed_of(candidate(100, [5, 9], [True, True]), candidate(200, [5, 0], [True, False]))
    assert mixed[0] == pytest.approx(150)
    assert mixed[1] == pytest.approx(100)
    worse = 4 + float(temperature(np.full(1, 4, np.float32))[0])
    odds = mixed_of(candidate(0, [4, 0], [True] * 2), candidate(100, [worse, 1000], [True] * 2))
    assert odds[0, 0] == pytest.approx(100 * np.exp(-1) / (1 + np.exp(-1)), rel=1e-4)
    assert odds[1, 0] == pytest.approx(0)


def test_a_chain_carries_what_it_knows_and_counts_its_steps() -> None:
    chain = Chain(0, _frame(20), np.zeros((96, 160), np.float32))
    region = Region(_frame(24), ~HOLE)
    carried = carry(chain, region, shift(-4, 0), -1)
    assert carried is not None
    rgb, cost = carried.candidate.rgb, carried.cost
    truth = _frame(24)[region.box.slices]
    assert np.abs(rgb.astype(int) - truth)[region.hole].mean() < 2
    assert cost[region.hole].min() >= COST_PER_STEP and cost[region.hole].max() < 3
    frame = look_at(_frame(24), ~HOLE)
    onward = go_on(1, frame, region, carried)
    assert (onward.cost[~HOLE] == 0).all()
    assert (onward.rgb[~HOLE] == frame.rgb[~HOLE]).all()
    assert (go_on(1, frame, region, None).cost[HOLE] == UNKNOWN_COST).all()


def test_no_black_comes_in_from_what_a_chain_does_not_know() -> None:
    frames = [np.where(HOLE[..., None], 0, 150 + _frame(20 + 1.5 * i) // 3).astype(np.uint8) for i in range(6)]
    chain = None
    for i, frame in enumerate(frames):
        region = Region(frame, ~HOLE)
        carried = None if chain is None else carry(chain, region, shift(-1.5, 0), -1)
        chain = go_on(i, look_at(frame, ~HOLE), region, carried)
    assert carried is not None
    arrived = carried.candidate.valid & region.hole
    assert arrived.sum() > 100
    assert carried.candidate.rgb[arrived].min() > 140


def test_flow_mends_what_the_homography_leaves_over() -> None:
    chain = Chain(0, _frame(20), np.zeros((96, 160), np.float32))
    region = Region(_frame(24), ~HOLE)
    carried = carry(chain, region, shift(-2, 0), -1)
    assert carried is not None
    rgb = carried.candidate.rgb
    truth = _frame(24)[region.box.slices]
    unmended = _frame(22)[region.box.slices]
    error = np.abs(rgb.astype(int) - truth)[region.hole].mean()
    assert error < 0.5 * np.abs(unmended.astype(int) - truth)[region.hole].mean()


def test_frames_are_placed_by_their_neighbours() -> None:
    seen = {i: look_at(_frame(20 + 6 * i), ~HOLE) for i in range(6)}
    seen[6] = look_at(painted(96, 160, seed=9), ~HOLE)
    poses = place(seen, {}, 0)
    matrix = between(poses[5], poses[0])
    assert matrix is not None
    assert matrix / matrix[2, 2] == pytest.approx(shift(30, 0), abs=0.5)
    assert between(poses[6], poses[0]) is None
    again = place(seen, {2: poses[2]}, 2)
    assert set(again) == set(seen) and again[2] is poses[2]


def test_references_that_uncover_nothing_are_not_chosen() -> None:
    seen = {i: look_at(_frame(20 + 10 * i), ~HOLE) for i in range(10)}
    poses = {i: Pose(0, shift(10 * i, 0)) for i in seen}
    matrices = {i: matrix for i in range(1, 10) if (matrix := between(poses[i], poses[0])) is not None}
    chosen = choose(0, HOLE, seen, matrices, n_max=10, n_cover=1)
    assert chosen[0] == 1 and len(chosen) <= 5
    still = {i: np.eye(3) for i in range(1, 10)}
    assert choose(0, HOLE, seen, still, n_max=10, n_cover=4) == []
    assert len(choose(0, HOLE, seen, matrices, n_max=2, n_cover=9)) == 2


def test_a_chain_ends_where_the_picture_is_another() -> None:
    chain = Chain(0, np.full((96, 160, 3), 250, np.uint8), np.zeros((96, 160), np.float32))
    assert carry(chain, Region(np.full((96, 160, 3), 20, np.uint8), ~HOLE), np.eye(3), -1) is None
