"""A trained head is saved as a classifier that loads again, with a model card."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.artifacts.catalog import load_classifier
from models.artifacts.store import ClassifierArtifact, Store
from models.errors import ArtifactError
from models.heads import Head
from models.manifests import CARD_FILE, HOLDOUT_FILE, Metrics
from models.preprocess import PreprocessSpec
from tests.support import colour_dataset
from training.estimators.linear import Logistic
from training.heads import save as classifiers
from training.heads.save import TrainedHead

SPEC = PreprocessSpec(size=colour_dataset.SIZE, source=24)
ROWS = np.random.default_rng(2).random((40, 12), np.float32)
ESTIMATOR = Logistic(kind="logistic").fit(ROWS, np.arange(40) % 4, 0)


def make_metrics(accuracy: float, images: int = 1234) -> Metrics:
    return Metrics(
        images=images,
        accuracy=accuracy,
        accuracy_interval=(accuracy - 0.01, accuracy + 0.01),
        top5_accuracy=1.0,
        log_loss=0.4321,
        expected_calibration_error=0.0123,
        accuracy_by_class={name: accuracy - 0.1 * rank for rank, name in enumerate(colour_dataset.CLASSES)},
        most_frequent=0.3,
    )


def save(store: Path, measured: dict[str, Metrics], **parts: Any) -> ClassifierArtifact:
    data = {"dataset": "colours", "digest": "d1g35t", "training_images": 160}
    fitted = TrainedHead(Head(ESTIMATOR, 1.25), colour_dataset.CLASSES, measured, data, np.array([3, 14, 15]))
    return classifiers.save_classifier(
        colour_dataset.recipe(**parts), SPEC, colour_dataset.extractor(), fitted, Store(store)
    )


def test_saved_classifier_loads_and_predicts_the_same(tmp_path: Path) -> None:
    saved = save(tmp_path, {"test": make_metrics(0.9)}, seed=7)
    artifact = Store(tmp_path).classifier("colours")
    assert artifact == saved
    classifier = load_classifier(artifact, colour_dataset.extractor())
    assert np.array_equal(classifier.head.predict_proba(ROWS), Head(ESTIMATOR, 1.25).predict_proba(ROWS))
    manifest = artifact.manifest
    assert (manifest.classes, manifest.preprocess, manifest.seed) == (colour_dataset.CLASSES, SPEC, 7)
    assert manifest.extractor.model_dump() == {"name": "mean_colour", "weights_sha256": "0" * 64, "output": "pooled"}
    assert manifest.recipe == colour_dataset.recipe(seed=7).as_record()
    assert {"python", "numpy", "keras", "scikit-learn"} <= set(manifest.libraries)
    assert np.load(io.BytesIO(artifact.read(HOLDOUT_FILE))).tolist() == [3, 14, 15]


def test_versions_are_counted(tmp_path: Path) -> None:
    assert [save(tmp_path, {}).label for _ in range(3)] == ["colours@1", "colours@2", "colours@3"]


def test_model_card_lists_metrics_data_and_limitations(tmp_path: Path) -> None:
    saved = save(tmp_path, {"holdout": make_metrics(0.95, 8), "test": make_metrics(0.9)})
    card = saved.read(CARD_FILE).decode()
    assert card.startswith("# Colours\n")
    assert "| test | 1234 | 90.0 % (89.0 % to 91.0 %) | 30.0 % | 100.0 % | 0.432 | 0.012 |" in card
    assert "| holdout | 8 | 95.0 %" in card
    assert "4 classes" in card
    classes = [
        line for line in card.splitlines() if line.startswith(tuple(f"| {name} |" for name in colour_dataset.CLASSES))
    ]
    assert classes == ["| red | 60.0 % |", "| grey | 70.0 % |", "| green | 80.0 % |", "| blue | 90.0 % |"], (
        "worst first"
    )
    for text in ("It knows four colours.", "Drawn by a test.", "d1g35t", "training images: 160", "24 px", "1.25"):
        assert text in card
    assert "\n\n\n" not in card


def test_model_card_without_metrics_has_no_metrics_sections(tmp_path: Path) -> None:
    card = save(tmp_path, {}, card={"title": "T", "about": "A"}).read(CARD_FILE).decode()
    assert "Nothing was measured." in card
    for heading in ("Accuracy by class", "Notices", "Limitations"):
        assert heading not in card


def test_invalid_name_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"'My Model' is not a valid model name"):
        save(tmp_path, {}, name="My Model")
