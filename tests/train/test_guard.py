"""A loss that explodes is noticed, one hard batch and a slow drift are not."""

import math
import random

import pytest

from vidfill.train.guard import LEAST_KNOWN, PATIENCE, Guard


def _warm(guard: Guard, level: float = 2.0) -> random.Random:
    rng = random.Random(0)
    assert not any(guard.is_exploding(level + 0.3 * rng.random()) for _ in range(LEAST_KNOWN + 20))
    return rng


@pytest.mark.parametrize("level", [2.0, -3.0, 1e-3])
def test_a_jump_that_lasts_is_an_explosion(level: float) -> None:
    guard = Guard()
    _warm(guard, level)
    found = [guard.is_exploding(level + 30) for _ in range(PATIENCE)]
    assert found == [False] * (PATIENCE - 1) + [True]
    assert not guard.is_exploding(level), "it knows the usual level still"
    assert guard.is_calm


def test_single_hard_batches_and_falling_or_slowly_rising_losses_are_none() -> None:
    guard = Guard()
    rng = _warm(guard)
    assert not any(guard.is_exploding(50.0 if i % 3 == 0 else 2 + 0.3 * rng.random()) for i in range(200))
    assert not any(guard.is_exploding(2.0 * 0.99**i) for i in range(300))
    assert not any(guard.is_exploding(0.1 * 1.003**i) for i in range(600))


def test_after_a_high_loss_it_is_not_calm() -> None:
    guard = Guard()
    _warm(guard)
    guard.is_exploding(50.0)
    assert not guard.is_calm
    guard.is_exploding(2.1)
    assert guard.is_calm


def test_what_is_not_finite_is_one_at_once_and_a_new_stage_knows_no_level() -> None:
    assert Guard().is_exploding(math.nan)
    assert Guard().is_exploding(math.inf)
    guard = Guard()
    _warm(guard)
    guard.forget()
    assert not any(guard.is_exploding(100.0) for _ in range(LEAST_KNOWN + PATIENCE + 5))
