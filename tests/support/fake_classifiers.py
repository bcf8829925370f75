"""Extractors and classifiers in memory, on the colour engine: no store and no network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from models.arrays import Floats
from models.classifier import Classifier, Extractor
from models.heads import Estimator, Head, top_softmax
from models.manifests import HEAD_FILE, WEIGHTS_FILE, Agreement, ExtractorReference, sha256
from models.networks import POOLED
from models.preprocess import PreprocessSpec
from tests.support.colour_engine import FEATURES, ColourEngine, mean_colours
from tests.support.colour_images import SIDE, colour_images
from tests.support.manifests import CLASSES, classifier_manifest, extractor_manifest
from training.estimators.linear import Logistic


@dataclass
class CountingHead:
    """An estimator that records the number of rows of each call."""

    estimator: Estimator
    call_sizes: list[int] = field(default_factory=list)

    def predict_proba(self, features: Floats) -> Any:
        self.call_sizes.append(len(features))
        return self.estimator.predict_proba(features)


def fake_extractor(name: str = "fixture", engine: ColourEngine | None = None, **changes: Any) -> Extractor:
    """Return an extractor on a colour engine; `changes` replace fields of its manifest."""
    fields = {
        "network": "fixture",
        "outputs": {POOLED: FEATURES, "colour": len(CLASSES)},
        "engines": {"fixture:float32": Agreement(min_cosine=0.999, min_top1=1)},
        "fitted_on": {},
        "files": {WEIGHTS_FILE: sha256(name.encode())},
    }
    return Extractor(extractor_manifest({}, name=name, **{**fields, **changes}), engine or ColourEngine())


def fake_classifier(extractor: Extractor, name: str = "colours", version: int = 1, **spec: Any) -> Classifier:
    """Return a logistic regression on mean colours or, for the output `colour`, the probabilities themselves.

    `spec` holds fields of its preprocessing and optionally `output`, the output of the extractor (default: pooled).
    """
    images, labels = colour_images()
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
