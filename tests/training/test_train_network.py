"""A network fitted end to end on the recipe's own data, from its images to a classifier."""

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
from tests.support import drawn
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


def made_in(store: Store, data: Path, recipe: Recipe) -> ClassifierArtifact:
    made = run(recipe, RunContext(store, silent, print, data, store.root.parent / "cache"))
    assert made.manifest.kind == "classifier"
    return store.classifier(made.manifest.name, made.manifest.version)


def test_a_network_fitted_on_the_recipes_own_data_is_a_classifier(tmp_path: Path, colours: Path) -> None:
    for split in ("train", "test"):
        for name in ("blue", "red"):
            shutil.copytree(colours / split / name, tmp_path / "two" / split / name)
    store = Store(tmp_path / "store")
    made = made_in(store, tmp_path / "two", drawn.recipe(**END_TO_END))
    assert made.manifest.classes == ("blue", "red")
    assert set(made.manifest.metrics) == {"holdout", "valid"}, "what chose the pass is not called a test"
    assert made.manifest.metrics["valid"].images == 40
    assert made.manifest.metrics["valid"].accuracy > 0.9
    assert made.manifest.metrics["valid"].most_frequent == 0.5
    fitted_on = store.extractor("fitted_net").manifest.fitted_on
    assert fitted_on["colour"]["validation_images"] == 40
    kept = fitted_on["kept_step"]["holdout"]["colour"]
    assert kept["accuracy"] == pytest.approx(made.manifest.metrics["valid"].accuracy, abs=0.05), "but for float16"
    (classifier,) = load(store).classifiers
    pictures = golden.synthetic_images(drawn.SIZE, 8, seed=4)
    (first, *_), *_ = classify(classifier.extractor.engine, [BatchItem(pixels, (classifier,)) for pixels in pictures])
    assert first.shape == (2,)
    assert first.sum() == pytest.approx(1)


def test_a_network_is_fitted_again_on_all_images_for_as_many_passes_as_were_best(tmp_path: Path, colours: Path) -> None:
    store = Store(tmp_path / "store")
    parts = {**END_TO_END, "network": {**NETWORK, "tasks": [TASK | {"sigmoid": False}]}}
    plain = made_in(store, colours, drawn.recipe(**parts))
    again = made_in(store, colours, drawn.recipe(**parts, refit=True))
    assert again.manifest.metrics == plain.manifest.metrics, "measured before those images were fitted on"
    assert again.manifest.head.temperature == plain.manifest.head.temperature
    first, second = (store.extractor_of(made).manifest.fitted_on for made in (plain, again))
    assert again.manifest.data["measured_weights"] == plain.manifest.extractor.weights_sha256
    assert again.manifest.extractor.weights_sha256 != plain.manifest.extractor.weights_sha256
    assert second["colour"]["fitted_on_images"] == 160 + 80
    assert second["colour"]["held_out_images"] == second["colour"]["validation_images"] == 0
    assert [record["step"] for record in first["history"] if record["holdout"]][-1] == first["last_step"]["step"]
    assert second["history"] == [], "nothing is measured where everything is fitted on"
    assert second["last_step"]["passes"] == pytest.approx(first["kept_step"]["passes"], abs=0.03)
