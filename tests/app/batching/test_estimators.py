"""Estimates of waits, and of their errors."""

from __future__ import annotations

import pytest

from app.batching.estimators import EWMA, EstimateError, WaitEstimator
from app.batching.run_time import RunTimeModel


def test_average_follows_a_change_by_a_tenth_for_each_observation() -> None:
    average = EWMA()
    assert average.value is None
    values = list[float | None]()
    for observed in (5, 15, 15):
        average.observe(observed)
        values.append(average.value)
    assert values == pytest.approx([5, 6, 6.9])


def test_margin_is_the_mean_error_and_two_deviations() -> None:
    error = EstimateError()
    assert error.margin_s == 0
    error.observe(64)
    assert error.margin_s == pytest.approx(64 / 64 + 2 * 64 / 32)
    for _ in range(2000):
        error.observe(2)
    assert error.margin_s == pytest.approx(2, abs=0.01), "constant errors have no deviation"
    for _ in range(2000):
        error.observe(-2)
    assert error.margin_s == 0, "results that come early reduce no estimate"
    for number in range(4000):
        error.observe(1 if number % 2 else -1)
    assert error.margin_s == pytest.approx(2, abs=0.1)


def test_rejection_shrinks_the_margin_by_a_512th() -> None:
    error = EstimateError()
    error.observe(10)
    before = error.margin_s
    error.observe_rejection()
    assert error.margin_s == pytest.approx(before * 511 / 512)


@pytest.mark.parametrize(
    ("workers", "items", "expected_s"),
    [(1, 1, 1), (1, 4, 4), (1, 5, 4 + 1), (1, 9, 8 + 1), (2, 5, 4 + 1), (2, 9, 4 + 1), (2, 12, 4 + 4), (2, 13, 8 + 1)],
)
def test_wait_is_that_for_the_batches_ahead_and_the_own_one(workers: int, items: int, expected_s: float) -> None:
    run_time = RunTimeModel(1)
    for size in (1, 2, 4):
        run_time.observe(size, size, concurrent=False)
    estimator = WaitEstimator(run_time, workers=workers, runs_concurrently=False)
    assert estimator.estimate_s(items, 4, 0) == pytest.approx(expected_s)
    estimator.observe_lead(0.5)
    assert estimator.estimate_s(items, 4, 7) == pytest.approx(7 + expected_s + 0.5)


def test_only_full_batches_are_expected_to_share_the_cores() -> None:
    run_time = RunTimeModel(2)
    for size in (1, 2, 4):
        run_time.observe(size, size, concurrent=False)
    estimator = WaitEstimator(run_time, workers=2, runs_concurrently=True)
    assert estimator.estimate_s(3, 4, 0) == pytest.approx(3)
    assert estimator.estimate_s(4, 4, 0) == pytest.approx(8)
    assert estimator.estimate_s(5, 4, 0) == pytest.approx(8 + 1)
