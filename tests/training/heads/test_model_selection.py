"""Extractor, preprocessing and head of a user's own classifier: chosen by cross-validated log loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
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


def features_of(strength: float, labels: Integers = LABELS, noise: int = 5) -> Floats:
    """Return noise of a seed, in which classes differ by `strength`."""
    values = np.random.default_rng(noise).normal(size=(len(labels), 6))
    return np.asarray(values + strength * (2 * labels[:, None] - 1), np.float32)


def select(strength: Strength) -> tuple[Candidate, list[dict[str, Any]], list[PreprocessSpec]]:
    """Return the choice, the log loss of each trial by its parameters, and the specs that were extracted."""
    extracted: list[PreprocessSpec] = []

    def extract(_: str, spec: PreprocessSpec) -> Floats:
        extracted.append(spec)
        return features_of(strength(spec))

    best, record = select_model(extract, {"net": SPEC}, LABELS, GROUPS, CLASSES, 3)
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
    linear = (Ridge(alpha=30), Logistic(C=0.001), Logistic(C=0.01), Logistic(C=0.1))
    assert candidate_heads(800, 10) == (*linear, XGBoost())
    assert candidate_heads(8001, 1) == candidate_heads(801, 10) == linear


@pytest.mark.parametrize("best_source", [96, 64, 32])
def test_source_side_with_a_clearly_lower_log_loss_is_chosen(best_source: int) -> None:
    best, trials, extracted = select(lambda spec: 0.6 if spec.source == best_source else 0.1)
    assert best.preprocess.source == best_source
    assert [spec.source for spec in extracted] == [96, 64, 32, best_source], "each spec is extracted once"
    assert [spec.mirror for spec in extracted] == [False, False, False, True]
    assert len(trials) == 3 + 1 + 4


@pytest.mark.parametrize(("ratio", "is_mirrored"), [(1.0, True), (0.98, True), (0.5, False), (0.0, False)])
def test_mirroring_is_chosen_only_if_it_saves_its_share_of_the_log_loss(
    ratio: float, is_mirrored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_selection, "MAX_MIRROR_LOSS_RATIO", ratio)
    best, trials, _ = select(lambda spec: 0.2 + 0.1 * spec.mirror)
    assert 0.5 < trials[3]["log_loss"] / trials[0]["log_loss"] < 0.98
    assert best.preprocess.mirror == is_mirrored


def test_choice_that_may_be_chance_changes_nothing() -> None:
    """Features of each side have other noise, so one of them has the lowest log loss by chance."""
    changed = 0
    for seed in range(5):

        def extract(_: str, spec: PreprocessSpec, seed: int = seed) -> Floats:
            return features_of(0.3, noise=1000 * seed + spec.source_side + spec.mirror)

        best, record = select_model(extract, {"net": SPEC}, LABELS, GROUPS, CLASSES, 0)
        lowest = min(record["trials"], key=lambda trial: trial["log_loss"])
        changed += (best.preprocess.source_side, best.preprocess.mirror) != (96, False)
        assert lowest == record["trials"][record["best"]] or "may be chance" in record["reason"]
    assert changed <= 1


def test_head_that_is_clearly_better_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_selection, "_FIRST_HEAD", Ridge(alpha=1e6))
    best, trials, _ = select(lambda _: 0.6)
    others = [trial["log_loss"] for trial in trials if trial["parameters"].get("alpha") != 1e6]
    assert best.log_loss == min(others)


@pytest.mark.parametrize("better", ["large_net", "small_net"])
def test_extractor_with_the_least_log_loss_is_chosen(better: str) -> None:
    specs = {"large_net": PreprocessSpec(size=224), "small_net": SPEC}
    extracted: list[tuple[str, int]] = []

    def extract(name: str, spec: PreprocessSpec) -> Floats:
        extracted.append((name, spec.source_side))
        return features_of(0.5 if name == better else 0.3)

    best, record = select_model(extract, specs, LABELS, GROUPS, CLASSES, 0)
    assert (best.extractor, best.preprocess.size) == (better, specs[better].size)
    assert extracted[:2] == [("large_net", 224), ("small_net", 96)]
    assert {name for name, _ in extracted[2:]} == {better}, "only the chosen one is varied"
    assert [trial["parameters"]["extractor"] for trial in record["trials"][:2]] == list(specs)


def test_clear_difference_is_more_than_two_standard_errors() -> None:
    worse = _candidate(np.array([1.0, 1.0, 1.0, 1.0]))
    noise = np.array([-0.3, 0.1, 0.1, 0.1])  # of a standard error of .1
    assert not worse.is_clearly_better_than(worse)
    assert _candidate(1 - 0.21 + noise).is_clearly_better_than(worse)
    assert not _candidate(1 - 0.19 + noise).is_clearly_better_than(worse)
    assert not worse.is_clearly_better_than(_candidate(1 - 0.21 + noise))


def _candidate(losses: npt.NDArray[np.float64]) -> Candidate:
    measured = metrics.measure(np.full((60, 2), 0.5, np.float32), LABELS, CLASSES)
    return Candidate("net", SPEC, Ridge(alpha=30), 2.5, measured, losses)


def test_candidate_is_measured_on_predictions_of_other_folds_with_its_temperature() -> None:
    best, _, _ = select(lambda _: 0.3)
    raw = out_of_fold_probabilities(best.head, features_of(0.3), LABELS, GROUPS, folds=5, seed=3)
    assert best.temperature == metrics.fit_temperature(raw, LABELS) != 1
    assert best.metrics == metrics.measure(apply_temperature(raw, best.temperature), LABELS, CLASSES)
    assert best.losses.mean() == pytest.approx(best.log_loss)


def test_near_duplicates_are_not_in_two_folds() -> None:
    """Every image is there twice, with labels drawn at random: only a leak could predict them."""
    labels = np.repeat(np.random.default_rng(1).integers(0, 2, 40), 2)
    features = np.repeat(np.eye(40, dtype=np.float32) * 9, 2, axis=0)
    specs = {"net": SPEC}
    together, _ = select_model(lambda *_: features, specs, labels, np.repeat(np.arange(40), 2), CLASSES, 0)
    apart, _ = select_model(lambda *_: features, specs, labels, np.arange(80), CLASSES, 0)
    assert together.metrics.accuracy < 0.7
    assert apart.metrics.accuracy > 0.85


def test_fitted_candidate_keeps_its_temperature() -> None:
    features = features_of(0.5)
    head = fit_candidate(_candidate(np.ones(60)), features, LABELS, 0)
    assert head.temperature == 2.5
    expected = Head(Ridge(alpha=30).fit(features, LABELS, 0), 2.5).predict_proba(features)
    np.testing.assert_array_equal(head.predict_proba(features), expected)
