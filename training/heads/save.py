"""Saves a trained head as a classifier, with its golden outputs and its model card."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from models import heads
from models.arrays import Floats, Integers
from models.artifacts import golden
from models.artifacts.store import ClassifierArtifact, Store
from models.classifier import Extractor
from models.heads import Head
from models.manifests import (
    GOLDEN_FILE,
    HEAD_FILE,
    HOLDOUT_FILE,
    SEEN_FILE,
    ClassifierManifest,
    ExtractorReference,
    HeadReference,
    Metrics,
    SetRecord,
    sha256,
)
from models.preprocess import PreprocessSpec
from training.evaluation.results import LabelledPredictions
from training.evaluation.seen import seen_by_run
from training.model_card import add_model_card
from training.partition.record import Record
from training.recipes.parents import read_parents
from training.recipes.schema import Recipe
from training.runtime.versions import library_versions

_GOLDEN_ROWS = 32


@dataclass(frozen=True)
class TrainedHead:
    """A fitted head with everything that its manifest records.

    Attributes:
        classes: names in the order of the probabilities.
        metrics: by name of the labelled set.
        data: description of the dataset.
        holdout_indices: held-out images among the training images.
        record: images that each stage of the head was given.
        sets: what had been done with the images of each measured set.
        tuning: record of all candidates, if the head was chosen among several.
        predictions: by name of the labelled set; they are reported, but not part of the manifest.
    """

    head: Head
    classes: tuple[str, ...]
    metrics: dict[str, Metrics]
    data: dict[str, Any]
    holdout_indices: Integers
    record: Record = field(default_factory=Record)
    sets: Mapping[str, SetRecord] = field(default_factory=dict)
    tuning: dict[str, Any] = field(default_factory=dict)
    predictions: Mapping[str, LabelledPredictions] = field(default_factory=dict)


def save_classifier(
    recipe: Recipe, spec: PreprocessSpec, extractor: Extractor, trained: TrainedHead, store: Store
) -> ClassifierArtifact:
    """Save the next version of the recipe's classifier.

    Raises:
        ArtifactError: the recipe's name is not valid for an artifact.
    """
    pickled = heads.save(trained.head.estimator)
    files = {
        HEAD_FILE: pickled,
        GOLDEN_FILE: golden.record_head(trained.head, _golden_features(extractor, recipe.extractor.output)),
        HOLDOUT_FILE: _to_npy(trained.holdout_indices.astype(np.int32)),
        SEEN_FILE: seen_by_run(trained.record).to_npz(),
    }
    head = HeadReference(
        kind=recipe.head.kind if recipe.head else "none",
        sha256=sha256(pickled),
        temperature=trained.head.temperature,
    )
    draft = _draft_manifest(recipe, spec, extractor, trained, head)
    return store.add(ClassifierManifest, recipe.name, partial(add_model_card, draft, files))


def _draft_manifest(
    recipe: Recipe, spec: PreprocessSpec, extractor: Extractor, trained: TrainedHead, head: HeadReference
) -> ClassifierManifest:
    """Return the manifest without what the store adds: version and files."""
    return ClassifierManifest(
        name=recipe.name,
        version=1,
        created=datetime.now(UTC).date().isoformat(),
        classes=trained.classes,
        parents=read_parents(recipe.parents, trained.classes),
        preprocess=spec,
        extractor=ExtractorReference(
            name=extractor.manifest.name,
            weights_sha256=extractor.manifest.weights_sha256,
            output=recipe.extractor.output,
        ),
        head=head,
        metrics=trained.metrics,
        sets=dict(trained.sets),
        recipe=recipe.as_record(),
        data=trained.data,
        tuning=trained.tuning,
        seed=recipe.seed,
        libraries=library_versions(),
        files={},
    )


def _golden_features(extractor: Extractor, output: str) -> Floats:
    images = golden.synthetic_images(extractor.manifest.input_size, _GOLDEN_ROWS)
    return np.asarray(extractor.engine.run(images)[output])


def _to_npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
