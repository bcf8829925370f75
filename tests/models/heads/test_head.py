"""Heads: inference on one thread, and temperature scaling."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from threadpoolctl import threadpool_info

from models.arrays import Floats
from models.heads import Head, apply_temperature

# --- inference


class ThreadRecorder:
    """An estimator that records the thread limits of libraries."""

    threads: set[int]

    def predict_proba(self, features: Floats) -> Floats:
        self.threads = {library["num_threads"] for library in threadpool_info()}
        return features


def test_head_runs_on_one_thread_and_restores_the_limits() -> None:
    before, recorder = threadpool_info(), ThreadRecorder()
    Head(recorder).predict_proba(np.ones((1, 2), np.float32))
    assert recorder.threads == {1}
    assert threadpool_info() == before


def test_head_applies_its_temperature() -> None:
    """By hand: the square roots of .64 and .36 are .8 and .6; the squares are in the ratio 256 to 81."""

    class Fixed:
        def predict_proba(self, features: Floats) -> Floats:
            return np.tile(np.array([0.64, 0.36], np.float32), (len(features), 1))

    features = np.zeros((2, 3), np.float32)
    for temperature, expected in ((1.0, [0.64, 0.36]), (2.0, [8 / 14, 6 / 14]), (0.5, [256 / 337, 81 / 337])):
        np.testing.assert_allclose(Head(Fixed(), temperature).predict_proba(features), [expected] * 2, rtol=1e-6)


# --- temperature

ROWS = (
    arrays.arrays(np.float32, (3, 5), elements=st.floats(2**-10, 1, width=32))
    .map(lambda rows: (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32))
)  # fmt: skip


@given(ROWS)
def test_temperature_of_one_changes_nothing(rows: Floats) -> None:
    assert np.array_equal(apply_temperature(rows, 1.0), rows)
    assert np.allclose(apply_temperature(rows, 1.000001), rows, atol=1e-5), (
        "the special case T = 1 differs from the formula"
    )


@given(ROWS, st.floats(0.05, 20))
def test_temperature_keeps_the_sum_and_order_of_rows(rows: Floats, temperature: float) -> None:
    scaled = apply_temperature(rows, temperature)
    assert scaled.dtype == np.float32
    assert np.allclose(scaled.sum(axis=1), 1, atol=1e-5)
    for before, after in zip(rows, scaled, strict=True):
        order = np.argsort(before)
        assert (np.diff(after[order]) >= -1e-6).all(), "a temperature must not change the order of classes"


@given(ROWS, st.floats(1.01, 20))
def test_temperature_above_one_lowers_confidence(rows: Floats, temperature: float) -> None:
    assert (apply_temperature(rows, temperature).max(axis=1) <= rows.max(axis=1) + 1e-6).all()


@given(ROWS, st.floats(0.2, 20))
def test_temperature_is_an_exponent_of_the_probabilities(rows: Floats, temperature: float) -> None:
    powers = rows.astype(np.float64) ** (1 / temperature)
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(apply_temperature(rows, temperature), expected, rtol=1e-4, atol=1e-6)


def test_temperature_accepts_a_probability_of_one() -> None:
    scaled = apply_temperature(np.array([[1, 0, 0]], np.float32), 3.0)
    assert np.isfinite(scaled).all()
    assert scaled.argmax() == 0
