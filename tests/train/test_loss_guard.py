"""A loss that explodes is noticed, one hard batch and a slow drift are not."""

import math
import random

import pytest

from vidfill.train.loss_guard import MIN_LOSSES, PATIENCE, LossGuard


def _warm(guard: LossGuard, level: float = 2.0) -> random.Random:
    rng = random.Random(0)
    assert not any(guard.is_exploding(level + 0.3 * rng.random()) for _ in range(MIN_LOSSES + 20))
    return rng


@pytest.mark.parametrize("level", [2.0, -3.0, 1e-3])
def test_a_jump_that_lasts_is_an_explosion(level: float) -> None:
    guard = LossGuard()
    _warm(guard, level)
    found = [guard.is_exploding(level + 30) for _ in range(PATIENCE)]
    assert found == [False] * (PATIENCE - 1) + [True]
    assert not guard.is_exploding(level), "it knows the usual level still"
    assert guard.is_calm


def test_hard_batches_and_slow_drifts_are_no_explosions() -> None:
    guard = LossGuard()
    rng = _warm(guard)
    assert not any(guard.is_exploding(50.0 if i % 3 == 0 else 2 + 0.3 * rng.random()) for i in range(200))
    assert not any(guard.is_exploding(2.0 * 0.99**i) for i in range(300))
    assert not any(guard.is_exploding(0.1 * 1.003**i) for i in range(600))


def test_after_a_high_loss_it_is_not_calm() -> None:
    guard = LossGuard()
    _warm(guard)
    guard.is_exploding(50.0)
    assert not guard.is_calm
    guard.is_exploding(2.1)
    assert guard.is_calm


def test_what_is_not_finite_explodes_at_once() -> None:
    assert LossGuard().is_exploding(math.nan)
    assert LossGuard().is_exploding(math.inf)
    guard = LossGuard()
    _warm(guard)
    guard.forget()
    assert not any(guard.is_exploding(100.0) for _ in range(MIN_LOSSES + PATIENCE + 5))
