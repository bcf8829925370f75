"""The run times that the policy predicts, and how they recover from slowdowns."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batching.run_time import RunTimeModel

ITEM_S = 0.1
SIZES = (1, 2, 4, 8, 12, 16)


def run_time_model(workers: int, *, concurrent: bool) -> RunTimeModel:
    """A model that has observed batches of one mode, proportional to their size."""
    model = RunTimeModel(workers)
    for size in (1, 2, 4, 8):
        model.observe(size, size * ITEM_S, concurrent=concurrent)
    return model


def test_unknown_run_time_is_zero() -> None:
    assert RunTimeModel(1).predict_s(5, concurrent=False) == 0


@given(
    base_s=st.floats(0, 1),
    item_s=st.floats(0.0001, 1),
    sizes=st.lists(st.integers(1, 64), min_size=2, max_size=40).filter(lambda sizes: len(set(sizes)) > 1),
)
def test_linear_run_time_is_recovered(base_s: float, item_s: float, sizes: list[int]) -> None:
    model = RunTimeModel(1)
    for size in sorted(sizes, key=sizes.index):
        model.observe(size, base_s + item_s * size, concurrent=False)
    for size in (1, 17, 64):
        assert model.predict_s(size, concurrent=False) == pytest.approx(base_s + item_s * size, rel=1e-3, abs=1e-6)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0, 10), st.booleans()), min_size=1, max_size=40))
def test_prediction_never_decreases_with_the_size(batches: list[tuple[int, float, bool]]) -> None:
    model = RunTimeModel(2)
    for size, seconds, concurrent in batches:
        model.observe(size, seconds, concurrent=concurrent)
    assert model.predict_s(0, concurrent=False) == 0
    predictions = [model.predict_s(size, concurrent=False) for size in range(1, 65)]
    assert predictions == sorted(predictions)
    assert predictions[0] >= 0


def test_batches_of_one_size_are_taken_as_proportional() -> None:
    model = RunTimeModel(1)
    for _ in range(5):
        model.observe(4, 0.2, concurrent=False)
    assert model.predict_s(4, concurrent=False) == pytest.approx(0.2)
    assert model.predict_s(8, concurrent=False) == pytest.approx(0.4)


def test_slow_first_batch_is_forgotten() -> None:
    model = RunTimeModel(1)
    model.observe(4, 0.4, concurrent=False)
    for size in list(range(1, 9)) * 30:
        model.observe(size, 0.01 * size, concurrent=False)
    assert model.predict_s(4, concurrent=False) == pytest.approx(0.04, rel=0.1)


def test_slowdown_of_all_sizes_is_learned_from_batches_of_one() -> None:
    model = RunTimeModel(1)
    for size in SIZES:
        model.observe(size, 0.004 + 0.002 * size, concurrent=False)
    for _ in range(20):
        model.observe(1, 3 * 0.006, concurrent=False)
    assert model.predict_s(16, concurrent=False) == pytest.approx(3 * 0.036, rel=0.2)


def test_pace_is_forgotten_while_nothing_runs() -> None:
    model = RunTimeModel(1)
    for size in SIZES:
        model.observe(size, 0.004 + 0.002 * size, concurrent=False)
    model.fade(0)
    for _ in range(10):
        model.observe(16, 0.36, concurrent=False)
    assert model.predict_s(16, concurrent=False) > 0.1
    model.fade(20)
    assert model.predict_s(16, concurrent=False) == pytest.approx(0.036, rel=0.1)


def test_mode_that_has_not_run_is_derived_from_the_other_by_the_worker_count() -> None:
    exclusive, concurrent = run_time_model(2, concurrent=False), run_time_model(2, concurrent=True)
    assert exclusive.predict_s(4, concurrent=True) == pytest.approx(2 * 4 * ITEM_S)
    assert concurrent.predict_s(4, concurrent=False) == pytest.approx(4 * ITEM_S / 2)


def known_model(workers: int = 1) -> RunTimeModel:
    """A model of batches that take one second and a tenth for each item."""
    model = RunTimeModel(workers)
    for size in SIZES:
        model.observe(size, 1 + ITEM_S * size, concurrent=False)
    return model


@pytest.mark.parametrize(
    ("factor", "pace"),
    [(2, 2**0.2), (4, 4**0.2), (1000, 4**0.2), (0.9, 0.9**0.4), (0.5, 0.5**0.4), (0.001, 4**-0.2)],
)
def test_pace_takes_a_fifth_of_an_error_and_twice_as_much_if_faster(factor: float, pace: float) -> None:
    model = known_model()
    model.observe(4, factor * (1 + 4 * ITEM_S), concurrent=False)
    assert model.pace == pytest.approx(pace)


def test_pace_is_forgotten_within_seconds_and_concurrency_more_slowly() -> None:
    model = known_model(workers=2)
    model.fade(0)
    model.observe(4, 4 * 2 * (1 + 4 * ITEM_S), concurrent=True)
    assert model.pace == pytest.approx(4**0.2)
    excess = model.concurrency / 2
    assert excess == pytest.approx(4**0.05)
    model.fade(4)
    assert model.pace == pytest.approx(4 ** (0.2 / math.e))
    assert model.concurrency / 2 == pytest.approx(excess ** math.exp(-0.4))


def test_concurrency_stays_between_one_and_twice_the_number_of_workers() -> None:
    for factor, limit in ((100, 4), (0.01, 1)):
        model = known_model(workers=2)
        for _ in range(1000):
            model.observe(4, factor * model.predict_s(4, concurrent=True), concurrent=True)
        assert model.concurrency == pytest.approx(limit)


def test_concurrency_that_is_not_observed_returns_to_the_number_of_workers() -> None:
    model = known_model(workers=2)
    for _ in range(20):
        model.observe(4, 1.5 * model.predict_s(4, concurrent=True), concurrent=True)
    before = math.log(model.concurrency / 2)
    for _ in range(100):
        model.observe(4, model.predict_s(4, concurrent=False), concurrent=False)
    assert math.log(model.concurrency / 2) == pytest.approx(before * 0.998**100)


def test_one_observation_changes_the_line_little() -> None:
    model = known_model()
    before = model.predict_s(8, concurrent=False)
    model.observe(8, 2 * before, concurrent=False)
    assert model.predict_s(8, concurrent=False) / before == pytest.approx(2**0.2, rel=0.02)
