"""The estimates that the scheduler learns from batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batching.estimators import BatchLatencyModel, RunTimeModel

ITEM_S = 0.1


def run_time_model(workers: int, *, concurrent: bool) -> RunTimeModel:
    """A model that has observed batches of one mode, proportional to their size."""
    model = RunTimeModel(workers)
    for size in (1, 2, 4, 8):
        model.observe(size, size * ITEM_S, concurrent=concurrent)
    return model


def test_unknown_latency_is_zero() -> None:
    assert BatchLatencyModel().predict_s(5) == 0


@given(
    base_s=st.floats(0, 1),
    item_s=st.floats(0.0001, 1),
    sizes=st.lists(st.integers(1, 64), min_size=2, max_size=40).filter(lambda sizes: len(set(sizes)) > 1),
)
def test_linear_latency_is_recovered(base_s: float, item_s: float, sizes: list[int]) -> None:
    model = BatchLatencyModel()
    for size in sizes:
        model.observe(size, base_s + item_s * size)
    for size in (1, 17, 64):
        assert model.predict_s(size) == pytest.approx(base_s + item_s * size, rel=1e-3, abs=1e-6)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0, 10)), min_size=1, max_size=40))
def test_prediction_never_decreases_with_the_size(batches: list[tuple[int, float]]) -> None:
    model = BatchLatencyModel()
    for size, seconds in batches:
        model.observe(size, seconds)
    assert model.predict_s(0) == 0
    predictions = [model.predict_s(size) for size in range(1, 65)]
    assert predictions == sorted(predictions)
    assert predictions[0] >= 0


def test_batches_of_one_size_are_taken_as_proportional() -> None:
    model = BatchLatencyModel()
    for _ in range(5):
        model.observe(4, 0.2)
    assert model.predict_s(4) == pytest.approx(0.2)
    assert model.predict_s(8) == pytest.approx(0.4)


def test_old_batches_are_forgotten() -> None:
    model = BatchLatencyModel()
    model.observe(4, 3600)
    for size in list(range(1, 9)) * 30:
        model.observe(size, 0.01 * size)
    assert model.predict_s(4) == pytest.approx(0.04, rel=0.05)


def test_mode_that_has_not_run_is_derived_from_the_other_by_the_worker_count() -> None:
    exclusive, concurrent = run_time_model(2, concurrent=False), run_time_model(2, concurrent=True)
    assert exclusive.predict_s(4, concurrent=True) == pytest.approx(2 * 4 * ITEM_S)
    assert concurrent.predict_s(4, concurrent=False) == pytest.approx(4 * ITEM_S / 2)
