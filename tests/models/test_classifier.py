"""Inference on batches, and the most probable classes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.arrays import Floats
from models.classifier import BatchItem, Classifier, Extractor, classify, try_classify, unwrap_output
from models.errors import HeadFailed
from tests.support.colour_engine import ColourEngine
from tests.support.colour_images import colour_images
from tests.support.fake_classifiers import CountingHead, fake_classifier, fake_extractor
from tests.support.manifests import CLASSES


@pytest.fixture
def extractor() -> Extractor:
    return fake_extractor()


def engine_batches(extractor: Extractor) -> list[int]:
    assert isinstance(extractor.engine, ColourEngine)
    return extractor.engine.batch_sizes


def head_batches(classifier: Classifier) -> list[int]:
    assert isinstance(classifier.head.estimator, CountingHead)
    return classifier.head.estimator.call_sizes


# --- batches


def test_extractor_and_heads_run_once_per_batch(extractor: Extractor) -> None:
    first, second, third = (fake_classifier(extractor, name) for name in ("first", "second", "third"))
    consumers = [(first,), (first, second), (second, first), (third,), (first,)]
    images, _ = colour_images()
    items = [BatchItem(pixels, classifiers) for pixels, classifiers in zip(images[::7], consumers, strict=True)]
    results = classify(extractor.engine, items)
    assert engine_batches(extractor) == [5], "features must be computed once per batch"
    assert [head_batches(classifier) for classifier in (first, second, third)] == [[4], [2], [1]]
    assert [len(result) for result in results] == [1, 2, 2, 1, 1]


def test_results_belong_to_their_image_and_classifier(extractor: Extractor) -> None:
    pooled, top = fake_classifier(extractor), fake_classifier(extractor, "own_top", output="colour")
    images, labels = colour_images()
    items = [BatchItem(pixels, (pooled, top) if index % 2 else (top, pooled)) for index, pixels in enumerate(images)]
    for index, (item, results) in enumerate(zip(items, classify(extractor.engine, items), strict=True)):
        for classifier, probabilities in zip(item.consumers, results, strict=True):
            ((alone,),) = classify(extractor.engine, [BatchItem(item.pixels, (classifier,))])
            assert np.allclose(probabilities, alone, atol=1e-6), f"item {index} got the result of another one"
            assert probabilities.argmax() == labels[index]
            assert probabilities.shape == (len(CLASSES),)


def test_versions_of_a_classifier_run_separate_heads(extractor: Extractor) -> None:
    old, new = (fake_classifier(extractor, version=version) for version in (1, 2))
    classify(extractor.engine, [BatchItem(colour_images()[0][0], (old, new))])
    assert head_batches(old) == head_batches(new) == [1]


def test_failing_head_fails_only_its_own_results(extractor: Extractor) -> None:
    sound, broken = (fake_classifier(extractor, name) for name in ("sound", "broken"))
    assert isinstance(broken.head.estimator, CountingHead)
    broken.head.estimator.estimator = FailingEstimator()
    pixels = colour_images()[0][0]
    items = [BatchItem(pixels, (sound,)), BatchItem(pixels, (broken, sound)), BatchItem(pixels, (broken,))]
    first, second, third = try_classify(extractor.engine, items)
    ((alone,),) = classify(extractor.engine, [BatchItem(pixels, (sound,))])
    for result in (first[0], second[1]):
        np.testing.assert_allclose(unwrap_output(result), alone, atol=1e-6)
    for result in (second[0], third[0]):
        with pytest.raises(HeadFailed, match="broken@1") as raised:
            unwrap_output(result)
        assert isinstance(raised.value.__cause__, ZeroDivisionError)
    with pytest.raises(HeadFailed):
        classify(extractor.engine, items)


class FailingEstimator:
    def predict_proba(self, features: Floats) -> Floats:
        raise ZeroDivisionError


# --- the top classes


def row(*values: float) -> Floats:
    return np.array(values, np.float32)


def test_top_classes_are_sorted_and_have_their_index(extractor: Extractor) -> None:
    classifier = fake_classifier(extractor)
    top = classifier.top(row(0.125, 0.5, 0.125, 0.25), k=3)
    assert top == [("green", 1, 0.5), ("yellow", 3, 0.25), ("blue", 0, 0.125)]


def test_top_k_above_the_number_of_classes_returns_all(extractor: Extractor) -> None:
    assert len(fake_classifier(extractor).top(row(0.1, 0.2, 0.3, 0.4), k=99)) == len(CLASSES)


def test_threshold_is_inclusive_and_can_remove_all(extractor: Extractor) -> None:
    classifier = fake_classifier(extractor)
    assert [label for label, *_ in classifier.top(row(0.25, 0.5, 0.25, 0), 5, threshold=0.25)] == [
        "green",
        "blue",
        "red",
    ]
    assert classifier.top(row(0.25, 0.25, 0.25, 0.25), 5, threshold=0.3) == []


@settings(deadline=None)  # the first example fits the classifier
@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), st.integers(1, 6), st.floats(0, 1))
def test_top_is_sorted_and_above_the_threshold(values: list[float], k: int, threshold: float) -> None:
    top = fake_classifier_once().top(row(*values), k, threshold)
    scores = [score for _, _, score in top]
    assert scores == sorted(scores, reverse=True)
    assert all(score >= threshold and CLASSES[index] == label for label, index, score in top)
    assert len(top) == min(k, sum(float(value) >= threshold for value in row(*values)))


@functools.cache
def fake_classifier_once() -> Classifier:
    return fake_classifier(fake_extractor())
