"""Coarser classes: sums of probabilities, and the answer that they give."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.arrays import Floats
from models.hierarchy import MAX_LEVELS, SURE, Hierarchy, Parent, lead

CLASSES = ("beagle", "pug", "tabby", "trout", "sofa")
PARENTS = {"beagle": "dog", "pug": "dog", "tabby": "cat", "trout": "animal", "dog": "animal", "cat": "animal"}
HIERARCHY = Hierarchy(CLASSES, PARENTS)


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[str, ...], dict[str, str], Floats]:
    """Return classes, a random forest above them, and probabilities."""
    classes = tuple(f"class {number}" for number in range(draw(st.integers(1, 8))))
    groups = [f"group {number}" for number in range(draw(st.integers(0, 6)))]
    parents: dict[str, str] = {}
    for position, label in enumerate([*groups, *classes]):
        above = groups[:position]
        parent = draw(st.none() | st.sampled_from(above)) if above else None
        if parent:
            parents[label] = parent
    used = {label for each in classes for label in ancestors(each, parents)}
    parents = {label: parent for label, parent in parents.items() if label in used or label in classes}
    weights = draw(st.lists(st.floats(0, 1, width=32), min_size=len(classes), max_size=len(classes)))
    return classes, parents, np.array(weights, np.float32) / np.float32(max(sum(weights), 1e-3))


def ancestors(label: str, parents: Mapping[str, str]) -> list[str]:
    return [parents[label], *ancestors(parents[label], parents)] if label in parents else []


def answer(*probabilities: float) -> list[tuple[str, float]]:
    return [(label, round(score, 6)) for label, score in HIERARCHY.answer(np.array(probabilities, np.float32))]


@given(cases())
def test_score_of_a_coarser_class_is_the_sum_of_the_classes_below_it(
    case: tuple[tuple[str, ...], dict[str, str], Floats],
) -> None:
    classes, parents, probabilities = case
    scores = Hierarchy(classes, parents).scores(probabilities)
    assert scores.keys() == set(parents.values())
    for label, score in scores.items():
        below = [label in ancestors(name, parents) for name in classes]
        assert score == pytest.approx(min(probabilities[below].sum(dtype=float), 1), abs=1e-9)


@given(cases())
def test_scores_never_fall_from_the_finer_to_the_coarser_class(
    case: tuple[tuple[str, ...], dict[str, str], Floats],
) -> None:
    classes, parents, probabilities = case
    scores: dict[str, float] = dict(zip(classes, probabilities.tolist(), strict=True))
    scores = {label: min(score, 1.0) for label, score in scores.items()} | Hierarchy(classes, parents).scores(
        probabilities
    )
    assert all(scores[parent] >= scores[label] for label, parent in parents.items())
    assert all(0 <= score <= 1 for score in scores.values())


@given(cases())
def test_answer_is_a_chain_that_begins_with_the_finest_sure_coarser_class(
    case: tuple[tuple[str, ...], dict[str, str], Floats],
) -> None:
    classes, parents, probabilities = case
    hierarchy = Hierarchy(classes, parents)
    scores = hierarchy.scores(probabilities)
    labels = [label for label, _ in hierarchy.answer(probabilities)]
    assert labels == [labels[0], *ancestors(labels[0], parents)] if labels else True
    if labels and probabilities.max() < SURE <= max(scores.values()):
        assert scores[labels[0]] >= SURE
        finer = [label for label in scores if labels[0] in ancestors(label, parents)]
        assert all(scores[label] < SURE for label in finer)
    else:
        assert labels == ancestors(classes[int(probabilities.argmax())], parents)


@given(cases())
def test_classes_below_a_label_are_those_with_it_above_them(
    case: tuple[tuple[str, ...], dict[str, str], Floats],
) -> None:
    classes, parents, _ = case
    for label in {*classes, *parents.values(), "unknown"}:
        expected = [index for index, name in enumerate(classes) if label in (name, *ancestors(name, parents))]
        assert Hierarchy(classes, parents).below(label) == expected


def test_uncertain_breed_is_a_dog_with_certainty() -> None:
    assert answer(0.45, 0.40, 0.10, 0.0, 0.05) == [("dog", 0.85), ("animal", 0.95)]


def test_sure_class_has_the_coarser_classes_above_it() -> None:
    assert answer(0.1, 0.0, 0.6, 0.3, 0.0) == [("cat", 0.6), ("animal", 1.0)]


def test_uncertain_kind_of_animal_is_an_animal() -> None:
    assert answer(0.2, 0.2, 0.2, 0.2, 0.2) == [("animal", 0.8)]


def test_without_anything_sure_the_classes_above_the_most_likely_one_answer() -> None:
    assert answer(0.15, 0.1, 0.2, 0.0, 0.55) == [], "a sofa has no coarser class"
    assert answer(0.16, 0.1, 0.17, 0.0, 0.16) == [("cat", 0.17), ("animal", 0.43)]


def test_sure_coarser_class_answers_though_the_most_likely_class_is_not_below_it() -> None:
    assert answer(0.3, 0.3, 0.0, 0.0, 0.4) == [("dog", 0.6), ("animal", 0.6)]


def test_of_two_sure_coarser_classes_the_one_with_fewer_classes_answers() -> None:
    warm = dict.fromkeys(("red", "yellow", "brown"), "warm")
    hierarchy = Hierarchy((*warm, "blue", "cyan"), {**warm, "warm": "colour", "blue": "cold", "cyan": "cold"})
    assert hierarchy.answer(np.array([0.25, 0.25, 0, 0.25, 0.25], np.float32)) == [("cold", 0.5)]


def test_of_coarser_classes_with_the_same_classes_the_lower_one_answers() -> None:
    hierarchy = Hierarchy(("pug", "beagle"), {"pug": "dog", "beagle": "dog", "dog": "canine", "canine": "mammal"})
    assert [label for label, _ in hierarchy.answer(np.array([0.4, 0.4], np.float32))] == ["dog", "canine", "mammal"]


@pytest.mark.parametrize(
    ("best", "parents", "expected"),
    [
        (("pug", 0.5), [("dog", 0.9)], ("pug", 0.5)),
        (("pug", 0.49), [("dog", 0.5), ("animal", 0.9)], ("dog", 0.5)),
        (("pug", 0.2), [("dog", 0.3), ("animal", 0.6)], ("animal", 0.6)),
        (("pug", 0.2), [("dog", 0.3)], ("pug", 0.2)),
        (("pug", 0.2), [], ("pug", 0.2)),
    ],
)
def test_lead_is_the_most_specific_label_that_is_sure(best: Parent, parents: list[Parent], expected: Parent) -> None:
    assert lead(best, parents) == expected


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ({"pug": "dog", "dog": "pet", "pet": "dog"}, "'dog' is above itself: dog < pet < dog"),
        ({"pug": "pug"}, "'pug' is above itself: pug"),
        ({"dog": "dog", "pug": "dog"}, "'dog' is above itself"),
        ({"pug": "beagle"}, "'beagle' is a class, and cannot be above other classes"),
        ({"pug": "dog", "pgu": "dog"}, "'pgu' is neither a class nor above one"),
        ({"bird": "animal"}, "'bird' is neither a class nor above one"),
        ({"bird": "animal", "animal": "bird"}, "'animal' is neither a class nor above one"),
    ],
)
def test_impossible_tree_is_rejected(parents: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Hierarchy(CLASSES, parents)


def test_tree_with_too_many_levels_is_rejected() -> None:
    levels = {"pug": "level 1", **{f"level {n}": f"level {n + 1}" for n in range(1, MAX_LEVELS)}}
    assert len(Hierarchy(CLASSES, levels).answer(np.array([0, 1, 0, 0, 0], np.float32))) == MAX_LEVELS
    with pytest.raises(ValueError, match=f"'pug' has more than {MAX_LEVELS} coarser classes above it"):
        Hierarchy(CLASSES, {**levels, f"level {MAX_LEVELS}": "everything"})
