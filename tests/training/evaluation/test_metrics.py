"""Metrics, compared with hand-computed values, scikit-learn and general properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.arrays import Floats, Integers
from models.heads import apply_temperature
from training.evaluation import metrics


def probabilities_of(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: Floats = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Floats, Integers]:
    images, classes = draw(st.integers(1, 40)), draw(st.integers(2, 8))
    scores = draw(arrays.arrays(np.float32, (images, classes), elements=st.floats(-6, 6, width=32)))
    labels = draw(arrays.arrays(np.int64, images, elements=st.integers(0, classes - 1)))
    return probabilities_of(scores), labels


def rows_of(*rows: tuple[float, float, float]) -> Floats:
    return np.array(rows, np.float32)


def test_all_metrics_of_four_images_computed_by_hand() -> None:
    probabilities = rows_of((0.5, 0.3, 0.2), (0.1, 0.8, 0.1), (0.6, 0.3, 0.1), (0.25, 0.25, 0.5))
    measured = metrics.measure(probabilities, np.array([0, 1, 1, 0]), ("cat", "dog", "cow"))
    assert measured.images == 4
    assert measured.accuracy == 0.5
    assert measured.accuracy_by_class == {"cat": 0.5, "dog": 0.5}, "there is no image of a cow"
    assert measured.top5_accuracy == 1
    assert measured.most_frequent == 0.5, "always a cat, or always a dog"
    assert measured.log_loss == pytest.approx(-(math.log(0.5) + math.log(0.8) + math.log(0.3) + math.log(0.25)) / 4)
    # Bins of 1/15: .5 and .5 in one (one correct: gap 0), .8 alone and correct (gap .2), .6 alone and wrong (gap .6).
    assert measured.expected_calibration_error == pytest.approx((0 + 0.2 + 0.6) / 4)
    assert measured.accuracy_interval == pytest.approx((0.1500, 0.8500), abs=1e-4)


def test_calibration_error_of_15_bins_computed_by_hand() -> None:
    """Bins of 1/15 separate .79 from .81, but not .55 from .58; with 14 or 16 bins it would be the other way round."""
    probabilities = rows_of((0.55, 0.3, 0.15), (0.58, 0.3, 0.12), (0.79, 0.11, 0.1), (0.81, 0.1, 0.09))
    labels = np.array([1, 0, 0, 2])  # wrong, correct, correct, wrong
    expected = (2 * (0.565 - 0.5) + (1 - 0.79) + 0.81) / 4
    assert metrics.expected_calibration_error(probabilities, labels) == pytest.approx(expected)
    assert metrics.measure(probabilities, labels, ("a", "b", "c")).expected_calibration_error == pytest.approx(expected)
    bins = metrics.reliability_bins(probabilities, labels)
    assert [(members.images, members.accuracy) for members in bins] == [(2, 0.5), (1, 1), (1, 0)]
    assert [members.confidence for members in bins] == pytest.approx([0.565, 0.79, 0.81])


@settings(deadline=None)
@given(predictions(), st.integers(1, 30))
def test_bins_are_those_of_a_loop_over_their_edges(labelled: tuple[Floats, Integers], bins: int) -> None:
    probabilities, labels = labelled
    confidence, correct = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == labels
    found = []
    for index in range(bins):
        position = confidence * bins
        inside = (index <= position) & ((position < index + 1) | (index == bins - 1))
        if inside.any():
            found.append((inside.sum(), confidence[inside].mean(), correct[inside].mean()))
    assert [tuple(members) for members in metrics.reliability_bins(probabilities, labels, bins)] == found


def test_top5_accuracy_counts_five_classes() -> None:
    ranked = np.tile(np.array([0.3, 0.2, 0.16, 0.13, 0.1, 0.07, 0.04], np.float32), (3, 1))
    measured = metrics.measure(ranked, np.array([3, 4, 5]), tuple("abcdefg"))
    assert measured.top5_accuracy == pytest.approx(2 / 3)


def test_most_frequent_is_the_share_of_the_largest_class() -> None:
    measured = metrics.measure(np.eye(3, dtype=np.float32)[[0, 0, 0, 1]], np.array([2, 2, 2, 1]), ("a", "b", "c"))
    assert measured.most_frequent == 0.75
    assert measured.accuracy_by_class == {"b": 1, "c": 0}


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # Newcombe, 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0000),
    ],
)
def test_interval_is_that_of_wilson(successes: int, trials: int, low: float, high: float) -> None:
    assert metrics.wilson_interval(successes, trials) == pytest.approx((low, high), abs=6e-5)


@settings(deadline=None)
@given(st.integers(1, 10_000).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_interval_contains_the_share_and_narrows_with_more_trials(counts: tuple[int, int]) -> None:
    successes, trials = counts
    low, high = metrics.wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    narrow = metrics.wilson_interval(4 * successes, 4 * trials)
    assert narrow[1] - narrow[0] < high - low
    mirrored = metrics.wilson_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


@settings(deadline=None)
@given(predictions())
def test_metrics_are_consistent_with_each_other(labelled: tuple[Floats, Integers]) -> None:
    probabilities, labels = labelled
    classes = tuple(map(str, range(probabilities.shape[1])))
    measured = metrics.measure(probabilities, labels, classes)
    assert measured.accuracy == metrics.top_k_accuracy(probabilities, labels, 1) <= measured.top5_accuracy <= 1
    assert metrics.top_k_accuracy(probabilities, labels, len(classes)) == 1
    assert measured.accuracy_interval[0] <= measured.accuracy <= measured.accuracy_interval[1]
    assert 0 <= measured.expected_calibration_error <= 1
    counts = np.bincount(labels, minlength=len(classes))
    by_class = sum(measured.accuracy_by_class.get(name, 0) * count for name, count in zip(classes, counts, strict=True))
    assert by_class / len(labels) == pytest.approx(measured.accuracy)
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = metrics.measure(probabilities[order], labels[order], classes)
    assert shuffled.log_loss == pytest.approx(measured.log_loss)
    assert shuffled.expected_calibration_error == pytest.approx(measured.expected_calibration_error, abs=1e-6)


@settings(deadline=None)
@given(predictions())
def test_log_loss_is_that_of_scikit_learn(labelled: tuple[Floats, Integers]) -> None:
    probabilities, labels = labelled
    exact = probabilities.astype(np.float64)
    expected = sklearn.metrics.log_loss(
        labels, exact / exact.sum(axis=1, keepdims=True), labels=range(probabilities.shape[1])
    )
    assert metrics.log_loss(probabilities, labels) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_confident_mistake_has_a_high_but_finite_log_loss() -> None:
    assert metrics.log_loss(rows_of((1, 0, 0)), np.array([1])) == pytest.approx(-math.log(1e-7))


def test_first_class_is_predicted_if_probabilities_are_equal() -> None:
    even = rows_of((0.25, 0.25, 0.5), (0.4, 0.4, 0.2))
    assert metrics.top_k_accuracy(even, np.array([0, 0]), 2) == 1
    assert metrics.top_k_accuracy(even, np.array([1, 1]), 2) == 0.5
    many = np.full((40, 40), 1 / 40, np.float32)
    assert metrics.top_k_accuracy(many, np.arange(40), 5) == pytest.approx(5 / 40)
    assert [metrics.top_k_accuracy(many[:1], np.array([label]), 5) for label in (0, 4, 5, 39)] == [1, 1, 0, 0]
    assert metrics.measure(even, np.array([2, 0]), ("a", "b", "c")).accuracy == 1


def drawn_predictions(sharpness: float, images: int = 40_000) -> tuple[Floats, Integers]:
    """Labels drawn from true probabilities, and predictions whose scores are `sharpness` times as large."""
    random = np.random.default_rng(11)
    scores = random.normal(0, 1.5, (images, 5)).astype(np.float32)
    truth = probabilities_of(scores)
    labels = (truth.cumsum(axis=1) < random.random((images, 1))).sum(axis=1).clip(0, 4)
    return probabilities_of(np.float32(sharpness) * scores), labels.astype(np.int64)


def test_calibrated_predictions_have_no_calibration_error() -> None:
    assert metrics.expected_calibration_error(*drawn_predictions(1.0)) < 0.01
    assert metrics.expected_calibration_error(*drawn_predictions(3.0)) > 0.15
    certain = np.tile(rows_of((1, 0, 0)), (10, 1))
    assert metrics.expected_calibration_error(certain, np.zeros(10, np.int64)) == 0
    assert metrics.expected_calibration_error(certain, np.ones(10, np.int64)) == 1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_fitted_temperature_is_the_known_one(temperature: float) -> None:
    probabilities, labels = drawn_predictions(temperature)
    fitted = metrics.fit_temperature(probabilities, labels)
    assert fitted == pytest.approx(temperature, rel=0.03)
    calibrated = apply_temperature(probabilities, fitted)
    assert metrics.expected_calibration_error(calibrated, labels) < 0.01
    assert metrics.log_loss(calibrated, labels) <= metrics.log_loss(probabilities, labels) + 1e-6


def test_few_correct_predictions_give_a_moderate_temperature() -> None:
    probabilities = np.tile(rows_of((0.8, 0.1, 0.1)), (8, 1))
    fitted = metrics.fit_temperature(probabilities, np.zeros(8, np.int64))
    assert 0.25 < fitted < 1


def test_fitted_temperature_has_the_least_penalised_loss_of_a_grid() -> None:
    probabilities, labels = drawn_predictions(1.5, images=30)
    logarithms = np.linspace(math.log(0.1), math.log(10), 4001)
    powers = probabilities.astype(np.float64)[None] ** (1 / np.exp(logarithms))[:, None, None]
    of_true_class = (powers / powers.sum(axis=2, keepdims=True))[:, np.arange(30), labels]
    losses = -np.log(of_true_class).sum(axis=1) + logarithms**2 / 2
    expected = math.exp(logarithms[losses.argmin()])
    assert metrics.fit_temperature(probabilities, labels) == pytest.approx(expected, rel=2e-3)


def test_temperature_stays_within_a_factor_of_ten() -> None:
    probabilities = np.tile(rows_of((0.6, 0.2, 0.2)), (5000, 1))
    assert metrics.fit_temperature(probabilities, np.zeros(5000, np.int64)) == pytest.approx(0.1, rel=0.1)
    assert metrics.fit_temperature(probabilities, np.ones(5000, np.int64)) == pytest.approx(10, rel=0.1)
