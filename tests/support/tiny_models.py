"""A store that is small but real: a network of 40,000 weights, and heads that were fitted on its features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models import heads, networks
from models.arrays import Pixels
from models.artifacts import golden
from models.artifacts.store import ClassifierArtifact, ExtractorArtifact, Store
from models.classifier import Classifier, Extractor
from models.engines.base import Outputs, Runner
from models.engines.selection import create
from models.heads import Estimator, Floats, Head, Integers, top_softmax
from models.manifests import (
    CARD_FILE,
    GOLDEN_FILE,
    HEAD_FILE,
    WEIGHTS_FILE,
    Agreement,
    ClassifierManifest,
    ExtractorManifest,
    ExtractorReference,
    HeadReference,
    Metrics,
    sha256,
)
from models.networks import POOLED
from models.preprocess import PreprocessSpec
from training.estimators.heads import Logistic, XGBoost

SIDE = 32
COLOURS = {"blue": (20, 30, 220), "green": (20, 200, 30), "red": (220, 20, 30), "yellow": (230, 220, 20)}
CLASSES = tuple(COLOURS)


def pictures(each: int = 8, seed: int = 0) -> tuple[Pixels, Integers]:
    """Noisy pictures of one colour each: uint8 [n, SIDE, SIDE, 3] and the indices of their classes."""
    noise = np.random.default_rng(seed).normal(0, 25, (len(COLOURS), each, SIDE, SIDE, 3))
    pixels = np.clip(np.array(list(COLOURS.values()))[:, None, None, None] + noise, 0, 255)
    return pixels.reshape(-1, SIDE, SIDE, 3).astype(np.uint8), np.repeat(np.arange(len(COLOURS)), each)


# --- without TensorFlow


@dataclass
class ColourEngine:
    """Its features are the mean colour; remembers the sizes of its batches."""

    name: str = "fixture:float32"
    sizes: list[int] = field(default_factory=list)
    max_concurrent_runs: int = 1
    shares_cores: bool = False

    @property
    def concurrent(self) -> Runner:
        """Itself."""
        return self

    def preferred_batch_sizes(self, max_batch: int) -> range:
        """All."""
        return range(1, max_batch + 1)

    def warmup(self, max_batch: int) -> None:
        pass

    def run(self, batch: Pixels) -> Outputs:
        self.sizes.append(len(batch))
        return {POOLED: mean_colours(batch), "colour": nearest(batch)}


def mean_colours(batch: Pixels) -> Floats:
    """uint8 [n, size, size, 3] -> float32 [n, 3]."""
    return np.asarray(batch.mean(axis=(1, 2)) / 255, np.float32)


def nearest(batch: Pixels) -> Floats:
    """uint8 [n, size, size, 3] -> float32 [n, colours], probabilities by distance of colour."""
    distances = np.linalg.norm(batch.mean(axis=(1, 2))[:, None] - np.array(list(COLOURS.values())), axis=2)
    powers = np.exp(-distances / 50)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


@dataclass
class CountingHead:
    """An estimator that remembers how many rows it was asked for, each time."""

    estimator: Estimator
    sizes: list[int] = field(default_factory=list)

    def predict_proba(self, features: Floats) -> Any:
        self.sizes.append(len(features))
        return self.estimator.predict_proba(features)


def fixture_extractor(name: str = "fixture") -> Extractor:
    """An extractor on a ColourEngine."""
    manifest = extractor_manifest(
        {},
        name=name,
        network="fixture",
        outputs={POOLED: 3, "colour": len(CLASSES)},
        engines={"fixture:float32": Agreement(min_cosine=0.999, min_top1=1)},
        files={WEIGHTS_FILE: sha256(name.encode())},
    )
    return Extractor(manifest, ColourEngine())


def fixture_classifier(extractor: Extractor, name: str = "colours", version: int = 1, **spec: Any) -> Classifier:
    """A logistic regression on mean colours, or the colours themselves for the output `colour`."""
    images, labels = pictures()
    output = spec.pop("output", POOLED)
    estimator: Estimator
    if output == POOLED:
        estimator = Logistic(kind="logistic", C=10).fit(mean_colours(images), labels, seed=0)
    else:
        estimator = top_softmax(CLASSES, CLASSES)
    manifest = classifier_manifest(
        {HEAD_FILE: b""},
        name=name,
        version=version,
        preprocess=PreprocessSpec(size=SIDE, **spec),
        extractor=ExtractorReference(
            name=extractor.manifest.name, weights_sha256=extractor.manifest.weights_sha256, output=output
        ),
    )
    return Classifier(manifest, extractor, Head(CountingHead(estimator)), "# Colours")


# --- manifests


def extractor_manifest(contents: Mapping[str, bytes], **changes: Any) -> ExtractorManifest:
    fields: dict[str, Any] = {
        "name": "tiny_net",
        "version": 1,
        "created": "2026-01-01",
        "network": "small_cnn",
        "input_size": SIDE,
        "outputs": {POOLED: 64, "colour": len(CLASSES)},
        "tops": {"colour": CLASSES},
        "engines": {"tensorflow:float32": Agreement(min_cosine=0.9999, min_top1=0.98)},
        "fitted_on": {"colours": {"images": 32}},
        "recipe": {},
        "seed": 0,
        "libraries": {},
        "files": {file: sha256(data) for file, data in contents.items()},
    }
    return ExtractorManifest.model_validate({**fields, **changes})


def classifier_manifest(contents: Mapping[str, bytes], **changes: Any) -> ClassifierManifest:
    figures = Metrics(
        images=32,
        accuracy=0.75,
        accuracy_interval=(0.58, 0.87),
        top5_accuracy=1.0,
        log_loss=0.5,
        expected_calibration_error=0.1,
        accuracy_by_class=dict.fromkeys(CLASSES, 0.75),
    )
    fields: dict[str, Any] = {
        "name": "colours",
        "version": 1,
        "created": "2026-01-01",
        "classes": CLASSES,
        "preprocess": PreprocessSpec(size=SIDE, source=16),
        "extractor": ExtractorReference(name="tiny_net", weights_sha256="0" * 64, output=POOLED),
        "head": HeadReference(kind="logistic", sha256=sha256(contents.get(HEAD_FILE, b"")), temperature=1.5),
        "metrics": {"test": figures},
        "recipe": {"name": "colours", "head": {"kind": "logistic"}},
        "data": {"digest": "0" * 64, "images": 32},
        "seed": 0,
        "libraries": {"numpy": "2"},
        "files": {file: sha256(data) for file, data in contents.items()},
    }
    return ClassifierManifest.model_validate({**fields, **changes})


Build = Callable[[int], tuple[ClassifierManifest, Mapping[str, bytes]]]


def classifier_of(contents: Mapping[str, bytes], name: str = "colours") -> Build:
    """What `Store.save` asks for: a classifier of these files."""
    return lambda version: (classifier_manifest(contents, name=name, version=version), contents)


# --- with TensorFlow


def build(root: Path) -> Store:
    """Extractor `tiny_net`; `colours` twice (logistic regression), `trees` (XGBoost), `own_top` (its softmax)."""
    store = Store(root)
    extractor = save_extractor(store)
    images, labels = pictures()
    features = extractor.engine.run(images)[POOLED]
    for C in (1.0, 2.0):  # noqa: N806 -- as scikit-learn calls it
        save_classifier(
            store, "colours", Logistic(kind="logistic", C=C).fit(features, labels, seed=0), extractor, temperature=1.5
        )
    save_classifier(store, "trees", XGBoost(kind="xgboost", n_estimators=5).fit(features, labels, seed=0), extractor)
    save_classifier(store, "own_top", top_softmax(CLASSES, sorted(CLASSES)), extractor, output="colour")
    return store


def save_extractor(store: Store, name: str = "tiny_net", seed: int = 0) -> Extractor:
    """Random weights, proved and saved."""
    import keras

    keras.utils.set_random_seed(seed)
    tensors = networks.tensors(networks.build("small_cnn", SIDE, {"colour": len(CLASSES)}))
    draft = extractor_manifest({}, name=name)
    contents = {WEIGHTS_FILE: networks.to_bytes(tensors)}
    engine = create("tensorflow:float32", draft, contents.__getitem__, threads=1)
    contents |= {
        GOLDEN_FILE: golden.record_extractor(engine, SIDE),
        CARD_FILE: f"# {name}\n\nKnows nothing.".encode(),
    }

    def build(version: int) -> tuple[ExtractorManifest, Mapping[str, bytes]]:
        return extractor_manifest(contents, name=name, version=version), contents

    artifact: ExtractorArtifact = store.add(build, ExtractorManifest, name)
    return Extractor(artifact.manifest, engine)


def save_classifier(
    store: Store,
    name: str,
    estimator: Estimator,
    extractor: Extractor,
    output: str = POOLED,
    temperature: float = 1.0,
    **changes: Any,
) -> ClassifierArtifact:
    """A fitted estimator as the next version of a classifier."""
    pickled = heads.save(estimator)
    features = np.asarray(extractor.engine.run(pictures(each=2)[0])[output])
    contents = {
        HEAD_FILE: pickled,
        GOLDEN_FILE: golden.record_head(Head(estimator, temperature), features),
        CARD_FILE: f"# {name}\n\nNames colours.".encode(),
    }
    below = ExtractorReference(
        name=extractor.manifest.name, weights_sha256=extractor.manifest.weights_sha256, output=output
    )
    head = HeadReference(kind="fixture", sha256=sha256(pickled), temperature=temperature)

    def build(version: int) -> tuple[ClassifierManifest, Mapping[str, bytes]]:
        fields = {"name": name, "version": version, "extractor": below, "head": head, **changes}
        return classifier_manifest(contents, **fields), contents

    return store.add(build, ClassifierManifest, name)
