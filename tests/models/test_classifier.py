from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artifacts.catalog import Catalog, group
from models.classifier import BatchItem, Classifier, Extractor, classify, classify_each, unwrap_output
from models.decoding.image import Limits
from models.errors import EmptyImage, HeadFailed, ImageTooLarge, ModelNotFound
from models.heads import Floats
from models.offline import predict as answers
from models.preprocess import PreprocessSpec, prepare
from tests.support.images import encode, noise
from tests.support.tiny_models import (
    CLASSES,
    ColourEngine,
    CountingHead,
    fixture_classifier,
    fixture_extractor,
    pictures,
)


@pytest.fixture
def extractor() -> Extractor:
    return fixture_extractor()


def runs(extractor: Extractor) -> list[int]:
    assert isinstance(extractor.engine, ColourEngine)
    return extractor.engine.sizes


def asked(classifier: Classifier) -> list[int]:
    assert isinstance(classifier.head.estimator, CountingHead)
    return classifier.head.estimator.sizes


# --- a batch


def test_the_extractor_runs_once_and_each_head_once_over_the_rows_it_reads(extractor: Extractor) -> None:
    first, second, third = (fixture_classifier(extractor, name) for name in ("first", "second", "third"))
    readers = [(first,), (first, second), (second, first), (third,), (first,)]
    images, _ = pictures()
    rows = [BatchItem(pixels, classifiers) for pixels, classifiers in zip(images[::7], readers, strict=True)]
    answers = classify(extractor.engine, rows)
    assert runs(extractor) == [5], "features are computed once, whoever asked"
    assert [asked(each) for each in (first, second, third)] == [[4], [2], [1]], "a head runs once for each batch"
    assert [len(answer) for answer in answers] == [1, 2, 2, 1, 1]


def test_every_answer_is_the_one_of_its_own_row_and_classifier(extractor: Extractor) -> None:
    pooled, top = fixture_classifier(extractor), fixture_classifier(extractor, "own_top", output="colour")
    images, labels = pictures()
    rows = [BatchItem(pixels, (pooled, top) if index % 2 else (top, pooled)) for index, pixels in enumerate(images)]
    for index, (row, answer) in enumerate(zip(rows, classify(extractor.engine, rows), strict=True)):
        for classifier, probabilities in zip(row.consumers, answer, strict=True):
            ((alone,),) = classify(extractor.engine, [BatchItem(row.pixels, (classifier,))])
            assert np.allclose(probabilities, alone, atol=1e-6), f"row {index} got the answer of another one"
            assert probabilities.argmax() == labels[index]
            assert probabilities.shape == (len(CLASSES),)


def test_two_versions_of_a_classifier_are_two_heads(extractor: Extractor) -> None:
    old, new = (fixture_classifier(extractor, version=version) for version in (1, 2))
    classify(extractor.engine, [BatchItem(pictures()[0][0], (old, new))])
    assert asked(old) == asked(new) == [1]


def test_a_head_that_fails_fails_its_own_answers_alone(extractor: Extractor) -> None:
    sound, broken = (fixture_classifier(extractor, name) for name in ("sound", "broken"))
    assert isinstance(broken.head.estimator, CountingHead)
    broken.head.estimator.estimator = Broken()
    pixels = pictures()[0][0]
    rows = [BatchItem(pixels, (sound,)), BatchItem(pixels, (broken, sound)), BatchItem(pixels, (broken,))]
    first, second, third = classify_each(extractor.engine, rows)
    ((alone,),) = classify(extractor.engine, [BatchItem(pixels, (sound,))])
    for answer in (first[0], second[1]):
        np.testing.assert_allclose(unwrap_output(answer), alone, atol=1e-6)
    for answer in (second[0], third[0]):
        with pytest.raises(HeadFailed, match="broken@1") as failed:
            unwrap_output(answer)
        assert isinstance(failed.value.__cause__, ZeroDivisionError)
    with pytest.raises(HeadFailed):
        classify(extractor.engine, rows)


class Broken:
    """An estimator that cannot answer."""

    def predict_proba(self, features: Floats) -> Floats:
        raise ZeroDivisionError


# --- preparing


def test_limits_and_refusals_are_those_of_the_image() -> None:
    spec = PreprocessSpec(size=32)
    with pytest.raises(EmptyImage):
        prepare(b"", [spec])
    with pytest.raises(ImageTooLarge):
        prepare(encode(noise(8, 8), "PNG"), [spec], Limits(max_pixels=63))


def test_each_spec_gets_pixels_of_its_own_size() -> None:
    specs = [PreprocessSpec(size=32), PreprocessSpec(size=48, source=16)]
    found = prepare(encode(noise(80, 60), "JPEG"), specs)
    assert {spec.size: pixels.shape for spec, pixels in found.items()} == {32: (32, 32, 3), 48: (48, 48, 3)}


# --- the top classes


def row(*values: float) -> Floats:
    return np.array(values, np.float32)


def test_the_top_classes_come_with_their_index_in_descending_order(extractor: Extractor) -> None:
    classifier = fixture_classifier(extractor)
    found = classifier.top(row(0.125, 0.5, 0.125, 0.25), k=3)
    assert found == [("green", 1, 0.5), ("yellow", 3, 0.25), ("blue", 0, 0.125)]


def test_more_than_all_classes_are_all(extractor: Extractor) -> None:
    assert len(fixture_classifier(extractor).top(row(0.1, 0.2, 0.3, 0.4), k=99)) == len(CLASSES)


def test_a_threshold_is_inclusive_and_may_leave_nothing(extractor: Extractor) -> None:
    classifier = fixture_classifier(extractor)
    assert [label for label, *_ in classifier.top(row(0.25, 0.5, 0.25, 0), 5, threshold=0.25)] == [
        "green",
        "blue",
        "red",
    ]
    assert classifier.top(row(0.25, 0.25, 0.25, 0.25), 5, threshold=0.3) == []


@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), st.integers(1, 6), st.floats(0, 1))
def test_the_top_is_sorted_and_above_the_threshold(values: list[float], k: int, threshold: float) -> None:
    found = fixture_classifier_once().top(row(*values), k, threshold)
    scores = [score for _, _, score in found]
    assert scores == sorted(scores, reverse=True)
    assert all(score >= threshold and CLASSES[index] == label for label, index, score in found)
    assert len(found) == min(k, sum(float(value) >= threshold for value in row(*values)))


@functools.cache
def fixture_classifier_once() -> Classifier:
    return fixture_classifier(fixture_extractor())


# --- a catalog of them


def test_classifiers_of_one_extractor_and_spec_share_a_row(extractor: Extractor) -> None:
    other = fixture_extractor("other")
    a, b = fixture_classifier(extractor, "a"), fixture_classifier(extractor, "b")
    narrower = fixture_classifier(extractor, "narrower", source=16)
    elsewhere = fixture_classifier(other, "elsewhere")
    found = group([a, narrower, elsewhere, b])
    assert found == {
        (extractor, a.spec): (a, b),
        (extractor, narrower.spec): (narrower,),
        (other, a.spec): (elsewhere,),
    }


def test_the_newest_version_is_found_unless_another_is_asked_for(extractor: Extractor) -> None:
    versions = [fixture_classifier(extractor, version=version) for version in (10, 9, 1)]
    catalog = Catalog(tuple(versions))
    assert catalog.find("colours").version == 10
    assert catalog.find("colours", 9) is versions[1]
    with pytest.raises(ModelNotFound, match=r"no model colours@2\. There is: colours@10, colours@9, colours@1\."):
        catalog.find("colours", 2)
    with pytest.raises(ModelNotFound, match=r"no model dogs\. There is: colours@10"):
        catalog.find("dogs")
    with pytest.raises(ModelNotFound, match="There is: none"):
        Catalog(()).find("dogs")


def test_each_extractor_of_a_catalog_is_counted_once(extractor: Extractor) -> None:
    other = fixture_extractor("other")
    classifiers = [fixture_classifier(below, name) for below in (extractor, other) for name in ("a", "b")]
    assert Catalog(tuple(classifiers)).extractors == (extractor, other)


# --- pictures on disk


@pytest.mark.parametrize(("side", "sizes"), [(32, [128, 128, 4]), (299, [32] * 8 + [4])])
def test_pictures_on_disk_share_batches_as_large_as_memory_allows(
    extractor: Extractor, tmp_path: Path, side: int, sizes: list[int]
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(noise(8, 8), "PNG"))
    classifier = fixture_classifier(extractor)
    manifest = classifier.manifest.model_copy(update={"preprocess": PreprocessSpec(size=side)})
    named = {str(number): path for number in range(260)}
    broken: dict[str, str] = {}
    found = answers.classify_files(replace(classifier, manifest=manifest), named, broken.__setitem__)
    assert [name for name, _ in found] == list(named)
    assert (runs(extractor), broken) == (sizes, {})
