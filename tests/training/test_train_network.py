"""Networks that are fitted on the recipe's own data and are their own head."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from models.artifacts import golden
from models.artifacts.catalog import load
from models.artifacts.store import ClassifierArtifact, Store
from models.classifier import BatchItem, classify
from models.console.progress import silent
from tests.support import colour_dataset
from training.recipes.schema import Recipe
from training.runtime.context import RunContext
from training.train import run

pytestmark = pytest.mark.timeout(300)

DATA = {"path": "colours", "valid": "test", "test": ""}
TASK: dict[str, Any] = {"top": "colour", "data": DATA, "preprocess": {"size": 32}, "batch": 8, "sigmoid": True}
FIT = {"passes": 4, "optimizer": "adam", "learning_rate": 0.003, "stop": {"measure": "log_loss", "patience": 2}}
NETWORK = {"architecture": "small_cnn", "size": 32, "weights": "random", "tasks": [TASK], "fit": FIT}
END_TO_END = {
    "network": NETWORK,
    "extractor": {"name": "fitted_net", "output": "colour"},
    "head": {"kind": "softmax"},
    "data": DATA,
}


def train_classifier(store: Store, data: Path, recipe: Recipe) -> ClassifierArtifact:
    artifact = run(recipe, RunContext(store, silent, print, data, store.root.parent / "cache"))
    assert artifact.manifest.kind == "classifier"
    return store.classifier(artifact.manifest.name, artifact.manifest.version)


def test_network_fitted_on_the_recipe_data_is_a_classifier(tmp_path: Path, colours: Path) -> None:
    for split in ("train", "test"):
        for name in ("blue", "red"):
            shutil.copytree(colours / split / name, tmp_path / "two" / split / name)
    store = Store(tmp_path / "store")
    artifact = train_classifier(store, tmp_path / "two", colour_dataset.recipe(**END_TO_END))
    assert artifact.manifest.classes == ("blue", "red")
    assert set(artifact.manifest.metrics) == {"holdout", "valid"}, (
        "the validation set chose the pass, so it is not a test set"
    )
    assert artifact.manifest.metrics["valid"].images == 40
    assert artifact.manifest.metrics["valid"].accuracy > 0.9
    assert artifact.manifest.metrics["valid"].most_frequent == 0.5
    fitted_on = store.extractor("fitted_net").manifest.fitted_on
    assert fitted_on["colour"]["validation_images"] == 40
    kept = fitted_on["kept_step"]["holdout"]["colour"]
    assert kept["accuracy"] == pytest.approx(artifact.manifest.metrics["valid"].accuracy, abs=0.05), (
        "except for rounding to float16"
    )
    (classifier,) = load(store).classifiers
    images = golden.synthetic_images(colour_dataset.SIZE, 8, seed=4)
    (first, *_), *_ = classify(classifier.extractor.engine, [BatchItem(pixels, (classifier,)) for pixels in images])
    assert first.shape == (2,)
    assert first.sum() == pytest.approx(1)


def test_refit_fits_the_network_on_all_images_for_the_best_number_of_passes(tmp_path: Path, colours: Path) -> None:
    store = Store(tmp_path / "store")
    parts = {**END_TO_END, "network": {**NETWORK, "tasks": [TASK | {"sigmoid": False}]}}
    plain = train_classifier(store, colours, colour_dataset.recipe(**parts))
    again = train_classifier(store, colours, colour_dataset.recipe(**parts, refit=True))
    assert again.manifest.metrics == plain.manifest.metrics, "measured before the refit"
    assert again.manifest.head.temperature == plain.manifest.head.temperature
    first, second = (store.extractor_of(artifact).manifest.fitted_on for artifact in (plain, again))
    assert again.manifest.data["measured_weights"] == plain.manifest.extractor.weights_sha256
    assert again.manifest.extractor.weights_sha256 != plain.manifest.extractor.weights_sha256
    assert second["colour"]["fitted_on_images"] == 160 + 80
    assert second["colour"]["held_out_images"] == second["colour"]["validation_images"] == 0
    assert [record["step"] for record in first["history"] if record["holdout"]][-1] == first["last_step"]["step"]
    assert second["history"] == [], "nothing is measured if all images are fitted on"
    assert second["last_step"]["passes"] == pytest.approx(first["kept_step"]["passes"], abs=0.03)
