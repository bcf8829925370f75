"""Small but complete stores: fitted heads, golden outputs and cards, on extractors of any engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from app.settings import Settings
from models import heads
from models.artifacts import golden
from models.artifacts.catalog import Catalog, load_classifier
from models.artifacts.store import ArtifactVersions, ClassifierArtifact, Store
from models.classifier import Extractor
from models.heads import Estimator, Head
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
    sha256,
)
from models.networks import POOLED
from models.preprocess import PreprocessSpec
from tests.support.colour_engine import FEATURES, ColourEngine
from tests.support.colour_images import COLOURS, SIDE, Colours, colour_images
from tests.support.manifests import classifier_manifest, extractor_manifest
from training.estimators.linear import Logistic

CARD = """# {name}

Names colours.

- digest: {digest}

| set | images | accuracy (95 % interval) | top 5 | log loss | calibration error |
|---|---|---|---|---|---|
| test | 72 | 75.0 % (70.0 % to 80.0 %) | 100.0 % | 0.500 | 0.100 |
""".replace("{digest}", "0123456789abcdef" * 4)


def build(root: Path) -> None:
    """Save `colours` twice and `tones` on one extractor, and `far` on another; `tones` has its own preprocessing."""
    store = Store(root)
    for name in ("near_net", "far_net"):
        _save_extractor(store, name)
    add_classifier(root, "colours", "near_net")
    add_classifier(root, "colours", "near_net", C=2.0)
    add_classifier(root, "tones", "near_net", preprocess=PreprocessSpec(size=SIDE, source=16))
    add_classifier(root, "far", "far_net")


def add_classifier(
    root: Path,
    name: str,
    extractor: str,
    colours: Colours = COLOURS,
    *,
    C: float = 1.0,  # noqa: N803 - as scikit-learn calls it
    **changes: Any,
) -> ClassifierArtifact:
    """Save one more version of a classifier in a store that `build` made."""
    images, labels = colour_images(12, colours=colours)
    engine = ColourEngine()
    estimator = Logistic(kind="logistic", C=C).fit(np.asarray(engine.run(images)[POOLED]), labels, seed=0)
    changes = {"classes": tuple(colours), "preprocess": PreprocessSpec(size=SIDE), **changes}
    return save_classifier(Store(root), name, estimator, _colour_extractor(extractor, engine), **changes)


def save_classifier(
    store: Store,
    name: str,
    estimator: Estimator,
    extractor: Extractor,
    output: str = POOLED,
    temperature: float = 1.0,
    **changes: Any,
) -> ClassifierArtifact:
    """Save a fitted estimator as the next version of a classifier; `changes` replace fields of its manifest."""
    pickled = heads.save(estimator)
    features = np.asarray(extractor.engine.run(colour_images(per_class=2)[0])[output])
    contents = {
        HEAD_FILE: pickled,
        GOLDEN_FILE: golden.record_head(Head(estimator, temperature), features),
        CARD_FILE: CARD.replace("{name}", name).encode(),
    }
    below = ExtractorReference(
        name=extractor.manifest.name, weights_sha256=extractor.manifest.weights_sha256, output=output
    )
    head = HeadReference(kind="fixture", sha256=sha256(pickled), temperature=temperature)

    def build(version: int) -> tuple[ClassifierManifest, Mapping[str, bytes]]:
        fields = {"name": name, "version": version, "extractor": below, "head": head, **changes}
        return classifier_manifest(contents, **fields), contents

    return store.add(ClassifierManifest, name, build)


def load_models(
    settings: Settings,
    before: Catalog | None = None,
    hidden: ArtifactVersions = frozenset(),
    *,
    engines: Mapping[str, ColourEngine],
) -> Catalog:
    """Load a catalog like `models.artifacts.catalog.load`, with an engine for each extractor name."""
    store = Store(settings.store, hidden)
    loaded = {extractor.manifest.name: extractor for extractor in before.extractors} if before else {}
    extractors = {
        name: loaded.get(name) or Extractor(artifact.manifest, engines[name])
        for artifact in store.extractors()
        for name in [artifact.manifest.name]
    }
    return Catalog(
        tuple(
            load_classifier(artifact, extractors[artifact.manifest.extractor.name]) for artifact in store.classifiers()
        )
    )


def _save_extractor(store: Store, name: str) -> None:
    contents = {WEIGHTS_FILE: name.encode(), GOLDEN_FILE: b"", CARD_FILE: b"# Extractor"}

    def build(version: int) -> tuple[ExtractorManifest, Mapping[str, bytes]]:
        return _colour_manifest(name, contents, version), contents

    store.add(ExtractorManifest, name, build)


def _colour_extractor(name: str, engine: ColourEngine) -> Extractor:
    return Extractor(_colour_manifest(name, {WEIGHTS_FILE: name.encode()}), engine)


def _colour_manifest(name: str, contents: Mapping[str, bytes], version: int = 1) -> ExtractorManifest:
    return extractor_manifest(
        contents,
        name=name,
        version=version,
        network="fixture",
        outputs={POOLED: FEATURES},
        tops={},
        engines={"fixture:float32": Agreement(min_cosine=0.99, min_top1=1)},
        fitted_on={},
    )
