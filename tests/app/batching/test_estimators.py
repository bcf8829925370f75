from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batching.estimators import BatchLatencyModel


def test_nothing_is_known_before_a_batch_has_run() -> None:
    assert BatchLatencyModel().predict_s(5) == 0


@given(
    base=st.floats(0, 1),
    each=st.floats(0.0001, 1),
    sizes=st.lists(st.integers(1, 64), min_size=2, max_size=40).filter(lambda sizes: len(set(sizes)) > 1),
)
def test_a_straight_line_is_found(base: float, each: float, sizes: list[int]) -> None:
    pace = BatchLatencyModel()
    for size in sizes:
        pace.observe(size, base + each * size)
    for size in (1, 17, 64):
        assert pace.predict_s(size) == pytest.approx(base + each * size, rel=1e-3, abs=1e-6)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0, 10)), min_size=1, max_size=40))
def test_more_items_never_take_less_and_none_take_nothing(batches: list[tuple[int, float]]) -> None:
    pace = BatchLatencyModel()
    for size, seconds in batches:
        pace.observe(size, seconds)
    assert pace.predict_s(0) == 0
    times = [pace.predict_s(size) for size in range(1, 65)]
    assert times == sorted(times)
    assert times[0] >= 0


def test_batches_of_one_size_are_taken_as_proportional() -> None:
    pace = BatchLatencyModel()
    for _ in range(5):
        pace.observe(4, 0.2)
    assert pace.predict_s(4) == pytest.approx(0.2)
    assert pace.predict_s(8) == pytest.approx(0.4)


def test_what_is_long_ago_is_forgotten() -> None:
    pace = BatchLatencyModel()
    pace.observe(4, 3600)
    for size in list(range(1, 9)) * 30:
        pace.observe(size, 0.01 * size)
    assert pace.predict_s(4) == pytest.approx(0.04, rel=0.05)
