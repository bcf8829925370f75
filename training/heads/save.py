"""Makes a classifier of a fitted head and saves it, with its golden outputs and its card."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from models import heads
from models.artifacts import golden
from models.artifacts.store import ClassifierArtifact, Store
from models.classifier import Extractor
from models.heads import Head, Integers
from models.manifests import (
    CARD_FILE,
    GOLDEN_FILE,
    HEAD_FILE,
    HOLDOUT_FILE,
    ClassifierManifest,
    ExtractorReference,
    HeadReference,
    Metrics,
    sha256,
)
from models.preprocess import PreprocessSpec
from training import model_card as card
from training.evaluation.results import Predictions
from training.recipes.schema import Recipe
from training.runtime.versions import versions

_GOLDEN_ROWS = 32


@dataclass(frozen=True)
class Fitted:
    """A head with all that its manifest says of it."""

    head: Head
    classes: tuple[str, ...]
    metrics: dict[str, Metrics]
    data: dict[str, Any]
    holdout: Integers
    tuning: dict[str, Any] = field(default_factory=dict)
    answers: Mapping[str, Predictions] = field(default_factory=dict)
    """By which it was measured; no part of the manifest."""


def save(
    recipe: Recipe, spec: PreprocessSpec, extractor: Extractor, fitted: Fitted, store: Store
) -> ClassifierArtifact:
    """Write the next version of the recipe's classifier; raises ArtifactError for a name that is none."""
    pickled = heads.save(fitted.head.estimator)
    files = {
        HEAD_FILE: pickled,
        GOLDEN_FILE: golden.record_head(fitted.head, _golden_features(extractor, recipe.extractor.output)),
        HOLDOUT_FILE: _npy(fitted.holdout.astype(np.int32)),
    }

    def build(version: int) -> tuple[ClassifierManifest, Mapping[str, bytes]]:
        draft = ClassifierManifest(
            name=recipe.name,
            version=version,
            created=datetime.now(UTC).date().isoformat(),
            classes=fitted.classes,
            preprocess=spec,
            extractor=ExtractorReference(
                name=extractor.manifest.name,
                weights_sha256=extractor.manifest.weights_sha256,
                output=recipe.extractor.output,
            ),
            head=HeadReference(
                kind=recipe.head.kind if recipe.head else "none",
                sha256=sha256(pickled),
                temperature=fitted.head.temperature,
            ),
            metrics=fitted.metrics,
            recipe=recipe.record(),
            data=fitted.data,
            tuning=fitted.tuning,
            seed=recipe.seed,
            libraries=versions(),
            files={},
        )
        complete = {**files, CARD_FILE: card.classifier(draft, recipe.card).encode()}
        digests = {name: sha256(content) for name, content in complete.items()}
        return draft.model_copy(update={"files": digests}), complete

    return store.add(build, ClassifierManifest, recipe.name)


def _golden_features(extractor: Extractor, output: str) -> npt.NDArray[np.float32]:
    pictures = golden.synthetic_images(extractor.manifest.input_size, _GOLDEN_ROWS)
    return np.asarray(extractor.engine.run(pictures)[output])


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
