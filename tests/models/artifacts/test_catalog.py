"""Loading a store of tiny models with a real engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.artifacts import catalog
from models.artifacts.catalog import Catalog, group_consumers
from models.artifacts.store import MANIFEST_FILE, Artifact, Store
from models.classifier import Embedding, Extractor
from models.engines.base import Engine
from models.engines.selection import EngineSelection, create
from models.errors import CorruptArtifact, EngineError, GoldenMismatch, ModelNotFound, ModelsError, UnsafePickle
from models.manifests import (
    GOLDEN_FILE,
    HEAD_FILE,
    WEIGHTS_FILE,
    Agreement,
    ClassifierManifest,
    ExtractorManifest,
    parse,
    render,
    sha256,
)
from models.offline.predict import classify_files
from models.preprocess import PreprocessSpec
from tests.support import colour_store
from tests.support.colour_images import colour_images
from tests.support.fake_classifiers import fake_classifier, fake_extractor
from tests.support.images import encode
from tests.support.manifests import CLASSES
from training.estimators.linear import Logistic

ONE_THREAD = EngineSelection(threads=1)


def newest(store: Store, name: str = "colours") -> Path:
    return store.classifier(name).folder


def rewrite(folder: Path, change: Callable[[ExtractorManifest], ExtractorManifest]) -> None:
    """Change a manifest and its digest."""
    path = folder / MANIFEST_FILE
    path.write_bytes(render(change(parse(path.read_bytes(), ExtractorManifest))))


def test_all_classifiers_share_one_loaded_extractor(network_store: Store) -> None:
    loaded = catalog.load(network_store, selection=ONE_THREAD)
    assert [classifier.label for classifier in loaded.classifiers] == [
        "colours@2",
        "colours@1",
        "own_top@1",
        "trees@1",
    ]
    assert len(loaded.extractors) == 1
    assert loaded.find("colours").card.startswith("# colours\n\nNames colours.")
    assert loaded.find("own_top").classes == CLASSES


def test_only_named_classifiers_are_loaded(network_store: Store) -> None:
    loaded = catalog.load(network_store, ["trees", "colours@1"], selection=ONE_THREAD)
    assert [(classifier.name, classifier.version) for classifier in loaded.classifiers] == [
        ("trees", 1),
        ("colours", 1),
    ]


def test_loaded_classifier_predicts_the_colours(network_store: Store, tmp_path: Path) -> None:
    images, labels = colour_images(per_class=3, seed=9)
    paths = []
    for index, image in enumerate(images):
        paths.append(tmp_path / f"{index}.png")
        paths[-1].write_bytes(encode(image, "PNG"))
    broken: dict[str, str] = {}
    by_name = {path.name: path for path in paths}
    classifier = catalog.load(network_store, ["colours"], ONE_THREAD).classifiers[0]
    results = dict(classify_files(classifier, by_name, broken.__setitem__))
    assert broken == {}
    assert list(results) == list(by_name)
    accuracy = np.mean([row.argmax() == label for row, label in zip(results.values(), labels, strict=True)])
    assert accuracy > 0.9


def test_empty_store_says_how_to_train_a_classifier(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"There is no classifier in .*python -m training run"):
        catalog.load(Store(tmp_path))


def test_hidden_versions_are_ignored_even_if_corrupt(own_store: Store) -> None:
    all_versions = frozenset(
        (artifact.manifest.name, artifact.manifest.version) for artifact in own_store.classifiers()
    )
    (newest(own_store) / MANIFEST_FILE).write_text("broken")
    with pytest.raises(CorruptArtifact):
        catalog.load(own_store, selection=ONE_THREAD)
    assert len(catalog.load(Store(own_store.root, frozenset({("colours", 2)})), selection=ONE_THREAD).classifiers) == 3
    with pytest.raises(ModelNotFound, match="no classifier"):
        catalog.load(Store(own_store.root, all_versions), selection=ONE_THREAD)


@pytest.mark.parametrize("file", [HEAD_FILE, GOLDEN_FILE, "README.md"])
def test_changed_file_of_a_classifier_is_rejected(own_store: Store, file: str) -> None:
    path = newest(own_store) / file
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    with pytest.raises(CorruptArtifact, match=f"Cannot load colours@2 in .*{file} was changed"):
        catalog.load(own_store, ["colours"], ONE_THREAD)


@pytest.mark.parametrize("file", [WEIGHTS_FILE, GOLDEN_FILE, "README.md"])
def test_changed_file_of_an_extractor_is_rejected(own_store: Store, file: str) -> None:
    path = own_store.extractor("tiny_net").folder / file
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    with pytest.raises(CorruptArtifact, match=f"Cannot load tiny_net@1 in .*{file} was changed"):
        catalog.load(own_store, selection=ONE_THREAD)


def test_hostile_head_with_a_valid_digest_is_rejected(own_store: Store, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickled = b"cos\nsystem\n(Vtouch " + str(canary).encode() + b"\ntR."
    contents = {file: (newest(own_store) / file).read_bytes() for file in (GOLDEN_FILE, "README.md")}
    contents[HEAD_FILE] = pickled
    reference = own_store.classifier("colours").manifest
    digests = {name: sha256(data) for name, data in contents.items()}
    own_store.add(
        ClassifierManifest,
        "colours",
        lambda version: (reference.model_copy(update={"version": version, "files": digests}), contents),
    )
    with pytest.raises(UnsafePickle, match=r"Cannot load colours@3 in .*os\.system, which is not allowed"):
        catalog.load(own_store, ["colours"], ONE_THREAD)
    assert not canary.exists()


def test_head_that_differs_from_its_golden_outputs_is_rejected(own_store: Store) -> None:
    images, labels = colour_images()
    extractor = catalog.load(own_store, ["colours"], ONE_THREAD).extractors[0]
    features = np.asarray(extractor.engine.run(images)["pooled"])
    estimator = Logistic(kind="logistic", C=5).fit(features, labels, seed=0)
    folder = colour_store.save_classifier(own_store, "drifted", estimator, extractor, temperature=1.0).folder
    manifest = own_store.classifier("drifted").manifest
    warmer = manifest.model_copy(update={"head": manifest.head.model_copy(update={"temperature": 3.0})})
    (folder / MANIFEST_FILE).write_bytes(render(warmer))
    with pytest.raises(GoldenMismatch, match=r"Cannot load drifted@1 in .*The head does not reproduce"):
        catalog.load(own_store, ["drifted"], ONE_THREAD)


def test_head_for_other_features_or_classes_is_rejected(own_store: Store) -> None:
    artifact = own_store.classifier("trees")
    assert catalog.load_head(artifact, 64).temperature == artifact.manifest.head.temperature
    with pytest.raises(UnsafePickle, match=r"Cannot load trees@1 in .*The head is not for 65 features and 4 classes"):
        catalog.load_head(artifact, 65)
    fewer = artifact.manifest.model_copy(update={"classes": CLASSES[1:]})
    with pytest.raises(UnsafePickle, match="The head is not for 64 features and 3 classes"):
        catalog.load_head(Artifact(artifact.folder, fewer), 64)


def test_extractor_without_a_supported_engine_is_rejected(own_store: Store) -> None:
    folder = own_store.extractor("tiny_net").folder
    unsupported = {"other:int8": Agreement(min_cosine=0.9, min_top1=0.9)}
    rewrite(folder, lambda manifest: manifest.model_copy(update={"engines": unsupported}))
    with pytest.raises(EngineError, match=r"tiny_net@1 supports other:int8"):
        catalog.load(own_store, selection=ONE_THREAD)


def test_failing_engine_falls_back_to_the_next(own_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = own_store.extractor("tiny_net").folder
    loose = Agreement(min_cosine=0.9, min_top1=0.9)
    rewrite(
        folder,
        lambda manifest: manifest.model_copy(
            update={"engines": {"openvino:float32": loose, "tensorflow:float32": loose}}
        ),
    )

    def without_driver(name: str, *args: Any, **kwargs: Any) -> Engine:
        if name.startswith("openvino"):
            raise RuntimeError("no driver")
        return create(name, *args, **kwargs)

    monkeypatch.setattr(catalog, "create", without_driver)
    (extractor,) = catalog.load(own_store, selection=ONE_THREAD).extractors
    assert extractor.engine.name == "tensorflow:float32"
    with pytest.raises(EngineError, match=r"openvino:float32 cannot run tiny_net@1 on this machine: no driver"):
        catalog.load(own_store, selection=EngineSelection("openvino", threads=1))


def test_extractor_that_differs_from_its_golden_outputs_is_rejected(own_store: Store) -> None:
    folder = own_store.extractor("tiny_net").folder
    impossible = {"tensorflow:float32": Agreement(min_cosine=1, min_top1=1)}
    rewrite(folder, lambda manifest: manifest.model_copy(update={"engines": impossible}))
    with pytest.raises(GoldenMismatch, match=r"Cannot load tiny_net@1 in .*does not reproduce the stored features"):
        catalog.load(own_store, selection=ONE_THREAD)


def verify(store: Store) -> dict[str, ModelsError | None]:
    return dict(catalog.verify(store))


def test_verify_checks_every_artifact(own_store: Store) -> None:
    assert verify(own_store) == dict.fromkeys(
        ["extractor tiny_net@1", "classifier colours@2", "classifier colours@1", "classifier own_top@1",
         "classifier trees@1"]
    )  # fmt: skip
    (newest(own_store, "trees") / HEAD_FILE).write_bytes(b"x")
    invalid = {label: error for label, error in verify(own_store).items() if error}
    assert list(invalid) == ["classifier trees@1"]


def test_verify_reports_classifiers_of_an_invalid_extractor(own_store: Store) -> None:
    (own_store.extractor("tiny_net").folder / WEIGHTS_FILE).write_bytes(b"x")
    errors = verify(own_store)
    assert all(errors.values())
    assert "weights.safetensors was changed" in str(errors["extractor tiny_net@1"])
    assert "its extractor is invalid" in str(errors["classifier trees@1"])


# --- lookup and grouping


@pytest.fixture
def extractor() -> Extractor:
    return fake_extractor()


def test_classifiers_with_equal_extractor_and_spec_are_grouped(extractor: Extractor) -> None:
    other = fake_extractor("other")
    a, b = fake_classifier(extractor, "a"), fake_classifier(extractor, "b")
    smaller = fake_classifier(extractor, "smaller", source=16)
    separate = fake_classifier(other, "separate")
    assert group_consumers([a, smaller, separate, b]) == {
        (extractor, a.spec): (a, b),
        (extractor, smaller.spec): (smaller,),
        (other, a.spec): (separate,),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"source": 16},
        {"crop": "none"},
        {"shrink": "box"},
        {"enlarge": "box"},
        {"decode_margin": 2},
        {"mirror": True},
    ],
    ids=str,
)
def test_specs_that_differ_in_one_field_are_not_grouped(extractor: Extractor, change: dict[str, Any]) -> None:
    """An item of a batch has the pixels of one spec, for all its classifiers."""
    spec = PreprocessSpec(size=32)
    first, second, third = (
        Embedding(extractor, each) for each in (spec, spec.model_copy(update=change), spec.model_copy())
    )
    assert group_consumers([first, second, third]) == {
        (extractor, first.spec): (first, third),
        (extractor, second.spec): (second,),
    }


def test_find_returns_the_newest_or_the_given_version(extractor: Extractor) -> None:
    versions = [fake_classifier(extractor, version=version) for version in (10, 9, 1)]
    catalog = Catalog(tuple(versions))
    assert catalog.find("colours").version == 10
    assert catalog.find("colours", 9) is versions[1]
    with pytest.raises(ModelNotFound, match=r"no model colours@2\. Available: colours@10, colours@9, colours@1\."):
        catalog.find("colours", 2)
    with pytest.raises(ModelNotFound, match=r"no model dogs\. Available: colours@10"):
        catalog.find("dogs")
    with pytest.raises(ModelNotFound, match="Available: none"):
        Catalog(()).find("dogs")


def test_extractors_of_a_catalog_are_distinct(extractor: Extractor) -> None:
    other = fake_extractor("other")
    classifiers = [fake_classifier(base, name) for base in (extractor, other) for name in ("a", "b")]
    assert Catalog(tuple(classifiers)).extractors == (extractor, other)
