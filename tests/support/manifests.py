"""Manifests with plausible values, for artifacts that tests write."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models.artifacts.store import MANIFEST_FILE, Store
from models.manifests import (
    CARD_FILE,
    HEAD_FILE,
    Agreement,
    ClassifierManifest,
    ExtractorManifest,
    ExtractorReference,
    HeadReference,
    Metrics,
    parse,
    render,
    sha256,
)
from models.networks import POOLED
from models.preprocess import PreprocessSpec
from tests.support.colour_images import FOUR_COLOURS, SIDE

CLASSES = tuple(FOUR_COLOURS)
FILES = {HEAD_FILE: b"a head", CARD_FILE: b"# A card"}
"""The files of a classifier for tests that never read them."""
BuildClassifier = Callable[[int], tuple[ClassifierManifest, Mapping[str, bytes]]]


def extractor_manifest(contents: Mapping[str, bytes], **changes: Any) -> ExtractorManifest:
    """Describe an extractor of these files; `changes` replace fields."""
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
    """Describe a classifier of these files; `changes` replace fields."""
    classes = changes.get("classes", CLASSES)
    metrics = Metrics(
        images=32,
        accuracy=0.75,
        accuracy_interval=(0.7, 0.8),
        top5_accuracy=1.0,
        log_loss=0.5,
        expected_calibration_error=0.1,
        accuracy_by_class=dict.fromkeys(classes, 0.75),
        most_frequent=1 / len(classes),
    )
    fields: dict[str, Any] = {
        "name": "colours",
        "version": 1,
        "created": "2026-01-01",
        "classes": classes,
        "preprocess": PreprocessSpec(size=SIDE, source=16),
        "extractor": ExtractorReference(name="tiny_net", weights_sha256="0" * 64, output=POOLED),
        "head": HeadReference(kind="logistic", sha256=sha256(contents.get(HEAD_FILE, b"")), temperature=1.5),
        "metrics": {"test": metrics},
        "recipe": {"name": "colours", "head": {"kind": "logistic"}},
        "data": {"digest": "0" * 64, "images": 32},
        "seed": 0,
        "libraries": {"numpy": "2"},
        "files": {file: sha256(data) for file, data in contents.items()},
    }
    return ClassifierManifest.model_validate({**fields, **changes})


def classifier_of(contents: Mapping[str, bytes], name: str = "colours") -> BuildClassifier:
    """Return the function with which `Store.add` saves a classifier of these files."""
    return lambda version: (classifier_manifest(contents, name=name, version=version), contents)


def copy_classifier(store: Store, name: str, of: str = "own_top") -> Path:
    """Add a valid copy of a classifier under another name; return its folder."""
    source, target = store.classifier(of).folder, store.root / "classifiers" / name / "1"
    shutil.copytree(source, target)
    manifest = parse((source / MANIFEST_FILE).read_bytes(), ClassifierManifest)
    (target / MANIFEST_FILE).write_bytes(render(manifest.model_copy(update={"name": name, "version": 1})))
    return target
