"""The tiny store, loaded with its real engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.artifacts import catalog
from models.artifacts.store import MANIFEST_FILE, Store
from models.engines.base import Engine
from models.engines.selection import EngineSelection, create
from models.errors import CorruptArtifact, EngineError, GoldenMismatch, ModelNotFound, ModelsError, UnsafePickle
from models.manifests import (
    GOLDEN_FILE,
    HEAD_FILE,
    WEIGHTS_FILE,
    Agreement,
    ExtractorManifest,
    parse,
    render,
    sha256,
)
from models.offline.predict import classify_files
from tests.support import tiny_models as tiny
from tests.support.images import encode
from tests.support.tiny_models import CLASSES
from training.estimators.heads import Logistic

ONE_THREAD = EngineSelection(threads=1)


def newest(store: Store, name: str = "colours") -> Path:
    return store.classifier(name).folder


def rewrite(folder: Path, change: Callable[[ExtractorManifest], ExtractorManifest]) -> None:
    """A manifest that was changed by somebody who can compute its digest."""
    path = folder / MANIFEST_FILE
    path.write_bytes(render(change(parse(path.read_bytes(), ExtractorManifest))))


def test_everything_in_a_store_loads_on_one_extractor(tiny_store: Store) -> None:
    found = catalog.load(tiny_store, choice=ONE_THREAD)
    assert [f"{each.name}@{each.version}" for each in found.classifiers] == [
        "colours@2",
        "colours@1",
        "own_top@1",
        "trees@1",
    ]
    assert len(found.extractors) == 1, "the extractor has to be loaded once for all its classifiers"
    assert found.find("colours").card == "# colours\n\nNames colours."
    assert found.find("own_top").classes == CLASSES


def test_by_name_only_what_was_asked_for_is_loaded(tiny_store: Store) -> None:
    found = catalog.load(tiny_store, ["trees", "colours@1"], choice=ONE_THREAD)
    assert [(each.name, each.version) for each in found.classifiers] == [("trees", 1), ("colours", 1)]


def test_loaded_classifiers_know_the_colours(tiny_store: Store, tmp_path: Path) -> None:
    images, labels = tiny.pictures(each=3, seed=9)
    paths = []
    for index, image in enumerate(images):
        paths.append(tmp_path / f"{index}.png")
        paths[-1].write_bytes(encode(image, "PNG"))
    broken: dict[str, str] = {}
    named = {path.name: path for path in paths}
    found = dict(
        classify_files(catalog.load(tiny_store, ["colours"], ONE_THREAD).classifiers[0], named, broken.__setitem__)
    )
    assert broken == {}
    assert list(found) == list(named)
    right = np.mean([row.argmax() == label for row, label in zip(found.values(), labels, strict=True)])
    assert right > 0.9


def test_an_empty_store_says_how_to_make_a_classifier(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"There is no classifier in .*python -m training run"):
        catalog.load(Store(tmp_path))


def test_what_is_hidden_is_not_looked_at_nor_is_the_extractor_below_it(own_store: Store) -> None:
    every = frozenset((each.manifest.name, each.manifest.version) for each in own_store.classifiers())
    (newest(own_store) / MANIFEST_FILE).write_text("broken")
    with pytest.raises(CorruptArtifact):
        catalog.load(own_store, choice=ONE_THREAD)
    assert len(catalog.load(Store(own_store.root, frozenset({("colours", 2)})), choice=ONE_THREAD).classifiers) == 3
    with pytest.raises(ModelNotFound, match="no classifier"):
        catalog.load(Store(own_store.root, every), choice=ONE_THREAD)


@pytest.mark.parametrize("file", [HEAD_FILE, GOLDEN_FILE, "README.md"])
def test_a_changed_file_of_a_classifier_is_refused(own_store: Store, file: str) -> None:
    path = newest(own_store) / file
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    with pytest.raises(CorruptArtifact, match=f"Refusing colours@2 in .*{file} was changed"):
        catalog.load(own_store, ["colours"], ONE_THREAD)


@pytest.mark.parametrize("file", [WEIGHTS_FILE, GOLDEN_FILE, "README.md"])
def test_a_changed_file_of_an_extractor_is_refused(own_store: Store, file: str) -> None:
    path = own_store.extractor("tiny_net").folder / file
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    with pytest.raises(CorruptArtifact, match=f"Refusing tiny_net@1 in .*{file} was changed"):
        catalog.load(own_store, choice=ONE_THREAD)


def test_a_hostile_head_is_refused_although_its_digest_matches(own_store: Store, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickled = b"cos\nsystem\n(Vtouch " + str(canary).encode() + b"\ntR."
    contents = {file: (newest(own_store) / file).read_bytes() for file in (GOLDEN_FILE, "README.md")}
    contents[HEAD_FILE] = pickled
    reference = own_store.classifier("colours").manifest
    own_store.add(
        lambda version: (
            reference.model_copy(
                update={"version": version, "files": {name: sha256(data) for name, data in contents.items()}}
            ),
            contents,
        ),
        type(reference),
        "colours",
    )
    with pytest.raises(UnsafePickle, match=r"Refusing colours@3 in .*os\.system, which is not allowed"):
        catalog.load(own_store, ["colours"], ONE_THREAD)
    assert not canary.exists()


def test_a_head_that_does_not_repeat_its_golden_outputs_is_refused(own_store: Store) -> None:
    images, labels = tiny.pictures()
    extractor = catalog.load(own_store, ["colours"], ONE_THREAD).extractors[0]
    features = np.asarray(extractor.engine.run(images)["pooled"])
    estimator = Logistic(kind="logistic", C=5).fit(features, labels, seed=0)
    folder = tiny.save_classifier(own_store, "drifted", estimator, extractor, temperature=1.0).folder
    manifest = own_store.classifier("drifted").manifest
    warmer = manifest.model_copy(update={"head": manifest.head.model_copy(update={"temperature": 3.0})})
    (folder / MANIFEST_FILE).write_bytes(render(warmer))
    with pytest.raises(GoldenMismatch, match=r"Refusing drifted@1 in .*The head does not repeat"):
        catalog.load(own_store, ["drifted"], ONE_THREAD)


def test_an_extractor_that_was_not_proved_on_this_engine_is_refused(own_store: Store) -> None:
    folder = own_store.extractor("tiny_net").folder
    other = {"elsewhere:int8": Agreement(min_cosine=0.9, min_top1=0.9)}
    rewrite(folder, lambda manifest: manifest.model_copy(update={"engines": other}))
    with pytest.raises(EngineError, match=r"tiny_net@1 runs on elsewhere:int8"):
        catalog.load(own_store, choice=ONE_THREAD)


def test_an_engine_that_fails_on_this_machine_gives_way_to_the_next(
    own_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_store.extractor("tiny_net").folder
    loose = Agreement(min_cosine=0.9, min_top1=0.9)
    rewrite(
        folder,
        lambda manifest: manifest.model_copy(
            update={"engines": {"openvino:float32": loose, "tensorflow:float32": loose}}
        ),
    )

    def without_driver(name: str, *rest: Any, **named: Any) -> Engine:
        if name.startswith("openvino"):
            raise RuntimeError("no driver")
        return create(name, *rest, **named)

    monkeypatch.setattr(catalog, "create", without_driver)
    (extractor,) = catalog.load(own_store, choice=ONE_THREAD).extractors
    assert extractor.engine.name == "tensorflow:float32"
    with pytest.raises(EngineError, match=r"openvino:float32 cannot run tiny_net@1 on this machine: no driver"):
        catalog.load(own_store, choice=EngineSelection("openvino", threads=1))


def test_an_extractor_that_does_not_repeat_its_golden_outputs_is_refused(own_store: Store) -> None:
    folder = own_store.extractor("tiny_net").folder
    impossible = {"tensorflow:float32": Agreement(min_cosine=1, min_top1=1)}
    rewrite(folder, lambda manifest: manifest.model_copy(update={"engines": impossible}))
    with pytest.raises(GoldenMismatch, match=r"Refusing tiny_net@1 in .*does not repeat the stored features"):
        catalog.load(own_store, choice=ONE_THREAD)


def outcomes(store: Store) -> dict[str, ModelsError | None]:
    return dict(catalog.verify(store))


def test_checking_goes_through_everything(own_store: Store) -> None:
    assert outcomes(own_store) == dict.fromkeys(
        ["extractor tiny_net@1", "classifier colours@2", "classifier colours@1", "classifier own_top@1",
         "classifier trees@1"]
    )  # fmt: skip
    (newest(own_store, "trees") / HEAD_FILE).write_bytes(b"x")
    refused = {label: error for label, error in outcomes(own_store).items() if error}
    assert list(refused) == ["classifier trees@1"], "one bad classifier must not spoil the others"


def test_checking_says_which_classifiers_lose_their_extractor(own_store: Store) -> None:
    (own_store.extractor("tiny_net").folder / WEIGHTS_FILE).write_bytes(b"x")
    found = outcomes(own_store)
    assert all(found.values())
    assert "weights.safetensors was changed" in str(found["extractor tiny_net@1"])
    assert "the extractor that it stands on is refused" in str(found["classifier trees@1"])
