"""Head and preprocessing of a user's own classifier: chosen by cross-validated log loss, and kept as measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.arrays import Floats, Integers
from models.heads import Head, apply_temperature
from models.preprocess import PreprocessSpec
from training.estimators.boosted_trees import XGBoost
from training.estimators.linear import Logistic, Ridge
from training.evaluation import metrics
from training.heads import model_selection
from training.heads.cross_validation import out_of_fold_probabilities
from training.heads.model_selection import Candidate, candidate_heads, candidate_specs, fit_candidate, select_model

SPEC = PreprocessSpec(size=96)
CLASSES = ("cat", "dog")
LABELS = np.arange(60) % 2
GROUPS = np.arange(60)

Strength = Callable[[PreprocessSpec], float]


@pytest.fixture(autouse=True)
def without_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boosted trees take seconds, and are chosen like the other heads."""
    monkeypatch.setattr(model_selection, "_MAX_IMAGES_TIMES_CLASSES_FOR_TREES", 0)


def features_of(strength: float, labels: Integers = LABELS) -> Floats:
    """Return noise in which classes differ by `strength`."""
    noise = np.random.default_rng(5).normal(size=(len(labels), 6))
    return np.asarray(noise + strength * (2 * labels[:, None] - 1), np.float32)


def select(strength: Strength) -> tuple[Candidate, list[dict[str, Any]], list[PreprocessSpec]]:
    """Return the choice, the log loss of each trial by its parameters, and the specs that were extracted."""
    extracted: list[PreprocessSpec] = []

    def extract(spec: PreprocessSpec) -> Floats:
        extracted.append(spec)
        return features_of(strength(spec))

    best, record = select_model(extract, SPEC, LABELS, GROUPS, CLASSES, 3)
    assert record["folds"] == 5
    assert record["trials"][record["best"]]["log_loss"] == best.log_loss
    assert record["trials"][record["best"]]["accuracy"] == best.metrics.accuracy
    return best, record["trials"], extracted


def test_source_sides_are_the_input_size_and_thirds_of_it() -> None:
    specs = candidate_specs(PreprocessSpec(size=299, shrink="box"))
    assert [spec.source for spec in specs] == [299, 199, 99]
    assert {(spec.size, spec.shrink, spec.mirror) for spec in specs} == {(299, "box", False)}


def test_trees_are_tried_on_up_to_8000_images_times_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    linear = (Logistic(C=0.0001), Logistic(C=0.01), Ridge(alpha=30), Ridge(alpha=300))
    assert candidate_heads(800, 10) == (*linear, XGBoost())
    assert candidate_heads(8001, 1) == candidate_heads(801, 10) == linear


@pytest.mark.parametrize("best_source", [96, 64, 32])
def test_source_side_with_the_least_log_loss_is_chosen(best_source: int) -> None:
    best, trials, extracted = select(lambda spec: 0.4 if spec.source == best_source else 0.2)
    assert best.preprocess.source == best_source
    assert [spec.source for spec in extracted] == [96, 64, 32, best_source], "each spec is extracted once"
    assert [spec.mirror for spec in extracted] == [False, False, False, True]
    assert len(trials) == 3 + 1 + 4


def test_mirroring_is_chosen_only_if_it_saves_two_percent_of_the_log_loss() -> None:
    outcomes = set()
    for gain in (0, 0.001, 0.002, 0.004, 0.008, 0.016, 0.1):
        best, trials, _ = select(lambda spec, gain=gain: 0.3 + gain * spec.mirror)  # type: ignore[misc]
        mirrored = trials[3]["log_loss"]
        plain = min(trial["log_loss"] for trial in trials[:3])
        assert best.preprocess.mirror == (mirrored <= 0.98 * plain)
        same = [trial["log_loss"] for trial in trials if trial["parameters"]["mirror"] == best.preprocess.mirror]
        assert best.log_loss == min(same)
        outcomes.add((mirrored < plain, best.preprocess.mirror))
    assert {(True, False), (True, True)} <= outcomes, "a gain below two percent, and one above"


def test_head_with_the_least_log_loss_is_chosen() -> None:
    best, trials, _ = select(lambda _: 0.5)
    losses = {(trial["parameters"]["head"], trial["log_loss"]) for trial in trials}
    assert len({loss for _, loss in losses}) > 3
    assert (best.head.kind, best.log_loss) == min(losses, key=lambda each: each[1])


def test_candidate_is_measured_on_predictions_of_other_folds_with_its_temperature() -> None:
    best, _, _ = select(lambda _: 0.3)
    raw = out_of_fold_probabilities(best.head, features_of(0.3), LABELS, GROUPS, folds=5, seed=3)
    assert best.temperature == metrics.fit_temperature(raw, LABELS) != 1
    assert best.metrics == metrics.measure(apply_temperature(raw, best.temperature), LABELS, CLASSES)


def test_near_duplicates_are_not_in_two_folds() -> None:
    """Every image is there twice, with labels drawn at random: only a leak could predict them."""
    labels = np.repeat(np.random.default_rng(1).integers(0, 2, 40), 2)
    features = np.repeat(np.eye(40, dtype=np.float32) * 9, 2, axis=0)
    together, _ = select_model(lambda _: features, SPEC, labels, np.repeat(np.arange(40), 2), CLASSES, 0)
    apart, _ = select_model(lambda _: features, SPEC, labels, np.arange(80), CLASSES, 0)
    assert together.metrics.accuracy < 0.7
    assert apart.metrics.accuracy > 0.85


def test_fitted_candidate_keeps_its_temperature() -> None:
    features = features_of(0.5)
    measured = metrics.measure(np.full((60, 2), 0.5, np.float32), LABELS, CLASSES)
    head = fit_candidate(Candidate(SPEC, Ridge(alpha=30), 2.5, measured), features, LABELS, 0)
    assert head.temperature == 2.5
    expected = Head(Ridge(alpha=30).fit(features, LABELS, 0), 2.5).predict_proba(features)
    np.testing.assert_array_equal(head.predict_proba(features), expected)
